//! The client of the API server: connection, watches of kinds, and writes, on a thread of its own.
//!
//! [`ClusterWatches`] reports each object as a name and its JSON text, or as gone. What a watch does next is decided by a state machine
//! without a network (`watch`); requests and streams are beside it.
#![forbid(unsafe_code)]

mod backoff;
mod cluster;
mod connection;
mod definitions;
mod events;
mod exchange;
mod failure;
mod kind;
mod known;
mod load;
mod object;
mod request;
mod resources;
mod snapshot;
mod watch;
mod write_queue;
mod writes;

pub use cluster::{ClusterEvent, ClusterWatches, WatchRequest};
pub use connection::{Connection, ConnectionError, UserConnection};
pub use definitions::DEFINITIONS;
pub use exchange::{ObjectRequest, RequestError, exchange};
pub use kind::{KeptFields, WatchedKind};
pub use known::KnownObjects;
/// The client for further requests, on a runtime of the caller.
pub use kube::Client;
pub use load::ServerLoad;
pub use object::{ObservedObject, ResourceName, text_hash};
pub use resources::{
    AddressPair, CiliumEndpoint, CiliumEndpointSlice, CiliumIdentity, CiliumNode, CiliumNodeAddress,
    CiliumNodeSpec, CustomKind, EndpointIdentityStatus, EndpointNetworking, EndpointStatus,
    ExternalIdentifiers, IpamSpec, NamedPortStatus, ObjectMetadata, OwnerOfObject, SliceEndpoint,
};
pub use snapshot::{ClusterObject, SnapshotError, snapshot};
pub use watch::Report;
pub use write_queue::{ObjectWrite, WriteAction};
pub use writes::WriteTrouble;
