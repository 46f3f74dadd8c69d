//! Addresses of both families as one 128-bit key, and what the packet path knows of each.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv6 address, or an IPv4 address mapped into `::ffff:0:0/96` (RFC 4291, section 2.5.5.2), in network order.
///
/// The alignment lets programs copy an address by words; without it they copy byte by byte.
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
#[repr(C, align(4))]
pub struct Address(pub [u8; 16]);

impl Address {
    /// The twelve bytes before a mapped IPv4 address.
    pub const V4_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    /// Bits of [`Self::V4_PREFIX`]: what to add to an IPv4 prefix length.
    pub const V4_PREFIX_BITS: u32 = 96;

    /// Maps an IPv4 address, given in network order.
    #[inline(always)]
    pub const fn from_v4(v4: [u8; 4]) -> Self {
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]])
    }

    /// The address whose bytes lie in these words, as memory holds them.
    #[inline(always)]
    pub const fn from_words([first, second, third, fourth]: [u32; 4]) -> Self {
        let [a, b, c, d] = first.to_ne_bytes();
        let [e, f, g, h] = second.to_ne_bytes();
        let [i, j, k, l] = third.to_ne_bytes();
        let [m, n, o, p] = fourth.to_ne_bytes();
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// Whether this is 127.0.0.1 or ::1.
    #[inline(always)]
    pub fn is_loopback(&self) -> bool {
        *self == Self::from_v4([127, 0, 0, 1])
            || *self == Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    }

    /// Whether this is a mapped IPv4 address.
    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        self.0[..12] == Self::V4_PREFIX
    }

    /// The IPv4 address in network order; meaningful only where [`Self::is_v4`] holds.
    #[inline(always)]
    pub const fn v4(&self) -> [u8; 4] {
        [self.0[12], self.0[13], self.0[14], self.0[15]]
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            IpAddr::V4(Ipv4Addr::from(address.v4()))
        } else {
            IpAddr::V6(Ipv6Addr::from(address.0))
        }
    }
}

/// Key of [`crate::map::Addresses`], a longest-prefix-match trie.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AddressKey {
    /// Leading bits of `address` that count, 0..=128 (an IPv4 prefix: its length plus 96).
    pub prefix_bits: u32,
    /// The prefix; bits past `prefix_bits` are zero.
    pub address: Address,
}

const _: () = assert!(size_of::<AddressKey>() == 20);

impl AddressKey {
    /// The key that matches one address only.
    #[inline(always)]
    pub const fn host(address: Address) -> Self {
        Self { prefix_bits: 128, address }
    }
}

/// What the packet path knows of an address: its identity, the CIDR blocks that hold it, and where it is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddressInfo {
    /// Security identity (see [`crate::identity`]), which events report.
    pub identity: u32,
    /// Peer number: the identity as [`crate::map::Groups`] names it. It equals `identity`, unless workloads of one identity
    /// differ in what a policy selects by (named ports): then it is a number of the local scope.
    pub peer: u32,
    /// Number of the workload's namespace, by which [`crate::map::Groups`] names the workloads that have no entry of their
    /// own; 0 where there is no namespace.
    pub namespace: u32,
    /// CIDR class: stands for the smallest policy CIDR block that holds the address; 0 where no block does.
    pub cidr: u32,
    /// Index of the host-side interface that the address is delivered through; 0 where it is not a local workload.
    pub interface: u32,
    /// Link-layer address of the workload behind `interface`; zero where there is none.
    pub mac: [u8; 6],
    /// Zero.
    pub padding: [u8; 2],
}

const _: () = assert!(size_of::<AddressInfo>() == 28);
