//! Service addresses and the backends behind them.

use crate::Address;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of [`crate::map::Services`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ServiceKey {
    /// The service's own address.
    pub address: Address,
    /// The service's port in network order.
    pub port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub padding: u8,
}

const _: () = assert!(size_of::<ServiceKey>() == 20);

/// A set of backends. Writing this row switches a service to another set at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServiceInfo {
    /// Number of the backend set. A set that changes takes a new number: by it, flows that can leave a backend see
    /// that they must choose again.
    pub backends: u32,
    /// How many slots the set has, from 0; with none the connection is refused.
    pub count: u32,
}

/// Key of [`crate::map::Backends`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct BackendKey {
    /// Number of the backend set.
    pub backends: u32,
    /// Slot in the set, from 0.
    pub slot: u32,
}

/// Where one backend listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BackendInfo {
    /// The backend's address.
    pub address: Address,
    /// The backend's port in network order.
    pub port: [u8; 2],
    /// Zero.
    pub padding: [u8; 2],
}

const _: () = assert!(size_of::<BackendInfo>() == 20);
