//! Connection tracking: one row per flow and workload, found by one lookup in either direction.
//!
//! Beside flows, the ports of a fragmented packet are kept for its later fragments ([`FragmentKey`]). The backend that a
//! flow to a service was sent to is in a map of its own ([`crate::service::ChoiceKey`]).

use crate::Address;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of [`crate::map::Conntrack`] and [`crate::map::Openings`], seen from the workload, which is the source of packets out and the destination of
/// packets in.
///
/// A flow between two workloads of one node has two rows, one for each end.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    IntoBytes,
    FromBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct ConnKey {
    /// The workload's address.
    pub local: Address,
    /// The other end's address; behind a service, the backend's.
    pub remote: Address,
    /// The workload's port in network order; for ICMP echo the identifier.
    pub local_port: [u8; 2],
    /// The other end's port in network order; for ICMP echo the identifier again.
    pub remote_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub padding: [u8; 3],
}

const _: () = assert!(size_of::<ConnKey>() == 40);

/// What the packet path remembers of a connection. What each packet of an established flow reads and writes comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnInfo {
    /// When the entry expires, in seconds of the monotonic clock.
    pub expires: u32,
    /// A union of the `flag` constants.
    pub flags: u32,
    /// The policy number under which the flow was last allowed.
    pub policy: u32,
    /// The value of [`crate::config::Config::epoch`] when the flow was last allowed.
    pub epoch: u32,
    /// The interface of the workload that has the local address; 0 for the node itself.
    pub local: Way,
    /// Where packets out go, where [`flag::WAY_OUT`] is set: the interface of the workload at the other end, or 0 for the
    /// stack, which routes them. Of the node itself: the interface by which packets out came into the node.
    pub way_out: Way,
    /// The interface by which packets in come into the node, where [`flag::WAY_IN`] is set; 0 where the node makes them.
    pub way_in: Way,
    /// Packets out of the workload.
    pub packets_out: u32,
    /// Packets into the workload.
    pub packets_in: u32,
    /// Bytes out of the workload.
    pub bytes_out: u64,
    /// Bytes into the workload.
    pub bytes_in: u64,
    /// The link-layer addresses of frames to the workload at the other end.
    pub link: LinkAddresses,
    /// Identity of the other end when the flow was last checked.
    pub peer_identity: u32,
    /// The rule that allowed it; 0 where nothing is enforced.
    pub rule: u32,
    /// The layer-7 rule set, where [`flag::PROXIED`] is set.
    pub l7: u32,
    /// The other end's address before the node translated it: of the service, where [`flag::TRANSLATED`] is set; of the sender,
    /// where [`flag::MASQUERADED`] is set, all zero if it is unknown.
    pub untranslated: Address,
    /// Port of the service that was translated, in network order.
    pub untranslated_port: [u8; 2],
    /// Zero.
    pub padding: [u8; 6],
}

const _: () = assert!(size_of::<ConnInfo>() == 112);

/// The link-layer addresses at the beginning of a frame, destination first. The alignment lets programs copy them by words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct LinkAddresses(pub [u8; 12]);

/// An interface, and the value of [`crate::config::Config::epoch`] under which the packet path found the interface.
///
/// Both are one word: CPUs that read and write an entry at the same time never combine an interface of one epoch with another
/// epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Way(u64);

impl Way {
    /// The way by the interface with this index.
    #[inline(always)]
    pub const fn new(epoch: u32, interface: u32) -> Self {
        Self((interface as u64) << 32 | epoch as u64)
    }

    /// The epoch.
    #[inline(always)]
    pub const fn epoch(self) -> u32 {
        self.0 as u32
    }

    /// The interface's index.
    #[inline(always)]
    pub const fn interface(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Bits of [`ConnInfo::flags`].
pub mod flag {
    /// The workload opened the flow (its egress policy applies); otherwise the other end did.
    pub const LOCAL_OPENED: u32 = 1;
    /// The side that did not open the flow has answered.
    pub const ANSWERED: u32 = 2;
    /// The workload sent FIN.
    pub const LOCAL_CLOSED: u32 = 4;
    /// The other end sent FIN.
    pub const REMOTE_CLOSED: u32 = 8;
    /// Either end sent RST.
    pub const RESET: u32 = 16;
    /// Packets of the flow go through the node proxy.
    pub const PROXIED: u32 = 32;
    /// The workload reached the other end through a service address.
    pub const TRANSLATED: u32 = 64;
    /// The first segment that made the entry did not open the connection: [`LOCAL_OPENED`] tells who sent that segment, and
    /// the rules of both directions apply.
    pub const TAKEN_UP: u32 = 512;
    /// A proxy of services gave the packets of the other end the node's address: that end has the address
    /// [`ConnInfo::untranslated`](super::ConnInfo::untranslated), behind the interface of
    /// [`ConnInfo::way_in`](super::ConnInfo::way_in).
    pub const MASQUERADED: u32 = 1024;
    /// The stack routed the packets of a workload of this node that is the other end, and may have translated them. Packets out
    /// go to the stack, too, which translates them back.
    pub const ROUTED: u32 = 2048;
    /// [`ConnInfo::way_out`](super::ConnInfo::way_out) is known.
    pub const WAY_OUT: u32 = 128;
    /// [`ConnInfo::way_in`](super::ConnInfo::way_in) is known.
    pub const WAY_IN: u32 = 256;
}

/// Key of [`crate::map::Fragments`]: what all fragments of one packet have in common.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FragmentKey {
    /// Source address of the packet.
    pub source: Address,
    /// Destination address of the packet.
    pub destination: Address,
    /// Identification in network order. The 16 bits of an IPv4 identification are in the last two bytes.
    pub identification: [u8; 4],
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub padding: [u8; 3],
}

const _: () = assert!(size_of::<FragmentKey>() == 40);

/// The ports of the first fragment, for the later ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragmentInfo {
    /// Source port in network order; for ICMP echo the identifier.
    pub source_port: [u8; 2],
    /// Destination port in network order; for ICMP its type and code.
    pub destination_port: [u8; 2],
}

/// Lifetimes in seconds after the last packet. The numbers are Cilium's defaults (`--bpf-ct-timeout-*`).
pub mod lifetime {
    /// An established TCP connection.
    pub const TCP: u32 = 8000;
    /// A TCP connection that has not been answered yet.
    pub const TCP_OPENING: u32 = 60;
    /// A TCP connection that one end closed; the default of `nf_conntrack_tcp_timeout_fin_wait`.
    pub const TCP_HALF_CLOSED: u32 = 120;
    /// A TCP connection that both ends closed, or that was reset.
    pub const TCP_CLOSING: u32 = 10;
    /// Everything else.
    pub const ANY: u32 = 60;
}
