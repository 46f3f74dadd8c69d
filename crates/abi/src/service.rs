//! Service addresses, the backends behind them, and the backend that was chosen for each flow.

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

/// A set of backends. The write of this entry switches a service to another set at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServiceInfo {
    /// Number of the backend set. A set that changes takes a new number, by which a flow that may change its backend notices
    /// that it must choose again.
    pub backends: u32,
    /// The number of backends in the set. Connections to a set without backends are dropped.
    pub count: u32,
    /// A union of the `service_flag` constants.
    pub flags: u32,
}

/// Bits of [`ServiceInfo::flags`].
pub mod service_flag {
    /// All connections of a client's address go to one backend, as long as the set stays the same.
    pub const ONE_BACKEND_OF_CLIENT: u32 = 1;
}

/// Key of [`crate::map::Backends`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct BackendKey {
    /// Number of the backend set.
    pub backends: u32,
    /// Index of the backend in the set, from 0.
    pub index: u32,
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

/// Value of [`crate::map::Forwards`]: the port of the node that leads to a workload, and that a flow was opened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ForwardInfo {
    /// The node's address.
    pub address: Address,
    /// The node's port in network order.
    pub port: [u8; 2],
    /// Zero.
    pub padding: [u8; 2],
}

const _: () = assert!(size_of::<ForwardInfo>() == 20);

/// Key of [`crate::map::Choices`]: a flow to a service as its client sends it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ChoiceKey {
    /// The client's address.
    pub client: Address,
    /// The service's own address.
    pub service: Address,
    /// The client's port in network order.
    pub client_port: [u8; 2],
    /// The service's port in network order.
    pub service_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub padding: [u8; 3],
}

const _: () = assert!(size_of::<ChoiceKey>() == 40);

/// The backend that was chosen for a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ChoiceInfo {
    /// The backend.
    pub backend: BackendInfo,
    /// Number of the backend set that the backend was chosen from.
    pub backends: u32,
    /// When the choice stops counting, in seconds of the monotonic clock.
    pub expires: u32,
    /// A union of the `choice_flag` constants.
    pub flags: u32,
}

const _: () = assert!(size_of::<ChoiceInfo>() == 32);

/// Bits of [`ChoiceInfo::flags`].
pub mod choice_flag {
    /// The client sent FIN or RST.
    pub const CLOSED: u32 = 1;
}
