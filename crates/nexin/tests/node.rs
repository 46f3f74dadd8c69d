//! Tests of a whole node: agent, proxy, workloads and packet path, through restarts, crashes and invalid input.

#[path = "node/api_server.rs"]
mod api_server;
#[path = "node/attachment_faults.rs"]
mod attachment_faults;
#[path = "node/attachments.rs"]
mod attachments;
#[path = "node/bed.rs"]
mod bed;
#[path = "node/between_nodes.rs"]
mod between_nodes;
#[path = "node/cluster.rs"]
mod cluster;
#[path = "node/descriptors.rs"]
mod descriptors;
#[path = "node/endings.rs"]
mod endings;
#[path = "node/events.rs"]
mod events;
#[path = "../../kubernetes/tests/api_server/fake.rs"]
#[allow(dead_code, reason = "tests of watches use all of it")]
mod fake;
#[path = "node/families.rs"]
mod families;
#[path = "node/files.rs"]
mod files;
#[path = "node/flood.rs"]
mod flood;
#[path = "node/full_maps.rs"]
mod full_maps;
#[path = "node/health.rs"]
mod health;
#[path = "node/host_ports.rs"]
mod host_ports;
#[path = "node/leftovers.rs"]
mod leftovers;
#[path = "node/lifecycle.rs"]
mod lifecycle;
#[path = "node/many.rs"]
mod many;
#[path = "node/masquerade.rs"]
mod masquerade;
#[path = "node/neighbours.rs"]
mod neighbours;
#[path = "node/node_ports.rs"]
mod node_ports;
#[path = "node/privileges.rs"]
mod privileges;
#[path = "node/rule_sets.rs"]
mod rule_sets;
#[path = "node/runtime.rs"]
mod runtime;
#[path = "node/services.rs"]
mod services;
#[path = "node/storage.rs"]
mod storage;
#[path = "node/threads.rs"]
mod threads;

use api::view::Explanation;
use api::{ApiRequest, ExplainProbe, HttpProbe};
use bed::{Bed, eventually, requests_to_server};

/// Only `client` may connect to `server`, on port 80.
const CONNECTIONS: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: connections}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: 80}]
"#;

/// Only `client` may connect to `server`, and only GET /public.
const REQUESTS: &str = requests_to_server!(
    "requests",
    "fromEndpoints: [{matchLabels: {app: client}}]",
    "{method: GET, path: /public}"
);

#[test]
#[ignore = "needs root"]
fn without_an_agent_traffic_continues_under_the_same_policy() {
    let mut bed = Bed::new("a");
    let (server, client, other) = (bed.workload("server"), bed.workload("client"), bed.workload("other"));
    bed.apply(CONNECTIONS);
    let mut open = client.connect(&server).unwrap();
    assert_eq!(open.fetch("/"), Some(200));
    bed.kill();
    for _ in 0..2 {
        assert_eq!(open.fetch("/"), Some(200), "a connection from before");
        assert_eq!(client.fetch(&server, "/"), Some(200), "a new connection");
        assert_eq!(other.fetch(&server, "/"), None, "what policy closes stays closed");
        if bed.try_start() {
            let status = bed.status();
            assert_eq!((status.endpoints, status.policies), (3, 1), "{status:?}");
        }
    }
    bed.delete("NetworkPolicy/default/connections");
    assert_eq!(other.fetch(&server, "/"), Some(200));
}

#[test]
#[ignore = "needs root"]
fn a_killed_proxy_allows_nothing_and_is_restarted() {
    let mut bed = Bed::new("b");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    assert_eq!(client.fetch(&server, "/public"), Some(200));
    assert_eq!(client.fetch(&server, "/private"), Some(403));
    let proxy = bed.status().proxy.unwrap();
    bed.kill();
    assert_eq!(client.fetch(&server, "/private"), Some(403), "the proxy needs no agent");
    end(proxy);
    assert_eq!(client.fetch(&server, "/public"), None);
    assert_eq!(client.fetch(&server, "/private"), None);
    assert_eq!(server.fetch(&client, "/"), Some(200), "traffic without HTTP rules continues");
    bed.start();
    assert_eq!(eventually(|| client.fetch(&server, "/public")), Some(200));
    assert_eq!(client.fetch(&server, "/private"), Some(403));
    end(bed.status().proxy.unwrap());
    assert_eq!(eventually(|| client.fetch(&server, "/public")), Some(200), "the agent starts it again");
}

#[test]
#[ignore = "needs root"]
fn neither_a_broken_file_nor_a_restart_changes_policy() {
    let mut bed = Bed::new("c");
    let (server, other) = (bed.workload("server"), bed.workload("other"));
    bed.write_policy("a.yaml", CONNECTIONS);
    assert!(eventually(|| (bed.status().policies == 1).then_some(())).is_some());
    assert_eq!(other.fetch(&server, "/"), None);
    bed.write_policy("a.yaml", &CONNECTIONS.replace("ingress:", "ingres:"));
    let problem = eventually(|| bed.status().problems.first().cloned()).unwrap();
    assert!(problem.contains("a.yaml:7:3") && problem.contains("`ingres`"), "{problem}");
    assert_eq!(other.fetch(&server, "/"), None);
    bed.kill();
    bed.start();
    assert_eq!(bed.status().policies, 1);
    assert_eq!(other.fetch(&server, "/"), None);
    bed.write_policy("a.yaml", &CONNECTIONS.replace("app: client", "app: other"));
    assert_eq!(eventually(|| other.fetch(&server, "/")), Some(200));
    assert_eq!(bed.status().problems, Vec::<String>::new());
}

#[test]
#[ignore = "needs root"]
fn a_refused_apply_changes_nothing() {
    let bed = Bed::new("i");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.write_policy("a.yaml", &CONNECTIONS.replace("app: server", "app: none"));
    assert!(eventually(|| (bed.status().policies == 1).then_some(())).is_some());
    let refusal = bed.try_apply(&format!("{REQUESTS}---{CONNECTIONS}")).unwrap_err().to_string();
    assert!(refusal.contains("NetworkPolicy/default/connections is described in"), "{refusal}");
    assert_eq!((bed.status().policies, client.fetch(&server, "/private")), (1, Some(200)));
    bed.apply(REQUESTS);
    assert_eq!((bed.status().policies, client.fetch(&server, "/private")), (2, Some(403)));
}

#[test]
#[ignore = "needs root"]
fn apply_reports_what_it_changed() {
    let bed = Bed::new("pr");
    let apply = |manifest: &str, expected: &str| {
        let file = bed.path("applied.yaml");
        std::fs::write(&file, manifest).unwrap();
        let output = bed.says(&["policy", "apply", "-f", file.to_str().unwrap()]);
        assert_eq!(output, (Some(0), format!("NetworkPolicy/default/connections {expected}\n")));
    };
    apply(CONNECTIONS, "created");
    apply(CONNECTIONS, "unchanged");
    apply(&CONNECTIONS.replace("app: server", "app: none"), "configured");
    let output = bed.says(&["policy", "delete", "NetworkPolicy/default/connections"]);
    assert_eq!(output, (Some(0), "NetworkPolicy/default/connections deleted\n".to_owned()));
    apply(CONNECTIONS, "created");
    let others = "---\nkind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n\
                  ---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b, annotations: null}\n";
    let file = bed.path("applied.yaml");
    std::fs::write(&file, format!("{CONNECTIONS}{others}")).unwrap();
    let (code, said) = bed.says(&["policy", "apply", "-f", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "NetworkPolicy/default/connections unchanged\nNamespace/b created\n",
        ": warning: metadata.annotations: has no value; it is treated as absent\n1 object of another kind skipped\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_change_of_policy_applies_to_open_connections() {
    let bed = Bed::new("d");
    let (server, client, other) = (bed.workload("server"), bed.workload("client"), bed.workload("other"));
    let (mut allowed, mut refused) = (client.connect(&server).unwrap(), other.connect(&server).unwrap());
    assert_eq!((allowed.fetch("/"), refused.fetch("/")), (Some(200), Some(200)));
    bed.apply(CONNECTIONS);
    assert_eq!(allowed.fetch("/"), Some(200));
    assert_eq!(refused.fetch("/"), None);
    assert_eq!(bed.node().fetch(&server, "/"), Some(200), "a node may always connect to its own workloads");
}

#[test]
#[ignore = "needs root"]
fn a_change_of_http_rules_applies_to_open_connections() {
    let bed = Bed::new("e");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    let mut open = client.connect(&server).unwrap();
    assert_eq!((open.fetch("/public"), open.fetch("/private")), (Some(200), Some(403)));
    bed.apply(&REQUESTS.replace("/public", "/private"));
    assert_eq!((open.fetch("/public"), open.fetch("/private")), (Some(403), Some(200)));
    bed.delete("CiliumNetworkPolicy/default/requests");
    assert_eq!((open.fetch("/public"), open.fetch("/private")), (Some(200), Some(200)));
}

/// `client` may send any request, but only to `server`.
const ANY_REQUEST: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: any-request}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toEndpoints: [{matchLabels: {app: server}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{}]}
"#;

#[test]
#[ignore = "needs root"]
fn requests_must_be_allowed_at_both_ends() {
    let bed = Bed::new("g");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(ANY_REQUEST);
    assert_eq!(client.fetch(&server, "/private"), Some(200));
    bed.apply(REQUESTS);
    let mut open = client.connect(&server).unwrap();
    for _ in 0..2 {
        assert_eq!((open.fetch("/public"), open.fetch("/private")), (Some(200), Some(403)));
    }
    bed.apply(&REQUESTS.replace("/public", "/private"));
    assert_eq!((open.fetch("/public"), open.fetch("/private")), (Some(403), Some(200)));
    bed.apply(&ANY_REQUEST.replace("app: server", "app: none"));
    assert_eq!(open.fetch("/private"), None);
}

#[test]
#[ignore = "needs root"]
fn the_number_of_a_rule_set_is_not_reused_after_a_restart() {
    let mut bed = Bed::new("h");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(&REQUESTS.replace("path: /public", "path: /.*"));
    assert_eq!(client.fetch(&server, "/private"), Some(200));
    bed.delete("CiliumNetworkPolicy/default/requests");
    // The set's file is removed a moment after its map entries.
    std::thread::sleep(std::time::Duration::from_millis(100));
    bed.kill();
    bed.start();
    bed.apply(REQUESTS);
    assert_eq!((client.fetch(&server, "/public"), client.fetch(&server, "/private")), (Some(200), Some(403)));
}

#[test]
#[ignore = "needs root"]
fn a_service_reaches_its_backends_in_both_families() {
    let bed = Bed::new("f");
    let (_server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  selector: {app: server}\n  ports: [{port: 8080, targetPort: 80}]\n",
    );
    for address in ["10.96.0.1:8080", "[fd00:10:96::1]:8080"] {
        let mut connection = client.connect_to(address.parse().unwrap()).expect(address);
        assert_eq!(connection.fetch("/"), Some(200), "{address}");
    }
    bed.apply(REQUESTS);
    for address in ["10.96.0.1:8080", "[fd00:10:96::1]:8080"] {
        let mut connection = client.connect_to(address.parse().unwrap()).expect(address);
        assert_eq!(
            (connection.fetch("/public"), connection.fetch("/x")),
            (Some(200), Some(403)),
            "{address}"
        );
        assert_eq!(explained(&bed, address, "/public"), "allow", "{address}");
        assert_eq!(explained(&bed, address, "/x"), "deny", "{address}");
    }
}

/// The verdict that the agent explains for a request of the client.
fn explained(bed: &Bed, to: &str, path: &str) -> String {
    let to: std::net::SocketAddr = to.parse().unwrap();
    let http = HttpProbe { method: "GET".into(), path: path.into(), ..HttpProbe::default() };
    let explanation: Explanation = bed.ask(ApiRequest::Explain(Box::new(ExplainProbe {
        from: "client".into(),
        to: to.ip().to_string(),
        port: to.port(),
        port_name: None,
        protocol: "TCP".into(),
        family: None,
        http: Some(http),
    })));
    explanation.verdict
}

/// Only `client` may connect to the node itself, on port 80.
const NODE: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: node}
spec:
  nodeSelector: {}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client, "k8s:io.kubernetes.pod.namespace": default}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
"#;

/// Any workload may send the node requests for /public.
const REQUESTS_TO_NODE: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: requests-to-node}
spec:
  endpointSelector: {}
  egress:
  - toEntities: [host]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: GET, path: /public}]}
"#;

#[test]
#[ignore = "needs root"]
fn a_policy_of_the_node_applies_at_all_its_interfaces_and_only_to_its_own_traffic() {
    let bed = Bed::new("k");
    let (server, client, other) = (bed.workload("server"), bed.workload("client"), bed.workload("other"));
    let (node, outside) = (bed.node(), bed.outside());
    node.serve("node");
    for host in [&client, &other, &outside] {
        assert_eq!(host.reaches(&node, "/"), Some(200));
    }
    bed.apply(NODE);
    assert_eq!(client.reaches(&node, "/"), Some(200));
    assert_eq!((other.fetch(&node, "/"), outside.fetch(&node, "/")), (None, None));
    assert_eq!((outside.reaches(&server, "/"), node.reaches(&server, "/")), (Some(200), Some(200)));
    bed.apply(REQUESTS_TO_NODE);
    assert_eq!(client.reaches(&node, "/private"), Some(403), "the proxy's response, from the node's address");
    assert_eq!(
        other.fetch(&node, "/private"),
        None,
        "a redirect to the proxy does not bypass the node's policy"
    );
    bed.delete("CiliumNetworkPolicy/default/requests-to-node");
    bed.delete("CiliumClusterwideNetworkPolicy/node");
    assert_eq!((other.reaches(&node, "/"), outside.reaches(&node, "/")), (Some(200), Some(200)));
}

/// Kills a process of this test's node.
fn end(process: u32) {
    let process = rustix::process::Pid::from_raw(process as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_workload_gets_no_address_that_is_in_use_or_outside_the_nodes_blocks() {
    let bed = Bed::new("l");
    let first = bed.try_workload_at("first", &["10.244.9.9".parse().unwrap()]).unwrap();
    bed.apply("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports: [{port: 80}]\n");
    let check = |address: &str, expected: &str| {
        let refusal = bed.try_workload_at("other", &[address.parse().unwrap()]).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{address}: {refusal}");
    };
    check("10.244.9.9", "is the address of workload default/first");
    check(&first.addresses[1].to_string(), "is the address of workload default/first");
    check("10.244.0.1", "is the address of the node itself");
    check("10.96.0.1", "services' block 10.96.0.0/16; give one of 10.244.0.0/16 or fd00:10:244::/64");
    check("8.8.8.8", "give one of 10.244.0.0/16");
    check("0.0.0.0", "give one of 10.244.0.0/16");
    check("::ffff:10.244.0.7", "give 10.244.0.7");
    assert_eq!(bed.endpoints().len(), 1);
}
