//! The memory of one packet on its way through the stages.

use crate::conntrack::Origin;
use crate::decision::PacketDecision;
use crate::delivery::Delivery;
use crate::found::{FlowWay, Found, Masquerading, ServiceAddress};
use crate::policy::Walk;
use crate::related::Related;
use abi::DropReason;
use abi::conntrack::{ConnInfo, ConnKey};
use abi::endpoint::EndpointInfo;
use abi::event::FlowEvent;
use abi::policy::Direction;

/// What the stages find out about a packet, what is decided on the packet, and the outcome. Each stage reads what earlier
/// ones wrote.
///
/// The caller provides the memory, since the kernel's stack has 512 bytes. A hook sets each field before it reads the field,
/// so that nothing of the packet before is left.
pub struct Scratch {
    pub(crate) found: Found,
    pub(crate) decision: PacketDecision,
    /// The key of the packet's connection.
    pub(crate) key: ConnKey,
    /// The entry of a flow that is new, that nothing has answered, or that policy judges again.
    pub(crate) entry: ConnInfo,
    /// Whether the packet opens a flow, whatever was before.
    pub(crate) opens: bool,
    /// The flags of the flow's entry, as the packet found them.
    pub(crate) flags: u32,
    /// Whether policy judges the packet before the entry of its flow is looked up.
    pub(crate) is_judged_first: bool,
    /// Whether the packet may answer one that opens a connection.
    pub(crate) answers_syn: bool,
    /// Whether there may be a connection with the packet's key.
    pub(crate) may_have_connection: bool,
    /// Whether the packet belongs to a connection that the policy in force allowed.
    pub(crate) is_in_force: bool,
    /// Where `entry` is from.
    pub(crate) origin: Origin,
    /// Whether the packet is the first of another flow than the connection with its key.
    pub(crate) is_successor: bool,
    /// Whether the packet is a TCP segment of no known connection that does not open one.
    pub(crate) is_midstream: bool,
    /// The packet inside an ICMP error.
    pub(crate) related: Related,
    /// The direction in which the flow is opened as which policy judges it.
    pub(crate) judged: Direction,
    /// The masquerading of the packet's flow.
    pub(crate) masquerading: Masquerading,
    /// The evaluation of policy.
    pub(crate) walk: Walk,
    /// Why the packet is dropped.
    pub(crate) refusal: Option<DropReason>,
    /// Where the packet goes if nothing refuses it.
    pub(crate) delivery: Delivery,
    /// The packet's event, where it has one.
    pub(crate) event: FlowEvent,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            found: Found::nothing(Direction::Ingress),
            decision: PacketDecision::NONE,
            key: ConnKey::default(),
            entry: ConnInfo::default(),
            opens: false,
            flags: 0,
            is_judged_first: false,
            answers_syn: false,
            may_have_connection: false,
            is_in_force: false,
            origin: Origin::New,
            is_successor: false,
            is_midstream: false,
            related: Related::nothing(),
            judged: Direction::Ingress,
            masquerading: Masquerading::default(),
            walk: Walk::UNUSED,
            refusal: None,
            delivery: Delivery::Pass,
            event: FlowEvent::default(),
        }
    }
}

impl Scratch {
    /// Begins with a packet of which nothing is known. The hook sets the endpoint and, before policy or the report needs them,
    /// the configuration and the time in seconds.
    #[inline(always)]
    pub(crate) fn begin(&mut self, direction: Direction) {
        self.found.begin(direction);
        self.decision = PacketDecision::NONE;
        self.refusal = None;
        self.delivery = Delivery::Pass;
    }

    /// Turns to another endpoint on the packet's way. Of the old endpoint nothing stays; the packet, its delivery and the
    /// node's configuration do.
    #[inline(always)]
    pub(crate) fn turn_to(&mut self, direction: Direction, endpoint: &EndpointInfo) {
        self.found.direction = direction;
        self.found.endpoint = *endpoint;
        self.found.peer_identity = 0;
        self.found.way = FlowWay::UNKNOWN;
        self.found.service = ServiceAddress::UNSET;
        self.decision = PacketDecision::NONE;
        self.refusal = None;
    }
}
