//! The objects of a test as the API server takes them.

use crate::crossing::protocol_name;
use crate::state::TestWorkload;
use manifest::test::WorkloadName;
use policy::rule::Cidr;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The image of the pods, which sleeps.
const IMAGE: &str = "registry.k8s.io/e2e-test-images/agnhost:2.63.0";

/// A namespace with these labels.
pub(super) fn namespace(name: &str, labels: &BTreeMap<String, String>) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// A pod on a node.
pub(super) fn pod(name: &WorkloadName, workload: &TestWorkload, node: &str) -> Value {
    let port = |port: &manifest::NamedPort| json!({"name": port.name, "containerPort": port.port, "protocol": protocol_name(port.protocol)});
    let ports: Vec<Value> = workload.named_ports.iter().map(port).collect();
    let container = json!({"name": "sleeps", "image": IMAGE, "args": ["pause"], "ports": ports});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name.name, "namespace": name.namespace, "labels": workload.labels},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [container]},
    })
}

/// A policy that selects nothing.
pub(super) fn mark(kind: &str, namespace: &str, name: &str) -> Value {
    let metadata = json!({"name": name, "namespace": namespace});
    match kind {
        "NetworkPolicy" => {
            json!({"apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": {"podSelector": {}}})
        }
        _ => {
            let spec =
                json!({"endpointSelector": {"matchLabels": {"nexin-test": "nothing"}}, "ingress": [{}]});
            let metadata = if kind == "CiliumNetworkPolicy" { metadata } else { json!({"name": name}) };
            json!({"apiVersion": "cilium.io/v2", "kind": kind, "metadata": metadata, "spec": spec})
        }
    }
}

/// An endpoint of a node that does not exist, whose label is its name.
pub(super) fn endpoint_mark(namespace: &str, name: &str) -> Value {
    let labels = [format!("k8s:mark={name}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")];
    // Outside of the nodes' blocks.
    let networking = json!({"addressing": [{"ipv4": "192.0.2.1"}], "node": "192.0.2.2"});
    json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumEndpoint", "metadata": {"name": name, "namespace": namespace},
        "status": {"id": 1, "identity": {"id": 65_000, "labels": labels}, "networking": networking, "state": "ready"},
    })
}

/// The addresses of a pod: the one of the test, and the one in the cluster.
pub(super) type Moved = (IpAddr, IpAddr);

/// A policy in which each `ipBlock` matches the addresses that pods have in the cluster. Rules of other kinds match no
/// pods by their addresses.
pub(super) fn moved(policy: &Value, pods: &[Moved]) -> Value {
    match policy {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                let value = match (name.as_str(), value) {
                    ("from" | "to", Value::Array(peers)) => {
                        Value::Array(peers.iter().flat_map(|peer| moved_peer(peer, pods)).collect())
                    }
                    _ => moved(value, pods),
                };
                (name.clone(), value)
            });
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.iter().map(|value| moved(value, pods)).collect()),
        other => other.clone(),
    }
}

/// The peers that match in the cluster what a peer matches in the test.
fn moved_peer(peer: &Value, pods: &[Moved]) -> Vec<Value> {
    let Some(whole) = block(&peer["ipBlock"]["cidr"]) else {
        return vec![peer.clone()];
    };
    let exceptions = peer["ipBlock"]["except"].as_array().into_iter().flatten();
    let exceptions: Vec<Cidr> = exceptions.filter_map(block).collect();
    let is_in = |blocks: &[Cidr], address: IpAddr| blocks.iter().any(|one| one.contains(address));
    let of_family = |address: IpAddr| address.is_ipv4() == whole.address().is_ipv4();
    let single = |address: IpAddr| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
    let pods = || pods.iter().filter(|(_, now)| of_family(*now));
    let (within, without): (Vec<_>, Vec<_>) =
        pods().partition(|(then, _)| whole.contains(*then) && !is_in(&exceptions, *then));
    // The block also holds the addresses that the pods have in the cluster.
    let excluded = without.iter().filter(|(_, now)| whole.contains(*now)).map(|(_, now)| single(*now));
    let excluded: Vec<Value> =
        exceptions.iter().map(ToString::to_string).chain(excluded).map(Value::String).collect();
    let mut peers = vec![json!({"ipBlock": {"cidr": whole.to_string(), "except": excluded}})];
    let outside = within.iter().filter(|(_, now)| !whole.contains(*now) || is_in(&exceptions, *now));
    peers.extend(outside.map(|(_, now)| json!({"ipBlock": {"cidr": single(*now)}})));
    peers
}

/// A block as it is written: `10.0.0.0/8`.
fn block(text: &Value) -> Option<Cidr> {
    let (address, length) = text.as_str()?.split_once('/')?;
    Cidr::new(address.parse().ok()?, length.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> Vec<Moved> {
        let pod = |then: &str, now: &str| (then.parse().unwrap(), now.parse().unwrap());
        vec![
            pod("10.244.1.17", "10.91.1.2"),
            pod("10.244.1.49", "10.91.2.2"),
            pod("10.244.2.18", "10.91.3.2"),
            pod("fd00::1", "fd00:91::2"),
        ]
    }

    fn peers(block: Value) -> Value {
        moved(&json!({"ingress": [{"from": [{"ipBlock": block}]}]}), &pods())["ingress"][0]["from"].clone()
    }

    #[test]
    fn a_block_matches_the_same_pods_in_the_cluster() {
        let block = json!({"cidr": "10.244.1.0/24", "except": ["10.244.1.48/28"]});
        let kept = json!({"ipBlock": {"cidr": "10.244.1.0/24", "except": ["10.244.1.48/28"]}});
        assert_eq!(peers(block), json!([kept, {"ipBlock": {"cidr": "10.91.1.2/32"}}]));
    }

    #[test]
    fn an_exception_from_everything_excludes_the_same_pods() {
        let block = json!({"cidr": "0.0.0.0/0", "except": ["10.244.1.48/28"]});
        let except = json!(["10.244.1.48/28", "10.91.2.2/32"]);
        assert_eq!(peers(block), json!([{"ipBlock": {"cidr": "0.0.0.0/0", "except": except}}]));
    }

    #[test]
    fn other_peers_stay_as_they_are() {
        let policy = json!({"spec": {"egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 80}]}],
                                     "ingress": [{"fromCIDR": ["10.244.1.0/24"]}]}});
        assert_eq!(moved(&policy, &pods()), policy);
    }
}
