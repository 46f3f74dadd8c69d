//! What the packet path reports: flow events, drop reasons and counters.

use crate::Address;
use crate::policy::Direction;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One packet and its verdict; what [`crate::map::Events`] and [`crate::map::Denials`] carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowEvent {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// Source address; behind a service the backend's.
    pub source: Address,
    /// Destination address; behind a service the backend's.
    pub destination: Address,
    /// Source port in network order.
    pub source_port: [u8; 2],
    /// Destination port in network order; for ICMP its type and code.
    pub destination_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// TCP flags as on the wire.
    pub tcp_flags: u8,
    /// A [`PacketVerdict`].
    pub verdict: u8,
    /// A [`DropReason`]: why the packet was dropped or, with [`PacketVerdict::Audit`], would have been; 0 otherwise.
    pub reason: u8,
    /// A [`Direction`], seen from `endpoint`.
    pub direction: u8,
    /// 1 for a packet of the direction opposite to the connection's first packet.
    pub reply: u8,
    /// Zero.
    pub padding: [u8; 2],
    /// Length of the packet in bytes, from the link layer on.
    pub length: u32,
    /// Identity of the source.
    pub source_identity: u32,
    /// Identity of the destination.
    pub destination_identity: u32,
    /// The endpoint whose policy the packet was checked by.
    pub endpoint: u32,
    /// Number of the policy that was in force.
    pub policy: u32,
    /// The rule that decided; 0 is the default.
    pub rule: u32,
    /// The layer-7 rule set, where the packet was sent to the proxy.
    pub l7: u32,
    /// Port of the service that was translated, in network order; zero where none was.
    pub service_port: [u8; 2],
    /// Zero.
    pub padding2: [u8; 6],
    /// Address of the service that was translated; zero where none was.
    pub service: Address,
}

const _: () = assert!(size_of::<FlowEvent>() == 104);

impl FlowEvent {
    /// Whether the packet was denied, or would have been without audit mode. Such events have a ring buffer of their own
    /// ([`crate::map::Denials`]).
    #[inline(always)]
    pub const fn is_denial(&self) -> bool {
        self.reason != 0
    }
}

/// What happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketVerdict {
    /// Delivered to a workload, or passed on to the stack.
    Forward = 1,
    /// Dropped, for the event's reason.
    Drop = 2,
    /// Redirected to the node proxy.
    Redirect = 3,
    /// Denied by policy, but delivered, since the endpoint is in audit mode.
    Audit = 4,
}

/// One line makes a variant, its number, its name and its description.
macro_rules! drop_reasons {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// Why a packet was dropped: the error type of the packet path.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $text] $name = $number,)*
        }

        impl DropReason {
            /// All reasons, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The reason with this number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// A sentence for people.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

drop_reasons! {
    PolicyDefaultDeny = 1, "no policy rule allows it";
    PolicyDeny = 2, "a policy rule denies it";
    UnknownEndpoint = 3, "the interface has no endpoint yet";
    InvalidSource = 4, "the source address is not its sender's own";
    InvalidPacket = 5, "the packet is malformed or cut short";
    UnsupportedProtocol = 6, "neither IPv4, IPv6 nor ARP";
    UnknownFragment = 7, "a fragment whose first part was not seen";
    NoBackend = 8, "the service has no backend";
    ProxyUnavailable = 9, "policy asks for the layer-7 proxy, and it is not there";
    NotEstablished = 10, "a TCP segment of no known connection";
    ConntrackFull = 11, "the connection could not be remembered";
    TranslationFailed = 12, "the packet could not be rewritten";
    MapMissing = 13, "a map row that must be there is not";
    TimeExceeded = 14, "the hop limit ran out";
    NotForProxy = 15, "a packet on the proxy's interface that no policy sent there";
    InvalidDestination = 16, "the destination address is not the workload's own";
    IdentityUnknown = 17, "the identity of the other end is not known yet";
    NoPort = 18, "no port is free to masquerade the connection";
    NoNodeAddress = 19, "the node has no address to masquerade with";
}

/// Number of entries of [`crate::map::Counters`].
pub const COUNTER_ROWS: u32 = LOST_DENIALS + 1;
/// Index of the counter of events that found no room in [`crate::map::Events`].
pub const LOST_FORWARDS: u32 = 2 * REASONS;
/// Index of the counter of events that found no room in [`crate::map::Denials`].
pub const LOST_DENIALS: u32 = LOST_FORWARDS + 1;
/// How many numbers drop reasons may have, 0 for none included: a power of two.
const REASONS: u32 = 32;
const _: () = assert!(DropReason::ALL[DropReason::ALL.len() - 1] as u32 == DropReason::ALL.len() as u32);
const _: () = assert!(DropReason::ALL.len() < REASONS as usize, "every drop reason has counters of its own");

/// Index of the counter for a reason (0: forwarded) and a direction.
#[inline(always)]
pub const fn counter_index(reason: u8, direction: Direction) -> u32 {
    (reason as u32 & (REASONS - 1)) * 2 + direction as u32
}

/// Packets and bytes, of one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the link layer on.
    pub bytes: u64,
}
