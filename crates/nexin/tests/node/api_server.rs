//! Tests that policies of an API server are in force, also while it is away.

use crate::bed::{Bed, Host, eventually};
use crate::fake::{FakeServer, Fault};
use crate::runtime::{Sandbox, run};
use api::ApiRequest;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::Duration;
use workload::{NetworkNamespace, NodeNamespace};

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

const PODS: &str = "/api/v1/pods";
const NODES: &str = "/api/v1/nodes";
const CILIUM_NODES: &str = "/apis/cilium.io/v2/ciliumnodes";
const IDENTITIES: &str = "/apis/cilium.io/v2/ciliumidentities";
const PEERS: &str = "/apis/cilium.io/v2/ciliumendpoints";

/// A pod of the tests' runtime.
fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("u-{name}"), "labels": {"app": name}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {"phase": "Pending"},
    })
}

/// The security labels of a pod of the tests' runtime, each joined with its value.
fn security_labels(app: &str) -> Vec<(String, String)> {
    let labels = identity::Labels::of_workload("default", [], [("app", app)]);
    identity::security_labels(&labels).into_iter().collect()
}

fn cluster_identity(number: u32, app: &str) -> Value {
    let labels: std::collections::BTreeMap<String, String> = security_labels(app).into_iter().collect();
    json!({"metadata": {"name": number.to_string(), "uid": format!("uid-{number}")}, "security-labels": labels})
}

/// A pod of another node, at an address outside this node's.
fn peer(name: &str, address: &str, number: u32) -> Value {
    let labels = security_labels(name).into_iter().map(|(key, value)| format!("{key}={value}"));
    let labels: Vec<String> = labels.collect();
    json!({
        "metadata": {"name": format!("{name}-remote"), "namespace": "default", "uid": name},
        "status": {
            "identity": {"id": number, "labels": labels},
            "networking": {"addressing": [{"ipv4": address}], "node": "192.0.2.2"},
        },
    })
}

/// The identities of the workloads with these names, as the agent reports them.
fn identities(bed: &Bed, names: &[&str]) -> Vec<u32> {
    let endpoints = bed.endpoints();
    let of = |name: &&str| endpoints.iter().find(|one| one.name == *name).map_or(0, |one| one.identity);
    names.iter().map(of).collect()
}

fn expect_identities(bed: &Bed, names: &[&str], numbers: &[u32]) {
    let are_given = eventually(|| (identities(bed, names) == numbers).then_some(()));
    assert!(are_given.is_some(), "{names:?} have {:?} and not {numbers:?}", identities(bed, names));
}

#[test]
#[ignore = "needs root"]
fn workloads_have_the_clusters_identities_and_keep_their_connections_when_these_come_or_go() {
    let (mut bed, server) = node_with_server("kc");
    let addresses = json!([{"type": "InternalIP", "address": "192.0.2.1"}]);
    server.put_object(
        NODES,
        json!({"metadata": {"name": "n1", "uid": "n1"}, "status": {"addresses": addresses}}),
    );
    let blocks = json!({"ipam": {"podCIDRs": ["10.77.1.0/24"]}});
    server.put_object(CILIUM_NODES, json!({"metadata": {"name": "n1", "uid": "c1"}, "spec": blocks}));
    server.put_object(IDENTITIES, cluster_identity(700, "server"));
    server.put_object(PEERS, peer("client", "10.99.0.7", 701));
    ["server", "client"].into_iter().for_each(|name| server.put_object(PODS, pod(name)));
    bed.start();
    let [server_box, client_box] = ["server", "client"].map(Sandbox::new);
    let host = |sandbox: &Sandbox| {
        let addresses = run(&bed, "ADD", sandbox).expect().addresses();
        Host { namespace: sandbox.open(), addresses }
    };
    let (server_host, client_host) = (host(&server_box), host(&client_box));
    assert_eq!(
        server_host.addresses[0].to_string().rsplit_once('.').unwrap().0,
        "10.77.1",
        "of the CiliumNode"
    );
    let written = server.writes_to(&format!("{CILIUM_NODES}/n1"));
    assert!(written[0].contains(r#"[{"type":"InternalIP","ip":"192.0.2.1"}]"#), "{written:?}");
    bed.apply(crate::CONNECTIONS);
    server_host.serve("server");
    assert_eq!(client_host.reaches(&server_host, "/"), Some(200));
    let [of_server, of_client] = identities(&bed, &["server", "client"])[..] else { panic!("two") };
    assert_eq!(of_server, 700);
    assert!(of_client >= abi::identity::FIRST_UNASSIGNED, "the cluster has assigned none: {of_client}");
    let mut kept = client_host.connect(&server_host).unwrap();
    for (number, app) in [(701, "client"), (702, "server"), (701, "server"), (700, "client")] {
        server.put_object(IDENTITIES, cluster_identity(number, app));
        thread::sleep(Duration::from_millis(200));
        assert_eq!(kept.fetch("/"), Some(200), "{number} is now {app}'s");
    }
    expect_identities(&bed, &["server", "client"], &[701, 700]);
    let path = "/apis/cilium.io/v2/namespaces/default/ciliumendpoints/client";
    let is_reported = |body: &String| body.contains(r#""identity":{"id":700,"#);
    assert!(
        eventually(|| server.writes_to(path).last().filter(|body| is_reported(body)).map(drop)).is_some()
    );
    for number in [702, 701, 700] {
        server.delete_object(IDENTITIES, "", &number.to_string());
        // Of deletions that come together, the lowest number would be the first.
        thread::sleep(Duration::from_millis(400));
    }
    thread::sleep(Duration::from_millis(1200));
    server.fault(Fault::Away);
    server.drop_streams();
    bed.kill();
    assert_eq!(kept.fetch("/"), Some(200), "no agent");
    bed.start();
    assert_eq!(identities(&bed, &["server", "client"]), [701, 700], "a number in use stays");
    assert_eq!(kept.fetch("/"), Some(200));
    assert_eq!(client_host.reaches(&server_host, "/"), Some(200));
}

const POLICIES: &str = "/apis/cilium.io/v2/ciliumnetworkpolicies";

/// A policy for the server with one section about the client.
fn about_client(name: &str, section: &str, annotations: &Value) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "generation": 1, "annotations": annotations,
        },
        "spec": {
            "endpointSelector": {"matchLabels": {"app": "server"}},
            section: [{"fromEndpoints": [{"matchLabels": {"app": "client"}}]}],
        },
    })
}

#[test]
#[ignore = "needs root"]
fn tier_and_order_of_policies_of_the_api_server_decide_about_connections() {
    let (mut bed, server) = node_with_server("kd");
    server.put_object(NODES, json!({"metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.77.2.0/24"]}}));
    server.put_object(POLICIES, about_client("denied", "ingressDeny", &json!({})));
    server.put_object(POLICIES, about_client("allowed", "ingress", &json!({})));
    bed.start();
    bed.expect_policies(&["allowed", "denied"]);
    let host = bed.workload("server");
    let client = bed.workload("client");
    assert_eq!(client.fetch(&host, "/"), None, "a deny wins at equal order");
    let order = |text: &str| json!({"policy.nexin.io/order": text});
    let tier = |text: &str| json!({"policy.nexin.io/tier": text});
    let reaches = || client.fetch(&host, "/").is_some();
    for (annotations, is_allowed) in
        [(order("10"), true), (order("2000"), false), (tier("admin"), true), (json!({}), false)]
    {
        server.put_object(POLICIES, about_client("allowed", "ingress", &annotations));
        let is_in_force = eventually(|| (reaches() == is_allowed).then_some(()));
        assert!(is_in_force.is_some(), "{annotations}: {is_allowed} is not in force");
    }
}

#[test]
#[ignore = "needs root"]
fn the_endpoint_of_a_pod_that_is_gone_is_not_written_again() {
    let (mut bed, server) = node_with_server("kh");
    let addresses = json!([{"type": "InternalIP", "address": "192.0.2.1"}]);
    server.put_object(
        NODES,
        json!({"metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.77.4.0/24"]}, "status": {"addresses": addresses}}),
    );
    server.put_object(PODS, pod("server"));
    bed.start();
    let sandbox = Sandbox::new("server");
    let _host =
        Host { namespace: sandbox.open(), addresses: run(&bed, "ADD", &sandbox).expect().addresses() };
    let path = "/apis/cilium.io/v2/namespaces/default/ciliumendpoints/server";
    let written =
        || eventually(|| server.writes_to(path).pop().map(|text| serde_json::from_str(&text).unwrap()));
    let mut endpoint: Value = written().unwrap();
    endpoint["metadata"]["uid"] = "e".into();
    server.put_object(PEERS, endpoint.clone());
    thread::sleep(Duration::from_millis(300));
    server.delete_object(PEERS, "default", "server");
    let again = eventually(|| (server.writes_to(path).len() == 2).then_some(()));
    assert!(again.is_some(), "the pod is here: {:?}", server.writes_to(path));
    server.put_object(PEERS, endpoint);
    server.delete_object(PODS, "default", "server");
    thread::sleep(Duration::from_millis(300));
    server.delete_object(PEERS, "default", "server");
    thread::sleep(Duration::from_millis(700));
    assert_eq!(server.writes_to(path).len(), 2, "the pod is gone");
}

#[test]
#[ignore = "needs root"]
fn a_pod_lacks_an_identity_only_where_the_cluster_has_identities() {
    let (mut bed, server) = node_with_server("ki");
    server.put_object(NODES, json!({"metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.77.5.0/24"]}}));
    server.put_object(PODS, pod("early"));
    bed.start();
    let reported = |name: &str| {
        let beginning = format!("/api/v1/namespaces/default/events/{name}.");
        server.written_paths().iter().any(|path| path.starts_with(&beginning))
    };
    let early = Sandbox::new("early");
    run(&bed, "ADD", &early).expect();
    thread::sleep(Duration::from_millis(1500));
    assert!(!reported("early"), "no operator allocates identities here: {:?}", server.written_paths());
    server.put_object(IDENTITIES, cluster_identity(700, "other"));
    thread::sleep(Duration::from_millis(300));
    server.put_object(PODS, pod("late"));
    let late = Sandbox::new("late");
    run(&bed, "ADD", &late).expect();
    assert!(eventually(|| reported("late").then_some(())).is_some(), "{:?}", server.written_paths());
}

const SLICES: &str = "/apis/cilium.io/v2alpha1/ciliumendpointslices";

/// Whether the agent knows a peer with this label and number.
fn knows_peer(bed: &Bed, app: &str, number: u32) -> bool {
    let identities: Vec<api::view::IdentitySummary> = bed.ask(ApiRequest::Identities);
    let label = format!("k8s:app={app}");
    identities.iter().any(|one| one.id == number && one.labels.contains(&label))
}

#[track_caller]
fn expect_peer(bed: &Bed, app: &str, number: u32, is_known: bool) {
    let found = eventually(|| (knows_peer(bed, app, number) == is_known).then_some(()));
    assert!(found.is_some(), "{app} with {number}: known {}", !is_known);
}

#[test]
#[ignore = "needs root"]
fn peers_are_known_by_slices_with_the_labels_of_their_identities() {
    let (mut bed, server) = node_with_server("ke");
    let sliced = |name: &str, number: u32, address: &str| {
        json!({"name": name, "id": number,
            "networking": {"addressing": [{"ipv4": address}], "node": "192.0.2.2"}})
    };
    let slice = |endpoints: Value| json!({"metadata": {"name": "ces-1", "uid": "ces-1"}, "namespace": "default", "endpoints": endpoints});
    server.put_object(IDENTITIES, cluster_identity(700, "sliced"));
    server.put_object(SLICES, slice(json!([sliced("a", 700, "10.99.0.7"), sliced("b", 701, "10.99.0.8")])));
    bed.start();
    expect_peer(&bed, "sliced", 700, true);
    assert!(!knows_peer(&bed, "later", 701), "its identity has no labels");
    server.put_object(IDENTITIES, cluster_identity(701, "later"));
    expect_peer(&bed, "later", 701, true);
    // The objects are stored half a second after a change.
    thread::sleep(Duration::from_millis(1200));
    server.fault(Fault::Away);
    server.drop_streams();
    bed.kill();
    bed.start();
    assert!(knows_peer(&bed, "sliced", 700) && knows_peer(&bed, "later", 701), "from the stored objects");
    server.fault(Fault::None);
    server.put_object(SLICES, slice(json!([sliced("a", 700, "10.99.0.7")])));
    expect_peer(&bed, "later", 701, false);
    // A CiliumEndpoint of the pod is newer than the slice.
    server.put_object(IDENTITIES, cluster_identity(702, "renamed"));
    let mut endpoint = peer("renamed", "10.99.0.7", 702);
    endpoint["metadata"]["name"] = "a".into();
    server.put_object(PEERS, endpoint);
    expect_peer(&bed, "renamed", 702, true);
    expect_peer(&bed, "sliced", 700, false);
    server.delete_object(PEERS, "default", "a");
    expect_peer(&bed, "renamed", 702, false);
    thread::sleep(Duration::from_millis(300));
    assert!(!knows_peer(&bed, "sliced", 700), "the pod ended, and the slice is behind");
    assert_eq!(bed.status().problems, Vec::<String>::new());
}

/// A node with three pods, of which the policy lets the client in to the server and not the stranger.
struct GuardedNode {
    bed: Bed,
    server: FakeServer,
    pods: [Host; 3],
    /// They end with this value.
    _boxes: [Sandbox; 3],
}

/// The node under this name, whose pods have addresses of a block.
fn guarded_node(name: &str, block: &str) -> GuardedNode {
    const NAMES: [&str; 3] = ["server", "client", "stranger"];
    let (mut bed, server) = node_with_server(name);
    server.put_object(NODES, json!({"metadata": {"name": "n1"}, "spec": {"podCIDRs": [block]}}));
    NAMES.into_iter().for_each(|name| server.put_object(PODS, pod(name)));
    server.put_object(POLICIES, about_client("allowed", "ingress", &json!({})));
    bed.start();
    bed.expect_policies(&["allowed"]);
    let boxes = NAMES.map(Sandbox::new);
    let pods = boxes.each_ref().map(|sandbox| Host {
        namespace: sandbox.open(),
        addresses: run(&bed, "ADD", sandbox).expect().addresses(),
    });
    pods[0].serve("server");
    GuardedNode { bed, server, pods, _boxes: boxes }
}

/// Runs a damage to the stored objects while no agent runs. Expects that what was in force stays in force until the API server answers, and
/// that the agent knows it again then.
fn expect_recovery(name: &str, note: &str, damage: impl FnOnce(&Path)) {
    let guarded = guarded_node(name, "10.77.3.0/24");
    let GuardedNode { mut bed, server, pods: [server_host, client, stranger], _boxes } = guarded;
    let reached = || (client.reaches(&server_host, "/"), stranger.reaches(&server_host, "/"));
    assert_eq!(reached(), (Some(200), None));
    let mut kept = client.connect(&server_host).unwrap();
    // The objects are stored half a second after a change.
    thread::sleep(Duration::from_millis(1200));
    server.fault(Fault::Away);
    server.drop_streams();
    bed.kill();
    damage(&bed.path("run/cluster"));
    bed.spawn();
    assert!(eventually(|| bed.log().contains(note).then_some(())).is_some(), "{}", bed.log());
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(500));
        assert_eq!((reached(), kept.fetch("/")), ((Some(200), None), Some(200)), "no API server");
        assert_eq!(bed.exit_code(&["status"]), Some(1), "the agent has not started");
    }
    server.fault(Fault::None);
    let answers = eventually(|| api::Client::connect(&bed.socket()).ok());
    assert!(answers.is_some(), "{}", bed.log());
    assert_eq!(bed.policies(), ["allowed"], "from the first answer on");
    assert_eq!((reached(), kept.fetch("/")), ((Some(200), None), Some(200)));
    let notes = bed.status().notes;
    assert!(notes.iter().any(|one| one.contains(note)), "{notes:?}");
    let well = eventually(|| bed.status().problems.is_empty().then_some(()));
    assert!(well.is_some(), "{:?}", bed.status().problems);
    // What was read again is stored.
    thread::sleep(Duration::from_millis(1200));
    server.fault(Fault::Away);
    server.drop_streams();
    bed.kill();
    bed.start();
    assert_eq!((bed.policies(), reached()), (vec!["allowed".to_owned()], (Some(200), None)));
}

#[test]
#[ignore = "needs root"]
fn lost_objects_are_read_again_before_anything_changes() {
    expect_recovery("kf", "are lost", |directory| std::fs::remove_dir_all(directory).unwrap());
}

#[test]
#[ignore = "needs root"]
fn damaged_objects_are_read_again_before_anything_changes() {
    expect_recovery("kg", "is damaged", |directory| {
        let log = directory.join("files.log");
        let mut bytes = std::fs::read(&log).unwrap();
        bytes[50] ^= 1;
        std::fs::write(&log, bytes).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn pods_of_a_lost_state_file_stay_under_policy_until_they_end() {
    let guarded = guarded_node("kj", "10.77.6.0/24");
    let GuardedNode { mut bed, server: _server, pods: [server_host, client, stranger], _boxes } = guarded;
    let reached = || (client.reaches(&server_host, "/"), stranger.reaches(&server_host, "/"));
    assert_eq!(reached(), (Some(200), None));
    bed.kill();
    std::fs::remove_file(bed.path("run/state.log")).unwrap();
    bed.spawn();
    let reason = "state.log does not have the pods with the interfaces nx1, nx2, nx3";
    assert!(eventually(|| bed.log().contains(reason).then_some(())).is_some(), "{}", bed.log());
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(500));
        assert_eq!(reached(), (Some(200), None));
        assert_eq!(bed.exit_code(&["status"]), Some(1), "the agent has not started");
    }
    // Their sandboxes end.
    let mut node = NodeNamespace::of(NetworkNamespace::open(&bed.name).unwrap()).unwrap();
    ["nx1", "nx2", "nx3"].into_iter().for_each(|name| node.network().delete_link(name).unwrap());
    let answers = eventually(|| api::Client::connect(&bed.socket()).ok());
    assert!(answers.is_some(), "{}", bed.log());
    bed.expect_policies(&["allowed"]);
    let next = Sandbox::new("server");
    run(&bed, "ADD", &next).expect();
    assert_eq!(bed.status().problems, Vec::<String>::new());
}
