//! Node objects completed by CiliumNodes: the blocks that the operator assigned to nodes without `podCIDRs`; and the CiliumNode
//! that this node writes.

use kubernetes::{
    CiliumNode, CiliumNodeAddress, CiliumNodeSpec, CustomKind, ObjectMetadata, ObjectWrite, OwnerOfObject,
    WriteAction,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The Node objects without blocks of their own, and the blocks of CiliumNodes.
#[derive(Debug, Default)]
pub(crate) struct NodeObjects {
    /// The name of this node.
    own_name: String,
    /// The text of this node's Node object.
    own: Option<String>,
    /// The texts of Node objects without blocks, by name.
    without_blocks: BTreeMap<String, String>,
    /// The blocks of CiliumNodes, by name.
    blocks: BTreeMap<String, Vec<String>>,
    /// Labels and addresses of this node's CiliumNode, as the API server shows them or as they were written.
    reported: Option<NodeReport>,
}

/// What this node writes into its CiliumNode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeReport {
    labels: BTreeMap<String, String>,
    addresses: Vec<CiliumNodeAddress>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeText {
    metadata: ObjectMetadata,
    status: NodeStatusText,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeStatusText {
    addresses: Vec<NodeAddressText>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeAddressText {
    r#type: String,
    address: String,
}

impl NodeObjects {
    /// Starts with the stored texts of Node objects and CiliumNodes. Stored Node objects have the blocks of CiliumNodes.
    pub(crate) fn new<'a>(
        own_name: &str,
        nodes: impl Iterator<Item = (String, &'a str)>,
        cilium_nodes: impl Iterator<Item = (String, &'a str)>,
    ) -> Self {
        let mut known = Self { own_name: own_name.to_owned(), ..Self::default() };
        nodes.for_each(|(name, text)| drop(known.put_node(&name, Some(text.to_owned()))));
        cilium_nodes.for_each(|(name, text)| drop(known.put_cilium_node(&name, Some(text))));
        known
    }

    /// The API server shows a Node object, or it is gone. Returns its text with the node's blocks.
    pub(crate) fn put_node(&mut self, name: &str, text: Option<String>) -> Option<String> {
        if name == self.own_name {
            self.own.clone_from(&text);
        }
        let Some(text) = text else {
            self.without_blocks.remove(name);
            return None;
        };
        if has_blocks(&text) {
            self.without_blocks.remove(name);
            return Some(text);
        }
        self.without_blocks.insert(name.to_owned(), text.clone());
        Some(self.completed(name, &text))
    }

    /// The API server shows a CiliumNode, or it is gone. Returns the text of its Node object, if that follows the blocks.
    pub(crate) fn put_cilium_node(&mut self, name: &str, text: Option<&str>) -> Option<String> {
        let node = text.and_then(|text| serde_json::from_str::<CiliumNode>(text).ok());
        if name == self.own_name {
            self.reported = node.as_ref().map(|node| NodeReport {
                labels: node.metadata.labels.clone(),
                addresses: node.spec.addresses.clone(),
            });
        }
        let blocks = node.map(|node| node.spec.ipam.pod_cidrs).unwrap_or_default();
        let before = if blocks.is_empty() {
            self.blocks.remove(name)
        } else {
            self.blocks.insert(name.into(), blocks)
        };
        if before.as_ref() == self.blocks.get(name) {
            return None;
        }
        let text = self.without_blocks.get(name)?;
        Some(self.completed(name, text))
    }

    fn completed(&self, name: &str, text: &str) -> String {
        let Some(blocks) = self.blocks.get(name) else { return text.to_owned() };
        let Ok(mut node) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
        node["spec"]["podCIDRs"] = blocks.clone().into();
        node.to_string()
    }

    /// The write of this node's CiliumNode, if it is due. The operator applies the blocks under a name of its own.
    pub(crate) fn write(&mut self) -> Option<ObjectWrite> {
        let NodeText { metadata, status } = serde_json::from_str(self.own.as_deref()?).ok()?;
        let addresses = status.addresses.into_iter().filter(|address| address.r#type.ends_with("IP"));
        let addresses = addresses
            .map(|NodeAddressText { r#type, address }| CiliumNodeAddress { kind: r#type, ip: address });
        let report = NodeReport { labels: metadata.labels, addresses: addresses.collect() };
        if report.addresses.is_empty() || self.reported.as_ref() == Some(&report) {
            return None;
        }
        let owner = metadata.uid.map(|uid| OwnerOfObject {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: self.own_name.clone(),
            uid,
        });
        let object = CiliumNode::new(
            ObjectMetadata {
                name: self.own_name.clone(),
                labels: report.labels.clone(),
                owner_references: owner.into_iter().collect(),
                ..ObjectMetadata::default()
            },
            CiliumNodeSpec { addresses: report.addresses.clone(), ..CiliumNodeSpec::default() },
        );
        self.reported = Some(report);
        let path = CiliumNode::path(None, &self.own_name);
        let text = serde_json::to_string(&object).expect("a node has only text keys");
        Some(ObjectWrite { path, action: WriteAction::Apply(text) })
    }
}

/// Whether a Node object has blocks of its own.
fn has_blocks(text: &str) -> bool {
    let node: Value = serde_json::from_str(text).unwrap_or_default();
    let spec = &node["spec"];
    spec["podCIDRs"].as_array().is_some_and(|blocks| !blocks.is_empty()) || spec["podCIDR"].is_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, blocks: &[&str]) -> String {
        let mut node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": "u", "labels": {"zone": "a"}},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n1"}]},
        });
        if !blocks.is_empty() {
            node["spec"] = json!({"podCIDRs": blocks});
        }
        node.to_string()
    }

    fn cilium_node(name: &str, blocks: &[&str]) -> String {
        json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": name},
            "spec": {"ipam": {"podCIDRs": blocks}},
        })
        .to_string()
    }

    fn blocks(text: &str) -> Value {
        serde_json::from_str::<Value>(text).unwrap()["spec"]["podCIDRs"].clone()
    }

    fn known() -> NodeObjects {
        NodeObjects::new("n1", std::iter::empty(), std::iter::empty())
    }

    #[test]
    fn a_node_without_blocks_has_those_that_the_operator_assigned_in_either_order() {
        let mut known = known();
        assert_eq!(known.put_node("n2", Some(node("n2", &[]))), Some(node("n2", &[])));
        let text = known.put_cilium_node("n2", Some(&cilium_node("n2", &["10.1.0.0/24"]))).unwrap();
        assert_eq!(blocks(&text), json!(["10.1.0.0/24"]));
        assert_eq!(known.put_cilium_node("n2", Some(&cilium_node("n2", &["10.1.0.0/24"]))), None);
        known.put_cilium_node("n3", Some(&cilium_node("n3", &["10.2.0.0/24", "fd00:2::/64"])));
        let text = known.put_node("n3", Some(node("n3", &[]))).unwrap();
        assert_eq!(blocks(&text), json!(["10.2.0.0/24", "fd00:2::/64"]));
        assert_eq!(known.put_cilium_node("n3", None), Some(node("n3", &[])), "the object is gone");
    }

    #[test]
    fn blocks_of_the_node_object_come_first() {
        let mut known = known();
        known.put_cilium_node("n2", Some(&cilium_node("n2", &["10.1.0.0/24"])));
        let own = node("n2", &["10.9.0.0/24"]);
        assert_eq!(known.put_node("n2", Some(own.clone())), Some(own));
        assert_eq!(known.put_cilium_node("n2", Some(&cilium_node("n2", &["10.3.0.0/24"]))), None);
    }

    #[test]
    fn a_node_without_blocks_follows_the_operator_also_after_a_restart() {
        let (stored, assigned) = (node("n2", &[]), cilium_node("n3", &["10.2.0.0/24"]));
        let nodes = [("n2".to_owned(), stored.as_str())].into_iter();
        let mut known = NodeObjects::new("n1", nodes, [("n3".to_owned(), assigned.as_str())].into_iter());
        let text = known.put_cilium_node("n2", Some(&cilium_node("n2", &["10.1.0.0/24"]))).unwrap();
        assert_eq!(blocks(&text), json!(["10.1.0.0/24"]));
        assert_eq!(blocks(&known.put_node("n3", Some(node("n3", &[]))).unwrap()), json!(["10.2.0.0/24"]));
    }

    #[test]
    fn a_node_writes_its_addresses_and_labels_and_no_blocks() {
        let mut known = known();
        assert_eq!(known.write(), None);
        known.put_node("n1", Some(node("n1", &["10.9.0.0/24"])));
        let written = known.write().unwrap();
        assert_eq!(written.path, "/apis/cilium.io/v2/ciliumnodes/n1");
        let WriteAction::Apply(text) = written.action else { panic!("no apply") };
        let expected = concat!(
            r#"{"apiVersion":"cilium.io/v2","kind":"CiliumNode","metadata":{"name":"n1","labels":{"zone":"a"},"#,
            r#""ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n1","uid":"u"}]},"#,
            r#""spec":{"addresses":[{"type":"InternalIP","ip":"192.0.2.1"}]}}"#
        );
        assert_eq!((text.as_str(), known.write()), (expected, None));
        known.put_cilium_node("n1", Some(expected));
        assert_eq!(known.write(), None, "as it was written");
        known.put_cilium_node("n1", None);
        assert!(known.write().is_some(), "it was removed");
        known.put_cilium_node("n1", Some(&cilium_node("n1", &["10.1.0.0/24"])));
        assert!(known.write().is_some(), "the operator was first");
    }
}
