//! Tests that policies of an API server are in force, also while it is away.

use crate::bed::{Bed, eventually};
use crate::fake::{FakeServer, Fault};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;
use workload::NetworkNamespace;

const VALID: &str = r#"{"endpointSelector": {}, "ingress": [{}]}"#;
const INVALID: &str = r#"{"endpointSelector": {}, "ingres": [{}]}"#;

/// A node with an agent that follows an API server in its network namespace.
fn node_with_server(name: &str) -> (Bed, FakeServer) {
    let bed = Bed::idle(name, &serde_json::json!({}));
    let namespace = NetworkNamespace::open(&bed.name).unwrap();
    let server = FakeServer::at(namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap()).unwrap());
    let file = bed.path("agent.json");
    let mut settings: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    settings["kubernetes"] = serde_json::json!({"kubeconfig": server.kubeconfig(), "nodeName": "n1"});
    std::fs::write(&file, settings.to_string()).unwrap();
    (bed, server)
}

fn expect_problem(bed: &Bed, what: &str) {
    let problem = eventually(|| bed.status().problems.into_iter().find(|problem| problem.contains(what)));
    assert!(problem.is_some(), "no {what:?} in {:?}", bed.status().problems);
}

#[test]
#[ignore = "needs root"]
fn an_invalid_object_leaves_the_others_and_its_earlier_state_in_force() {
    let (mut bed, server) = node_with_server("ka");
    server.put("rule1", VALID);
    bed.start();
    bed.expect_policies(&["rule1"]);
    server.put("rule2", INVALID);
    server.put("rule3", VALID);
    bed.expect_policies(&["rule1", "rule3"]);
    expect_problem(&bed, "kubernetes:CiliumNetworkPolicy/shop/rule2");
    server.put("rule1", INVALID);
    expect_problem(&bed, "kubernetes:CiliumNetworkPolicy/shop/rule1");
    bed.expect_no_change(&["rule1", "rule3"]);
    let path = |name| format!("/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies/{name}/status");
    let is_refused = |body: &String| body.contains(r#""status":"False""#) && body.contains("spec.ingres");
    for name in ["rule1", "rule2"] {
        let condition = eventually(|| server.writes_to(&path(name)).iter().any(is_refused).then_some(()));
        assert!(condition.is_some(), "{name}: {:?}", server.writes_to(&path(name)));
    }
    let is_accepted = |body: &String| body.contains(r#""status":"True""#);
    assert!(eventually(|| server.writes_to(&path("rule3")).iter().any(is_accepted).then_some(())).is_some());
}

#[test]
#[ignore = "needs root"]
fn a_start_without_the_api_server_has_the_policies_that_were_last_known() {
    let (mut bed, server) = node_with_server("kb");
    for name in ["rule1", "rule2"] {
        server.put(name, VALID);
    }
    bed.start();
    bed.expect_policies(&["rule1", "rule2"]);
    // The objects are stored half a second after a change.
    thread::sleep(Duration::from_millis(1200));
    server.fault(Fault::Away);
    server.drop_streams();
    expect_problem(&bed, "the API server's objects are not up to date");
    bed.expect_no_change(&["rule1", "rule2"]);
    bed.kill();
    bed.start();
    bed.expect_policies(&["rule1", "rule2"]);
    expect_problem(&bed, "the API server's objects are not up to date");
    server.delete("rule1");
    server.put("rule3", VALID);
    bed.expect_no_change(&["rule1", "rule2"]);
    server.fault(Fault::None);
    bed.expect_policies(&["rule2", "rule3"]);
    let well = eventually(|| bed.status().problems.is_empty().then_some(()));
    assert!(well.is_some(), "{:?}", bed.status().problems);
}
