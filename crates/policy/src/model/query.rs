//! A question to the model: one connection or request, seen from one end.

use crate::catalog::Catalog;
use crate::endpoint_view::EndpointView;
use crate::rule::{Direction, EnforcementMode};
use l7::rule::RequestView;

/// The state that a decision depends on beside the policies.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The objects that policies refer to.
    pub catalog: &'a Catalog,
    /// The enforcement mode.
    pub mode: EnforcementMode,
}

/// A connection or request, as one of its ends sees it.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The direction in which the connection is opened, as the subject sees it.
    pub direction: Direction,
    /// The end whose policies are evaluated.
    pub subject: EndpointView<'a>,
    /// The other end.
    pub peer: EndpointView<'a>,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; for ICMP the type in the upper byte and the code in the lower.
    pub port: u16,
    /// The request; none: only the connection is decided on.
    pub request: Option<RequestView<'a>>,
}
