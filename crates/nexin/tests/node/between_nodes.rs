//! Packets between nodes: routes to other nodes' pods, and what follows when a node or its pods move.

use crate::bed::{Bed, Host, eventually};
use crate::cluster::{Cluster, node_manifest, node_name, printed, within};

/// The routes that an agent keeps, as `ip` prints them without metrics.
fn routes(node: &Bed) -> Vec<String> {
    let all = ["-4", "-6"].map(|family| printed(&node.name, &[family, "route", "show", "proto", "78"]));
    let lines = all.iter().flat_map(|all| all.lines());
    let mut routes: Vec<String> =
        lines.map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect();
    routes.sort();
    routes
}

#[track_caller]
fn expect_routes(node: &Bed, expected: &[&str]) {
    let found = eventually(|| (routes(node) == expected).then_some(()));
    assert!(found.is_some(), "{:?} instead of {expected:?}; {:?}", routes(node), node.status().notes);
}

/// Whether one workload gets a response of the other one, over each family.
fn each_family(from: &Host, to: &Host) -> [Option<u16>; 2] {
    [0, 1].map(|family| eventually(|| from.connect_to((to.addresses[family], 80).into())?.fetch("/")))
}

#[test]
#[ignore = "needs root"]
fn pods_of_different_nodes_reach_one_another_over_both_families() {
    let cluster = Cluster::new("ra", 2, &serde_json::json!({}));
    let [a, b] = &cluster.nodes[..] else { panic!("two nodes") };
    expect_routes(a, &["10.244.2.0/24 via 192.0.2.2", "fd00:10:244:2::/64 via 2001:db8::2"]);
    expect_routes(b, &["10.244.1.0/24 via 192.0.2.1", "fd00:10:244:1::/64 via 2001:db8::1"]);
    let (here, there) = (a.workload("here"), b.workload("there"));
    assert_eq!(each_family(&here, &there), [Some(200); 2]);
    assert_eq!(each_family(&there, &here), [Some(200); 2]);
}

#[test]
#[ignore = "needs root"]
fn a_service_leads_to_its_backend_on_another_node_and_a_rule_for_its_own_address_allows_nothing() {
    let cluster = Cluster::new("rd", 2, &serde_json::json!({ "masquerade": true }));
    let [a, b] = &cluster.nodes[..] else { panic!("two nodes") };
    let (client, server) = (a.workload("client"), b.workload("server"));
    let [v4, v6] = server.addresses[..] else { panic!("two addresses") };
    let slice = |family: &str, address| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: {family}\n\
             metadata: {{name: web-{}, labels: {{kubernetes.io/service-name: web}}}}\n\
             ports: [{{name: http, port: 80, protocol: TCP}}]\nendpoints: [{{addresses: ['{address}']}}]\n",
            family.to_lowercase()
        )
    };
    a.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\n\
         spec: {{clusterIPs: [10.96.0.9, 'fd00:10:96::9'], ports: [{{name: http, port: 8080, targetPort: 80}}]}}\n{}{}",
        slice("IPv4", v4),
        slice("IPv6", v6)
    ));
    let frontends = ["10.96.0.9:8080", "[fd00:10:96::9]:8080"].map(|text| text.parse().unwrap());
    let reach = |frontend| client.connect_to(frontend)?.fetch("/");
    for frontend in frontends {
        assert_eq!(eventually(|| reach(frontend)), Some(200), "{frontend}");
    }
    // Policy judges the backend.
    a.apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: egress}\nspec:\n  \
         podSelector: {matchLabels: {app: client}}\n  policyTypes: [Egress]\n  egress:\n  \
         - to: [{ipBlock: {cidr: 10.96.0.9/32}}, {ipBlock: {cidr: 'fd00:10:96::9/128'}}]\n    ports: [{port: 8080}]\n",
    );
    for frontend in frontends {
        assert_eq!(reach(frontend), None, "{frontend}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_route_follows_the_node_that_moves_and_goes_with_it_and_others_stay() {
    let cluster = Cluster::new("rb", 1, &serde_json::json!({}));
    let node = &cluster.nodes[0];
    let routes_of_others = || printed(&node.name, &["route", "show", "proto", "static"]);
    within(&node.name, &["route", "add", "10.244.9.0/24", "via", "192.0.2.254", "proto", "static"]);
    let others = routes_of_others();
    let other = |address, pods| {
        node.write_policy(&format!("{}.yaml", node_name(2)), &node_manifest(2, address, pods));
    };
    other(2, 2);
    expect_routes(node, &["10.244.2.0/24 via 192.0.2.2", "fd00:10:244:2::/64 via 2001:db8::2"]);
    // The node returns with another address.
    other(3, 2);
    expect_routes(node, &["10.244.2.0/24 via 192.0.2.3", "fd00:10:244:2::/64 via 2001:db8::3"]);
    // Its pods move to another block, beside which the administrator has a route.
    other(3, 9);
    expect_routes(node, &["10.244.9.0/24 via 192.0.2.3", "fd00:10:244:9::/64 via 2001:db8::3"]);
    // Another program removes a route.
    within(&node.name, &["route", "delete", "10.244.9.0/24", "proto", "78"]);
    within(&node.name, &["link", "add", "name", "extra", "type", "bridge"]);
    expect_routes(node, &["10.244.9.0/24 via 192.0.2.3", "fd00:10:244:9::/64 via 2001:db8::3"]);
    std::fs::remove_file(node.path("policies").join(format!("{}.yaml", node_name(2)))).unwrap();
    expect_routes(node, &[]);
    assert_eq!(routes_of_others(), others);
}

#[test]
#[ignore = "needs root"]
fn routes_outlast_the_agent_and_the_next_one_corrects_them() {
    let mut cluster = Cluster::new("rc", 2, &serde_json::json!({}));
    let node = &mut cluster.nodes[0];
    let expected = ["10.244.2.0/24 via 192.0.2.2", "fd00:10:244:2::/64 via 2001:db8::2"];
    expect_routes(node, &expected);
    node.kill();
    assert_eq!(routes(node), expected);
    node.write_policy(&format!("{}.yaml", node_name(2)), &node_manifest(2, 4, 2));
    node.start();
    expect_routes(node, &["10.244.2.0/24 via 192.0.2.4", "fd00:10:244:2::/64 via 2001:db8::4"]);
}

#[test]
#[ignore = "needs root"]
fn a_node_on_no_link_of_this_node_has_a_note_and_no_route() {
    let cluster = Cluster::new("rd", 1, &serde_json::json!({}));
    let node = &cluster.nodes[0];
    let far = node_manifest(2, 2, 2).replace("192.0.2.2", "203.0.113.2");
    node.write_policy(&format!("{}.yaml", node_name(2)), &far);
    expect_routes(node, &["fd00:10:244:2::/64 via 2001:db8::2"]);
    let notes = node.status().notes;
    assert!(notes.iter().any(|note| note.contains("node-2: its address 203.0.113.2")), "{notes:?}");
    assert_eq!(node.status().problems, [] as [String; 0]);
}
