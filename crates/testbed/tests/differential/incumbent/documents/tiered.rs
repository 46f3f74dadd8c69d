//! Random policies of the cluster's administrators, and the older kinds written as the newer one.

use super::peers::BLOCKS;
use super::selectors::{NAMESPACES, NODES, WORKLOADS, plain};
use super::traffic::{NAMES, PORTS};
use super::{document as dressed, some};
use policy::generate::Random;
use serde_json::{Map, Value, json};

const DOMAINS: &[&str] = &["www.example.com", "*.example.com", "example.com", "*.com"];

/// Which of the kinds is written.
#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    Cluster,
    Admin,
    Baseline,
}

/// A policy of one of the three kinds.
pub(super) fn document(random: &mut Random, name: &str, priority: usize) -> Value {
    let dialect = random.pick(&[
        Dialect::Cluster,
        Dialect::Cluster,
        Dialect::Cluster,
        Dialect::Admin,
        Dialect::Baseline,
    ]);
    let mut spec = json!({"subject": workloads(random)});
    if dialect == Dialect::Cluster {
        spec["tier"] = random.pick(&["Admin", "Admin", "Baseline"]).into();
    }
    if dialect != Dialect::Baseline {
        spec["priority"] = priority.into();
    }
    let first = random.below(2);
    for (at, section) in ["ingress", "egress"].into_iter().enumerate() {
        if at == first || random.chance(40) {
            spec[section] = some(random, 3, |random| rule(random, dialect, section == "egress")).into();
        }
    }
    match dialect {
        Dialect::Cluster => {
            dressed("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", name, None, spec)
        }
        Dialect::Admin => {
            dressed("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", name, None, spec)
        }
        Dialect::Baseline => {
            dressed("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy", "default", None, spec)
        }
    }
}

fn workloads(random: &mut Random) -> Value {
    match random.chance(50) {
        true => json!({"namespaces": plain(random, NAMESPACES)}),
        false => json!({"pods": {
            "namespaceSelector": plain(random, NAMESPACES),
            "podSelector": plain(random, WORKLOADS),
        }}),
    }
}

fn rule(random: &mut Random, dialect: Dialect, is_egress: bool) -> Value {
    let actions: &[&str] = match dialect {
        Dialect::Cluster => &["Accept", "Accept", "Deny", "Pass"],
        Dialect::Admin => &["Allow", "Allow", "Deny", "Pass"],
        Dialect::Baseline => &["Allow", "Deny"],
    };
    let action = random.pick(actions);
    let accepts = !matches!(action, "Deny" | "Pass");
    let peers = some(random, 2, |random| match random.below(8) {
        0..2 if is_egress => json!({"networks": some(random, 2, |random| random.pick(&BLOCKS))}),
        2 if is_egress => json!({"nodes": plain(random, NODES)}),
        3 if is_egress && accepts => json!({"domainNames": some(random, 2, |random| random.pick(DOMAINS))}),
        _ => workloads(random),
    });
    let has_names = peers.iter().all(|peer| peer.get("namespaces").is_some() || peer.get("pods").is_some());
    let mut rule = json!({"action": action, if is_egress { "to" } else { "from" }: peers});
    if random.chance(60) {
        match dialect {
            Dialect::Cluster => {
                rule["protocols"] = some(random, 2, |random| protocol(random, has_names)).into()
            }
            _ => rule["ports"] = some(random, 2, |random| port(random, has_names)).into(),
        }
    }
    rule
}

/// Traffic as the newer kind writes it.
fn protocol(random: &mut Random, has_names: bool) -> Value {
    if has_names && random.chance(15) {
        return json!({"destinationNamedPort": random.pick(NAMES)});
    }
    let port = match range(random) {
        (first, None) => json!({"number": first}),
        (first, Some(last)) => json!({"range": {"start": first, "end": last}}),
    };
    json!({random.pick(&["tcp", "tcp", "udp", "sctp"]): {"destinationPort": port}})
}

/// Traffic as the older kinds write it.
fn port(random: &mut Random, has_names: bool) -> Value {
    if has_names && random.chance(15) {
        return json!({"namedPort": random.pick(NAMES)});
    }
    let protocol = random.pick(&["TCP", "TCP", "UDP", "SCTP"]);
    match range(random) {
        (first, None) => json!({"portNumber": {"protocol": protocol, "port": first}}),
        (first, Some(last)) => json!({"portRange": {"protocol": protocol, "start": first, "end": last}}),
    }
}

fn range(random: &mut Random) -> (u16, Option<u16>) {
    let (one, two) = (random.pick(PORTS), random.pick(PORTS));
    let is_range = one != two && random.chance(40);
    if is_range { (one.min(two), Some(one.max(two))) } else { (one, None) }
}

/// Documents for a reader that knows only the newest of these kinds: the others are rewritten as that kind.
pub(in crate::incumbent) fn as_cluster_policies(documents: &[Value]) -> Vec<Value> {
    documents.iter().map(as_cluster_policy).collect()
}

fn as_cluster_policy(given: &Value) -> Value {
    let (tier, priority) = match given["kind"].as_str() {
        Some("AdminNetworkPolicy") => ("Admin", given["spec"]["priority"].clone()),
        // Its rules come after all others of the baseline.
        Some("BaselineAdminNetworkPolicy") => ("Baseline", 1001.into()),
        _ => return given.clone(),
    };
    let mut spec = given["spec"].clone();
    for section in ["ingress", "egress"] {
        for rule in spec[section].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            modernise(rule);
        }
        if spec[section].is_null() {
            spec.as_object_mut().expect("a spec is an object").remove(section);
        }
    }
    spec["tier"] = tier.into();
    spec["priority"] = priority;
    // An older and a newer policy may have the same name.
    let name = format!("{}-of-old", given["metadata"]["name"].as_str().unwrap_or_default());
    dressed("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", &name, None, spec)
}

fn modernise(rule: &mut Map<String, Value>) {
    if rule.get("action").is_some_and(|action| action == "Allow") {
        rule.insert("action".into(), "Accept".into());
    }
    let Some(Value::Array(ports)) = rule.remove("ports") else { return };
    let modern = ports.iter().map(|port| {
        let (given, number) = match (port.get("portNumber"), port.get("portRange")) {
            (Some(one), _) => (one, json!({"number": one["port"]})),
            (_, Some(range)) => (range, json!({"range": {"start": range["start"], "end": range["end"]}})),
            _ => return json!({"destinationNamedPort": port["namedPort"]}),
        };
        let protocol = given["protocol"].as_str().unwrap_or("TCP").to_lowercase();
        json!({protocol: {"destinationPort": number}})
    });
    rule.insert("protocols".into(), modern.collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_policy_becomes_the_cluster_policy_of_the_same_meaning() {
        let rules = json!([{"action": "Allow", "from": [{"namespaces": {}}], "ports": [
            {"portNumber": {"protocol": "UDP", "port": 53}},
            {"portRange": {"start": 80, "end": 90}},
            {"namedPort": "web"},
        ]}]);
        let spec = json!({"priority": 7, "subject": {"namespaces": {}}, "ingress": rules});
        let given = dressed("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", "a", None, spec);
        let modern = json!([{"action": "Accept", "from": [{"namespaces": {}}], "protocols": [
            {"udp": {"destinationPort": {"number": 53}}},
            {"tcp": {"destinationPort": {"range": {"start": 80, "end": 90}}}},
            {"destinationNamedPort": "web"},
        ]}]);
        let wanted =
            json!({"tier": "Admin", "priority": 7, "subject": {"namespaces": {}}, "ingress": modern});
        let got = &as_cluster_policies(&[given])[0];
        assert_eq!((&got["kind"], &got["spec"]), (&json!("ClusterNetworkPolicy"), &wanted));
    }
}
