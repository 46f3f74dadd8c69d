//! Each reading explains its case, and no case that only looks like it.

use super::*;
use serde_json::json;

/// A world of two workloads, a node, and a host outside, with these documents; and the probe, `from to`.
fn test(documents: &Value, probe: &str) -> Value {
    let (from, to) = probe.split_once(' ').expect("a probe has two ends");
    json!({
        "apiVersion": "nexin.io/v1alpha1",
        "kind": "PolicyTest",
        "metadata": {"name": "reading"},
        "spec": {
            "namespaces": [{"name": "x", "labels": {"tier": "front"}}],
            "workloads": [
                {"name": "a", "namespace": "x", "labels": {"app": "a"}, "ips": ["10.244.0.1"]},
                {"name": "b", "namespace": "x", "labels": {"app": "b"}, "ips": ["10.244.0.2"]},
            ],
            "nodes": [{"name": "node", "labels": {"zone": "a"}, "ips": ["10.0.0.2"]}],
            "externals": [{"name": "out", "ips": ["198.51.100.7"]}],
            "policies": documents,
            "probes": [{"from": from, "to": to, "port": 80}],
        },
    })
}

/// Asserts that the reading of this name alone explains the incumbent's verdict.
fn check(name: &str, theirs: IncumbentVerdict, probe: &str, documents: Value) {
    let test = test(&documents, probe);
    assert_eq!(explain(&test, 0, theirs), Some(vec![name]), "{documents:#}");
}

fn network_policy(spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "x"}, "spec": spec})
}

fn cilium(spec: Value) -> Value {
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "p", "namespace": "x"}, "spec": spec})
}

fn cluster(tier: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["tier"] = tier.into();
    spec["priority"] = 1.into();
    spec["subject"] = json!({"namespaces": {}});
    json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "c"}, "spec": spec})
}

#[test]
fn a_block_and_a_pod() {
    let block = json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]});
    check("ip-block", IncumbentVerdict::Drop, "x/a x/b", json!([network_policy(block)]));
    let networks = json!({"egress": [{"action": "Deny", "to": [{"networks": ["10.0.0.0/8"]}]}]});
    check("networks", IncumbentVerdict::Allow, "x/a x/b", json!([cluster("Admin", networks)]));
}

#[test]
fn a_direction_that_is_not_listed() {
    let unlisted = json!({"podSelector": {}, "policyTypes": ["Egress"],
        "ingress": [{"ports": [{"port": 443}]}], "egress": [{}]});
    check("policy-types", IncumbentVerdict::Drop, "out x/b", json!([network_policy(unlisted)]));
}

#[test]
fn a_baseline_for_the_isolated() {
    let isolated = network_policy(json!({"podSelector": {}}));
    let accept = json!({"ingress": [{"action": "Accept", "from": [{"namespaces": {}}]}]});
    check(
        "baseline-accept",
        IncumbentVerdict::Allow,
        "x/a x/b",
        json!([isolated, cluster("Baseline", accept)]),
    );
}

#[test]
fn selectors_that_only_exclude() {
    let none = json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]});
    let from = json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": none}]}]});
    check("not-in-network-policy", IncumbentVerdict::Allow, "node x/b", json!([network_policy(from)]));
    let pods = json!({"pods": {"namespaceSelector": none, "podSelector": {}}});
    let deny = json!({"ingress": [{"action": "Deny", "from": [pods]}]});
    check("not-in-cluster-policy", IncumbentVerdict::Drop, "node x/b", json!([cluster("Admin", deny)]));
    let deny = json!({"ingress": [{"action": "Deny", "from": [{"namespaces": none}]}]});
    check("not-in-namespaces", IncumbentVerdict::Drop, "out x/b", json!([cluster("Admin", deny)]));
    let key = "io.cilium.k8s.namespace.labels.tier";
    let none = json!({"matchExpressions": [{"key": key, "operator": "DoesNotExist"}]});
    let from = json!({"endpointSelector": {}, "ingress": [{"fromEndpoints": [none]}]});
    check("not-in-cilium-policy", IncumbentVerdict::Allow, "node x/b", json!([cilium(from)]));
    let none = json!({"matchExpressions": [{"key": "reserved:remote-node", "operator": "DoesNotExist"}]});
    let from = json!({"endpointSelector": {}, "ingress": [{"fromEndpoints": [none]}]});
    check("not-reserved", IncumbentVerdict::Allow, "node x/b", json!([cilium(from)]));
}

#[test]
fn nodes_and_reserved_labels() {
    let to = json!({"endpointSelector": {}, "egress": [{"toNodes": [{}]}]});
    check("local-node", IncumbentVerdict::Drop, "x/a host", json!([cilium(to)]));
    let zone = json!({"matchExpressions": [{"key": "k8s:zone", "operator": "Exists"}]});
    let to = json!({"endpointSelector": {}, "egress": [{"toNodes": [zone]}]});
    check("node-source", IncumbentVerdict::Drop, "x/a node", json!([cilium(to)]));
    let world = json!({"matchLabels": {"reserved:world": ""}});
    let from = json!({"endpointSelector": {}, "ingress": [{"fromEndpoints": [world]}]});
    check("reserved-world", IncumbentVerdict::Drop, "out x/b", json!([cilium(from)]));
}

#[test]
fn two_sources_of_one_key() {
    let both = json!({"matchLabels": {"app": "a", "any:app": "b"}});
    let from = json!({"endpointSelector": {}, "ingress": [{"fromEndpoints": [both]}]});
    for one in ["x/a x/b", "x/b x/a"] {
        check("two-sources", IncumbentVerdict::Allow, one, json!([cilium(from.clone())]));
    }
}

#[test]
fn groups_of_blocks() {
    let group = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup",
        "metadata": {"name": "g", "labels": {"tier": "back"}}, "spec": {"externalCIDRs": ["203.0.113.0/24"]}});
    let from = |selector: Value| json!({"endpointSelector": {}, "ingress": [{"fromCIDRSet": [{"cidrGroupSelector": selector}]}]});
    check("all-groups", IncumbentVerdict::Allow, "x/a x/b", json!([group, cilium(from(json!({})))]));
    let without = json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back"]}]});
    check("groups-of-an-address", IncumbentVerdict::Allow, "out x/b", json!([group, cilium(from(without))]));
}

#[test]
fn services_that_are_not_there() {
    let to = json!([{"k8sService": {"serviceName": "s", "namespace": "x"}}]);
    let rule = json!({"toServices": to, "toPorts": [{"ports": [{"port": "80"}]}]});
    let allow = json!({"endpointSelector": {}, "egress": [rule]});
    check("no-services", IncumbentVerdict::Allow, "x/a out", json!([cilium(allow)]));
    let deny = json!({"endpointSelector": {}, "egressDeny": [rule], "egress": [{"toEntities": ["all"]}]});
    check("no-services", IncumbentVerdict::Drop, "x/a out", json!([cilium(deny)]));
    let ports = json!([{"ports": [{"port": "80"}]}]);
    let empty = |field: &str| {
        let rule = json!({field: [], "toPorts": ports});
        json!([cilium(json!({"endpointSelector": {}, "egress": [rule]}))])
    };
    check("no-services", IncumbentVerdict::Allow, "x/a out", empty("toServices"));
    assert_eq!(explain(&test(&empty("toCIDRSet"), "x/a out"), 0, IncumbentVerdict::Allow), None);
}

#[test]
fn icmp_of_type_0() {
    let fields = json!([{"fields": [{"type": 0}]}]);
    let mut test =
        test(&json!([cilium(json!({"endpointSelector": {}, "ingress": [{"icmps": fields}]}))]), "x/a x/b");
    test["spec"]["probes"][0] = json!({"from": "x/a", "to": "x/b", "icmp": {"type": 8}});
    assert_eq!(explain(&test, 0, IncumbentVerdict::Allow), Some(vec!["icmp-type-0"]));
}

#[test]
fn enforcement_for_all() {
    for (probe, name) in [("out host", "always-for-nodes"), ("host x/a", "always-for-nodes")] {
        let mut test = test(&json!([]), probe);
        assert_eq!(explain(&test, 0, IncumbentVerdict::Drop), None, "policies are enforced where they are");
        test["spec"]["policyEnforcement"] = "always".into();
        assert_eq!(explain(&test, 0, IncumbentVerdict::Drop), Some(vec![name]));
    }
    let open = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": "open"}, "spec": {"nodeSelector": {}, "egress": [{"toEntities": ["all"]}]}});
    let mut test = test(&json!([open]), "host x/a");
    test["spec"]["policyEnforcement"] = "always".into();
    assert_eq!(explain(&test, 0, IncumbentVerdict::Drop), Some(vec!["always-from-host"]));
}

#[test]
fn what_only_looks_like_a_difference_on_purpose_is_none() {
    // A block outside the cluster, and a probe that does not match it.
    let block = json!({"podSelector": {}, "ingress": [
        {"from": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]},
        {"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]},
    ]});
    let documents = json!([network_policy(block)]);
    assert_eq!(explain(&test(&documents, "x/a x/b"), 0, IncumbentVerdict::Drop), None);
    assert_eq!(explain(&test(&documents, "out x/b"), 0, IncumbentVerdict::Drop), None);
    // A selector that asks for a label has nothing to do with nodes, nor has one that lists both directions.
    let front = json!({"matchLabels": {"tier": "front"}});
    let from = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"namespaceSelector": front}]}]});
    assert_eq!(explain(&test(&json!([network_policy(from)]), "node x/b"), 0, IncumbentVerdict::Allow), None);
    // A service that is there.
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "x"},
        "spec": {"clusterIP": "None", "selector": {"app": "b"}, "ports": [{"port": 80}]}});
    let to = json!([{"k8sService": {"serviceName": "s", "namespace": "x"}}]);
    let rule = json!({"toServices": to, "toPorts": [{"ports": [{"port": "80"}]}]});
    let allow = cilium(json!({"endpointSelector": {}, "egress": [rule]}));
    assert_eq!(explain(&test(&json!([service, allow]), "x/a out"), 0, IncumbentVerdict::Allow), None);
}

#[test]
fn every_reading_stands_in_the_documentation_and_nothing_else_does() {
    let page = include_str!("../../../../../../docs/differences.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut documented: Vec<&str> = rows.map(|(name, _)| name).collect();
    let mut known: Vec<&str> = READINGS.iter().map(|reading| reading.name).collect();
    documented.sort_unstable();
    known.sort_unstable();
    known.dedup();
    assert_eq!(documented, known);
}
