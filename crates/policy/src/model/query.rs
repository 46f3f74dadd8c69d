//! A question to the model: one connection or request, seen from one end.

use crate::catalog::Catalog;
use crate::endpoint_view::EndpointView;
use crate::rule::{Direction, EnforcementMode};
use l7::rule::RequestView;

/// What holds beside the policies.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What policies refer to.
    pub catalog: &'a Catalog,
    /// Whom policies are enforced for.
    pub mode: EnforcementMode,
}

/// What is asked, seen from one end.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Which way the connection is opened, seen from the subject.
    pub direction: Direction,
    /// The end whose policies are asked.
    pub subject: EndpointView<'a>,
    /// The other end.
    pub peer: EndpointView<'a>,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; for ICMP the type in the upper byte and the code in the lower.
    pub port: u16,
    /// The request, or nothing to ask about the connection alone.
    pub request: Option<RequestView<'a>>,
}
