//! What policy and connection tracking decided on a packet.

use crate::conntrack::Transition;
use crate::found::ServiceAddress;
use abi::DropReason;
use abi::policy::VerdictInfo;

/// The decision on one packet at one endpoint, as `check` makes it.
///
/// The alignment lets a program set all of it by words of eight bytes.
#[repr(align(8))]
pub(crate) struct PacketDecision {
    /// The rule that decided; 0 is the default.
    pub(crate) rule: u32,
    /// The layer-7 rule set of a proxied flow.
    pub(crate) l7: u32,
    /// The service that the flow's packets go to, as the flow's connection remembers it.
    pub(crate) service: ServiceAddress,
    /// What the packet changed in the state of its connection.
    pub(crate) transition: Transition,
    pub(crate) is_reply: bool,
    /// Index of the interface of the proxy that the packet goes to; 0 where the packet goes straight.
    pub(crate) proxy: u32,
    /// Whether the packet goes to the stack, although its receiver is a workload of this node.
    pub(crate) is_routed: bool,
    /// The verdict of policy, where policy was evaluated.
    pub(crate) verdict: Option<VerdictInfo>,
    /// Whether policy, where it was evaluated, leads the flow to the proxy.
    pub(crate) is_redirected: bool,
    /// Why the packet would have been dropped without audit mode.
    pub(crate) audit: Option<DropReason>,
}

impl PacketDecision {
    /// Before `check`.
    pub(crate) const NONE: Self = Self {
        rule: 0,
        l7: 0,
        service: ServiceAddress::UNSET,
        transition: Transition::None,
        is_reply: false,
        proxy: 0,
        is_routed: false,
        verdict: None,
        is_redirected: false,
        audit: None,
    };
}
