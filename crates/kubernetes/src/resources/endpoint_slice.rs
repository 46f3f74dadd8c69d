//! CiliumEndpointSlice: many endpoints of one namespace, as Cilium's operator collects them from CiliumEndpoints.

use super::{EndpointNetworking, NamedPortStatus, ObjectMetadata};
use serde::Deserialize;

/// A CiliumEndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CiliumEndpointSlice {
    /// Its name has no meaning.
    pub metadata: ObjectMetadata,
    /// The namespace of all its endpoints.
    pub namespace: String,
    /// Its endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// An endpoint in a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct SliceEndpoint {
    /// Its name, which is the pod's.
    pub name: String,
    /// The number of its identity. Its labels are those of the CiliumIdentity with this number.
    #[serde(rename = "id")]
    pub identity: u32,
    /// Its addresses.
    pub networking: Option<EndpointNetworking>,
    /// The named ports of its containers.
    pub named_ports: Vec<NamedPortStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_read_as_cilium_writes_it() {
        let text = r#"{"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumEndpointSlice", "metadata": {"name": "ces-1"},
            "namespace": "shop", "endpoints": [{"name": "web", "id": 4711, "encryption": {}, "service-account": "default",
            "named-ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            "networking": {"addressing": [{"ipv4": "10.0.0.7"}], "node": "192.0.2.1"}}]}"#;
        let slice: CiliumEndpointSlice = serde_json::from_str(text).unwrap();
        let endpoint = &slice.endpoints[0];
        assert_eq!(
            (slice.namespace.as_str(), endpoint.name.as_str(), endpoint.identity),
            ("shop", "web", 4711)
        );
        assert_eq!(
            (endpoint.named_ports[0].port, &*endpoint.networking.as_ref().unwrap().node),
            (80, "192.0.2.1")
        );
    }
}
