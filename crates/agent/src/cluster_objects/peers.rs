//! A CiliumEndpoint or an endpoint of a CiliumEndpointSlice, as a peer: its addresses, and the labels of its identity.

use control::{Change, RemoteWorkload, Workload};
use kubernetes::{CiliumEndpoint, EndpointNetworking, EndpointStatus, NamedPortStatus, ResourceName};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The change that the text of a peer makes. A pod of this node is known by itself.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn peer_change(
    name: &ResourceName,
    text: Option<&str>,
    node_of: impl Fn(IpAddr) -> Option<String>,
    is_here: impl Fn(IpAddr) -> bool,
) -> Result<Change, String> {
    let gone = removal(name);
    let Some(text) = text else { return Ok(gone) };
    let endpoint: CiliumEndpoint = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let EndpointStatus { identity, networking, named_ports, .. } = endpoint.status;
    let Some((identity, networking)) = identity.zip(networking) else { return Ok(gone) };
    let peer = PeerText { labels: &identity.labels, networking: &networking, named_ports: &named_ports };
    Ok(peer.workload(name, node_of, is_here)?.map_or(gone, Change::RemoteWorkload))
}

/// What the API server shows of a peer.
pub(crate) struct PeerText<'a> {
    /// The labels of its identity, each as `k8s:app=web`.
    pub(crate) labels: &'a [String],
    pub(crate) networking: &'a EndpointNetworking,
    pub(crate) named_ports: &'a [NamedPortStatus],
}

impl PeerText<'_> {
    /// The peer as a workload of another node; none for one of this node, and while its addresses or its labels are unknown: without
    /// labels no rule may match it.
    ///
    /// # Errors
    /// What is wrong with its addresses.
    pub(crate) fn workload(
        &self,
        name: &ResourceName,
        node_of: impl Fn(IpAddr) -> Option<String>,
        is_here: impl Fn(IpAddr) -> bool,
    ) -> Result<Option<Box<RemoteWorkload>>, String> {
        let Self { labels, networking, named_ports } = self;
        let Some(node) = node_address(networking).filter(|node| !is_here(*node)) else { return Ok(None) };
        let addresses = networking.addressing.iter().flat_map(|both| [&both.ipv4, &both.ipv6]);
        let addresses = addresses.filter(|text| !text.is_empty()).map(|text| {
            text.parse().map_err(|_| format!("status.networking.addressing: {text:?} is not an address"))
        });
        let addresses = addresses.collect::<Result<Vec<IpAddr>, String>>()?;
        if addresses.is_empty() || labels.is_empty() {
            return Ok(None);
        }
        let workload = Workload {
            namespace: name.namespace.clone().unwrap_or_default(),
            name: name.name.clone(),
            labels: Arc::new(own_labels(labels)),
            addresses,
            named_ports: Arc::new(named_ports.iter().filter_map(named_port).collect()),
        };
        let node = node_of(node).unwrap_or_else(|| node.to_string());
        Ok(Some(Box::new(RemoteWorkload { node, workload })))
    }
}

/// The change that follows if a peer is gone.
pub(crate) fn removal(name: &ResourceName) -> Change {
    let namespace = name.namespace.clone().unwrap_or_default();
    Change::RemoveRemoteWorkload { namespace, name: name.name.clone() }
}

/// The address of the node that an endpoint is on.
pub(crate) fn node_address(networking: &EndpointNetworking) -> Option<IpAddr> {
    networking.node.parse().ok()
}

/// The workload's own labels among those of its identity: `k8s:app=web`. Those of its namespace are known by the namespace.
fn own_labels(labels: &[String]) -> BTreeMap<String, String> {
    let own = labels.iter().filter_map(|label| {
        let label = label.strip_prefix("k8s:")?;
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        let is_namespaces = key == identity::key::NAMESPACE
            || key == identity::key::CLUSTER
            || key.starts_with(identity::key::NAMESPACE_LABELS);
        // Every workload has the default service account unless it names another one.
        let is_default = key == identity::key::SERVICE_ACCOUNT && value == identity::key::DEFAULT;
        (!is_namespaces && !is_default).then(|| (key.to_owned(), value.to_owned()))
    });
    own.collect()
}

fn named_port(port: &NamedPortStatus) -> Option<((String, u8), u16)> {
    let protocol = abi::protocol::number(&port.protocol.to_ascii_uppercase())?;
    Some(((port.name.to_ascii_lowercase(), protocol), port.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = r#"{"apiVersion": "cilium.io/v2", "kind": "CiliumEndpoint", "metadata": {"name": "web-0"}, "status": {
        "identity": {"id": 4711, "labels": ["k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop",
            "k8s:io.cilium.k8s.namespace.labels.team=a", "k8s:io.cilium.k8s.policy.cluster=default",
            "k8s:io.cilium.k8s.policy.serviceaccount=default"]},
        "named-ports": [{"name": "HTTP", "port": 80, "protocol": "TCP"}],
        "networking": {"addressing": [{"ipv4": "10.1.2.3", "ipv6": "fd00::3"}], "node": "192.0.2.2"}}}"#;

    fn change(text: Option<&str>) -> Result<Change, String> {
        let name = ResourceName { namespace: Some("shop".into()), name: "web-0".into() };
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        peer_change(&name, text, |_| Some("n2".into()), |node| node == here)
    }

    #[test]
    fn a_peer_has_its_own_labels_its_addresses_and_its_named_ports() {
        let Ok(Change::RemoteWorkload(remote)) = change(Some(PEER)) else { panic!("no peer") };
        let Workload { labels, addresses, named_ports, .. } = &remote.workload;
        assert_eq!((remote.node.as_str(), addresses.len()), ("n2", 2));
        assert_eq!(**labels, BTreeMap::from([("app".into(), "web".into())]));
        assert_eq!(**named_ports, BTreeMap::from([(("http".into(), 6), 80)]));
    }

    #[test]
    fn a_peer_that_is_here_or_incomplete_or_gone_is_none() {
        let gone = Change::RemoveRemoteWorkload { namespace: "shop".into(), name: "web-0".into() };
        for text in [
            None,
            Some(PEER.replace("192.0.2.2", "192.0.2.1")),
            Some(PEER.replace("\"identity\"", "\"other\"")),
            Some(PEER.replace("\"networking\"", "\"other\"")),
        ] {
            assert_eq!(change(text.as_deref()), Ok(gone.clone()), "{text:?}");
        }
    }

    #[test]
    fn a_peer_with_a_text_that_is_no_address_is_an_error() {
        assert!(
            change(Some(&PEER.replace("10.1.2.3", "ten"))).unwrap_err().contains("\"ten\" is not an address")
        );
    }
}
