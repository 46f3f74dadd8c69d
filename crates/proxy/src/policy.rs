//! What the proxy asks of policy.

use abi::policy::Direction;
use l7::Matcher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;

/// Answers the proxy's questions; implemented by the root over the policies in force. None of them may block.
pub trait Policy: Send + Sync {
    /// Which rule sets apply to a flow at this moment. None: the flow is not known or not allowed, and its requests
    /// are refused.
    fn flow(&self, client: SocketAddr, server: SocketAddr) -> Option<Flow>;

    /// Rises whenever an answer of [`Self::flow`] or [`Self::rules`] may have changed. A connection asks for it before
    /// each request, and only asks the rest again when it rose.
    fn generation(&self) -> u64;

    /// The rules of a set.
    fn rules(&self, set: u32) -> Rules;

    /// Wakes the task once rules that were coming are there, or will not be. It may wake it before that.
    fn wake_when_rules_load(&self, waker: &Waker);
}

/// The rules of a set, or why there are none.
#[derive(Clone, Debug)]
pub enum Rules {
    /// These.
    Ready(Arc<Matcher>),
    /// They are being made ready: ask again when [`Policy::wake_when_rules_load`] wakes.
    Loading,
    /// The set is not known; requests that it applies to are refused.
    Unknown,
}

/// A flow as policy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Identity of the client.
    pub source_identity: u32,
    /// Identity of the server.
    pub destination_identity: u32,
    /// Which workload of this node the client is and which the server is, by numbers that no other gets; 0 where it is
    /// none. A connection ends with either.
    pub workloads: (u32, u32),
    /// The sets that must all allow a request: of the client's egress, of the server's ingress. With none, layer 7
    /// asks nothing of the flow.
    pub applied: Vec<AppliedRuleSet>,
}

/// A rule set that applies to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedRuleSet {
    /// Number of the set.
    pub set: u32,
    /// The policy rule that sent the flow to the proxy.
    pub rule: u32,
    /// Whose policy it is: the client's on its way out, or the server's on its way in.
    pub direction: Direction,
}
