//! The interface to policy.

use abi::policy::Direction;
use l7::Matcher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;

/// The policies in force, as the proxy needs them; the composition root implements this. No function may block.
pub trait RequestPolicy: Send + Sync {
    /// Returns the rule sets that apply to a flow now; none where the flow is unknown or denied, so that its requests are
    /// refused.
    fn flow(&self, client: SocketAddr, server: SocketAddr) -> Option<ProxiedFlow>;

    /// A number that increases whenever a result of [`Self::flow`] or [`Self::rules`] may have changed. A connection reads it
    /// before each request, and calls the other functions again only after an increase.
    fn generation(&self) -> u64;

    /// Returns the rules of a set.
    fn rules(&self, set: u32) -> Rules;

    /// Wakes the task when rules that were loading are ready or have failed. It may wake the task earlier.
    fn wake_when_rules_load(&self, waker: &Waker);
}

/// The rules of a set, or their state.
#[derive(Clone, Debug)]
pub enum Rules {
    /// The compiled rules.
    Ready(Arc<Matcher>),
    /// The rules are loading: call again after [`RequestPolicy::wake_when_rules_load`] wakes the task.
    Loading,
    /// The set is unknown, and requests to which it applies are refused.
    Unknown,
}

/// A flow with its identities and rule sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxiedFlow {
    /// Identity of the client.
    pub source_identity: u32,
    /// Identity of the server.
    pub destination_identity: u32,
    /// The numbers of the workloads of this node that are client and server, 0 for any other end. A number is never used
    /// again; a connection is closed when one of its workloads is removed.
    pub workloads: (u32, u32),
    /// The rule sets that must all allow a request: of the client's egress and of the server's ingress. Without any, every
    /// request is allowed.
    pub applied: Vec<AppliedRuleSet>,
}

/// A rule set that applies to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedRuleSet {
    /// The number of the set.
    pub set: u32,
    /// The policy rule that redirects the flow to the proxy.
    pub rule: u32,
    /// Egress for the client's policy, ingress for the server's.
    pub direction: Direction,
}
