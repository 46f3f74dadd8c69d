//! CiliumNode: a node with the blocks that its endpoints take addresses from.

use super::{CustomKind, ObjectMetadata};
use serde::{Deserialize, Serialize};

/// A CiliumNode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CiliumNode {
    api_version: String,
    kind: String,
    /// Its name is the node's.
    pub metadata: ObjectMetadata,
    /// Its addresses and blocks.
    #[serde(default)]
    pub spec: CiliumNodeSpec,
}

/// The addresses and blocks of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CiliumNodeSpec {
    /// Its addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<CiliumNodeAddress>,
    /// Where its endpoints take addresses from. An agent that has no part in it must not apply it, not even empty.
    #[serde(skip_serializing_if = "IpamSpec::is_empty")]
    pub ipam: IpamSpec,
}

/// An address of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiliumNodeAddress {
    /// `InternalIP`, `ExternalIP`, `CiliumInternalIP`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address.
    pub ip: String,
}

/// Where the endpoints of a node take addresses from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamSpec {
    /// The blocks, which the operator writes.
    #[serde(rename = "podCIDRs", skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<String>,
}

impl IpamSpec {
    fn is_empty(&self) -> bool {
        self.pod_cidrs.is_empty()
    }
}

impl CustomKind for CiliumNode {
    const KIND: &'static str = "CiliumNode";
    const PLURAL: &'static str = "ciliumnodes";
}

impl CiliumNode {
    /// The object of a node.
    pub fn new(metadata: ObjectMetadata, spec: CiliumNodeSpec) -> Self {
        Self { api_version: Self::API_VERSION.into(), kind: Self::KIND.into(), metadata, spec }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_written_as_cilium_writes_it() {
        let metadata = ObjectMetadata { name: "n1".into(), ..ObjectMetadata::default() };
        let spec = CiliumNodeSpec {
            addresses: vec![CiliumNodeAddress { kind: "InternalIP".into(), ip: "192.0.2.1".into() }],
            ipam: IpamSpec { pod_cidrs: vec!["10.0.0.0/24".into()] },
        };
        let node = CiliumNode::new(metadata, spec);
        let golden = concat!(
            r#"{"apiVersion":"cilium.io/v2","kind":"CiliumNode","metadata":{"name":"n1"},"#,
            r#""spec":{"addresses":[{"type":"InternalIP","ip":"192.0.2.1"}],"ipam":{"podCIDRs":["10.0.0.0/24"]}}}"#
        );
        assert_eq!(serde_json::to_string(&node).unwrap(), golden);
        assert_eq!(serde_json::from_str::<CiliumNode>(golden).unwrap(), node);
    }
}
