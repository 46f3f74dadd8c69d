//! The custom resources that are read and written: the fields that we know, in Cilium's JSON names.

mod endpoint;
mod endpoint_slice;
mod identity;
mod metadata;
mod node;

pub use endpoint::{
    AddressPair, CiliumEndpoint, EndpointIdentityStatus, EndpointNetworking, EndpointStatus,
    ExternalIdentifiers, NamedPortStatus,
};
pub use endpoint_slice::{CiliumEndpointSlice, SliceEndpoint};
pub use identity::CiliumIdentity;
pub use metadata::{ObjectMetadata, OwnerOfObject};
pub use node::{CiliumNode, CiliumNodeAddress, CiliumNodeSpec, IpamSpec};

/// Where a kind of custom resource is, and how an object of it begins.
pub trait CustomKind {
    /// The kind.
    const KIND: &'static str;
    /// Its name in paths.
    const PLURAL: &'static str;
    /// Its API group and version.
    const API_VERSION: &'static str = "cilium.io/v2";

    /// The path of all objects of the kind, or of those of a namespace.
    fn collection(namespace: Option<&str>) -> String {
        let version = Self::API_VERSION;
        match namespace {
            Some(namespace) => format!("/apis/{version}/namespaces/{namespace}/{}", Self::PLURAL),
            None => format!("/apis/{version}/{}", Self::PLURAL),
        }
    }

    /// The path of one object.
    fn path(namespace: Option<&str>, name: &str) -> String {
        format!("{}/{name}", Self::collection(namespace))
    }
}
