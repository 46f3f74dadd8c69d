//! CiliumEndpoint: an endpoint as the agent of its node reports it.

use super::{CustomKind, ObjectMetadata};
use serde::{Deserialize, Serialize};

/// A CiliumEndpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CiliumEndpoint {
    api_version: String,
    kind: String,
    /// Its namespace and name are the pod's.
    pub metadata: ObjectMetadata,
    /// What the agent reports.
    #[serde(default)]
    pub status: EndpointStatus,
}

/// What the agent reports of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct EndpointStatus {
    /// The number of the endpoint on its node.
    pub id: u32,
    /// The identity; none while it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<EndpointIdentityStatus>,
    /// Its addresses; none while they are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networking: Option<EndpointNetworking>,
    /// The named ports of its containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub named_ports: Vec<NamedPortStatus>,
    /// How the runtime names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_identifiers: Option<ExternalIdentifiers>,
    /// The service account of the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account: String,
    /// `ready`, or an earlier state.
    pub state: String,
}

/// The identity of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointIdentityStatus {
    /// Its number.
    pub id: u32,
    /// Its labels, each as `k8s:app=web`.
    pub labels: Vec<String>,
}

/// The addresses of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointNetworking {
    /// Addresses, in pairs of both families.
    pub addressing: Vec<AddressPair>,
    /// An address of the node that other nodes reach.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
}

/// An address of each family; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressPair {
    /// The IPv4 address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ipv4: String,
    /// The IPv6 address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ipv6: String,
}

/// A named port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamedPortStatus {
    /// Its name.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// Its protocol: `TCP`.
    pub protocol: String,
}

/// How the runtime names an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ExternalIdentifiers {
    /// Container and interface: `CONTAINER:eth0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cni_attachment_id: String,
    /// The container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// The namespace of the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub k8s_namespace: String,
    /// The name of the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub k8s_pod_name: String,
    /// Namespace and name of the pod: `shop/web`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_name: String,
}

impl CustomKind for CiliumEndpoint {
    const KIND: &'static str = "CiliumEndpoint";
    const PLURAL: &'static str = "ciliumendpoints";
}

impl CiliumEndpoint {
    /// The object of a pod.
    pub fn new(metadata: ObjectMetadata, status: EndpointStatus) -> Self {
        Self { api_version: Self::API_VERSION.into(), kind: Self::KIND.into(), metadata, status }
    }
}

#[cfg(test)]
mod tests {
    use super::super::OwnerOfObject;
    use super::*;

    #[test]
    fn an_endpoint_is_written_as_cilium_writes_it() {
        let pod = OwnerOfObject {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: "web".into(),
            uid: "1-2".into(),
        };
        let metadata = ObjectMetadata {
            name: "web".into(),
            namespace: Some("shop".into()),
            owner_references: vec![pod],
            ..ObjectMetadata::default()
        };
        let status = EndpointStatus {
            id: 7,
            identity: Some(EndpointIdentityStatus { id: 4711, labels: vec!["k8s:app=web".into()] }),
            networking: Some(EndpointNetworking {
                addressing: vec![AddressPair { ipv4: "10.0.0.7".into(), ipv6: "fd00::7".into() }],
                node: "192.0.2.1".into(),
            }),
            named_ports: vec![NamedPortStatus { name: "http".into(), port: 80, protocol: "TCP".into() }],
            external_identifiers: Some(ExternalIdentifiers {
                cni_attachment_id: "c1:eth0".into(),
                ..ExternalIdentifiers::default()
            }),
            service_account: "default".into(),
            state: "ready".into(),
        };
        let endpoint = CiliumEndpoint::new(metadata, status);
        let golden = concat!(
            r#"{"apiVersion":"cilium.io/v2","kind":"CiliumEndpoint","metadata":{"name":"web","namespace":"shop","#,
            r#""ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"web","uid":"1-2"}]},"#,
            r#""status":{"id":7,"identity":{"id":4711,"labels":["k8s:app=web"]},"#,
            r#""networking":{"addressing":[{"ipv4":"10.0.0.7","ipv6":"fd00::7"}],"node":"192.0.2.1"},"#,
            r#""named-ports":[{"name":"http","port":80,"protocol":"TCP"}],"#,
            r#""external-identifiers":{"cni-attachment-id":"c1:eth0"},"service-account":"default","state":"ready"}}"#
        );
        assert_eq!(serde_json::to_string(&endpoint).unwrap(), golden);
        assert_eq!(serde_json::from_str::<CiliumEndpoint>(golden).unwrap(), endpoint);
        assert_eq!(
            CiliumEndpoint::path(Some("shop"), "web"),
            "/apis/cilium.io/v2/namespaces/shop/ciliumendpoints/web"
        );
    }

    #[test]
    fn what_cilium_writes_beside_it_is_passed_over() {
        let text = r#"{"apiVersion":"cilium.io/v2","kind":"CiliumEndpoint","metadata":{"name":"web","managedFields":[]},
            "status":{"id":1,"encryption":{},"policy":{"ingress":{"enforcing":true}},"state":"ready"}}"#;
        let read: CiliumEndpoint = serde_json::from_str(text).unwrap();
        assert_eq!((read.status.id, read.status.identity), (1, None));
    }
}
