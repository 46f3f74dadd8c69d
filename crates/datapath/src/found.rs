//! What the stages find out about a packet before policy judges it.

use crate::maps::Maps;
use crate::parse::PacketFlow;
use abi::Address;
use abi::config::Config;
use abi::conntrack::ConnKey;
use abi::endpoint::EndpointInfo;
use abi::masquerade::MasqueradeInfo;
use abi::policy::Direction;
use abi::service::BackendInfo;

/// What the stages found out about a packet at one endpoint.
pub(crate) struct Found {
    /// The packet's direction at the endpoint.
    pub(crate) direction: Direction,
    /// Nanoseconds of the monotonic clock, read once; 0 before.
    pub(crate) time: u64,
    /// The same in seconds, which connections expire by.
    pub(crate) seconds: u32,
    pub(crate) flow: PacketFlow,
    /// The node's configuration, copied before any other row is looked up (see `workload::load`).
    pub(crate) config: Config,
    /// The row of the workload or the node, copied too; all zero at the proxy's interface, which is no endpoint's.
    pub(crate) endpoint: EndpointInfo,
    /// Whether the node proxy sent the packet.
    pub(crate) from_proxy: bool,
    /// Bytes of the packet, from the link layer on.
    pub(crate) length: u32,
    /// Identity of the other end.
    pub(crate) peer_identity: u32,
    /// Whose packet it is.
    pub(crate) sender: Sender,
    /// The sender's own address, where the source hides it; all zero if it is unknown.
    pub(crate) hidden: Address,
    /// Whether the stack routed the packet from another workload of this node.
    pub(crate) is_routed: bool,
    /// The way of all packets of the flow in this direction, where the stages found one.
    pub(crate) way: FlowWay,
    /// The backend of the packet's flow, where the packet goes to a service.
    pub(crate) backend: BackendInfo,
    /// The service address that a workload sent the packet to, and that was translated; unset otherwise.
    pub(crate) service: ServiceAddress,
}

impl Found {
    /// Before the first stage.
    #[inline(always)]
    pub(crate) fn nothing(direction: Direction) -> Self {
        Self {
            direction,
            time: 0,
            seconds: 0,
            flow: PacketFlow::unknown(),
            config: Config::default(),
            endpoint: EndpointInfo::default(),
            from_proxy: false,
            length: 0,
            peer_identity: 0,
            sender: Sender::Source,
            hidden: Address([0; 16]),
            is_routed: false,
            way: FlowWay::UNKNOWN,
            backend: BackendInfo::default(),
            service: ServiceAddress::UNSET,
        }
    }

    /// Forgets the packet before; see [`crate::scratch::Scratch::begin`] for the fields that stay.
    #[inline(always)]
    pub(crate) fn begin(&mut self, direction: Direction) {
        self.direction = direction;
        self.time = 0;
        self.flow = PacketFlow::unknown();
        self.peer_identity = 0;
        self.sender = Sender::Source;
        self.is_routed = false;
        self.way = FlowWay::UNKNOWN;
        self.service = ServiceAddress::UNSET;
    }

    /// Reads the clock, once a packet.
    #[inline(always)]
    pub(crate) fn read_clock(&mut self, maps: &impl Maps) {
        (self.time, self.seconds) = maps.clock();
    }
}

/// Who sent a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The end that has the source address.
    Source,
    /// Another end, to which a proxy of services gave the node's address.
    Hidden,
    /// The backend of a flow that the endpoint opened to the node's address, and that a proxy of services sent on.
    Backend,
}

/// The way of the packets of a flow in one direction, which is all that they need once the flow is established (see
/// [`crate::established`]).
///
/// No `Option`: beside nothing the interfaces are undefined, and the verifier refuses to copy them.
#[derive(Clone, Copy)]
pub(crate) struct FlowWay {
    pub(crate) is_known: bool,
    /// The endpoint's interface.
    pub(crate) local: u32,
    /// See [`abi::conntrack::ConnInfo::way_out`] and [`abi::conntrack::ConnInfo::way_in`].
    pub(crate) interface: u32,
}

impl FlowWay {
    /// The stages found none.
    pub(crate) const UNKNOWN: Self = Self { is_known: false, local: 0, interface: 0 };
}

/// Address and port of a service.
#[derive(Clone, Copy)]
pub(crate) struct ServiceAddress {
    pub(crate) address: Address,
    /// In network order.
    pub(crate) port: [u8; 2],
}

impl ServiceAddress {
    /// No service.
    pub(crate) const UNSET: Self = Self { address: Address([0; 16]), port: [0; 2] };

    /// Whether there is a service: none has port 0.
    #[inline(always)]
    pub(crate) fn is_set(&self) -> bool {
        self.port != [0, 0]
    }
}

/// What the stages find out about the masquerading of a flow.
#[derive(Default)]
pub(crate) struct Masquerading {
    /// The key of the entry for packets from outside; the node's address and port are the local ones.
    pub(crate) inward: ConnKey,
    /// The entry that the packet is rewritten by.
    pub(crate) info: MasqueradeInfo,
    /// Whether the packet got another address, and a new flow a port.
    pub(crate) is_done: bool,
}
