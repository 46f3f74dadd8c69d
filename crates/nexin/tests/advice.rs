//! Tests that `policy explain` and `policy diff` agree with the packet path: nodes, services, connections to oneself,
//! named ports, blocks.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The files of a test, in a directory that is removed with this value.
struct Files(PathBuf);

impl Files {
    fn new(test: &str, files: &[(&str, &str)]) -> Self {
        let directory = std::env::temp_dir().join(format!("nexin-advice-{}-{test}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        files.iter().for_each(|(name, text)| fs::write(directory.join(name), text).unwrap());
        Self(directory)
    }

    /// The output of `nexin policy` in this directory, with errors, and the exit code.
    fn policy(&self, words: &str) -> (String, Option<i32>) {
        let output = Command::new(env!("CARGO_BIN_EXE_nexin"))
            .arg("policy")
            .args(words.split(' ').map(|word| word.replace('_', " ")))
            .env("NEXIN_SOCKET", "/nonexistent/agent.sock")
            .current_dir(&self.0)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (String::from_utf8(said).unwrap(), output.status.code())
    }

    /// Expects that the output starts with a verdict and contains some parts; `_` in the arguments stands for a
    /// space.
    #[track_caller]
    fn explain(&self, words: &str, verdict: &str, parts: &[&str]) {
        let (said, code) = self.policy(&format!("explain {words}"));
        assert_eq!(code, Some(0), "{words}: {said}");
        assert_eq!(said.lines().next(), Some(verdict), "{words}: {said}");
        parts.iter().for_each(|part| assert!(said.contains(part), "{words}: no {part:?} in {said}"));
    }

    /// Expects these lines of differences; the lines of rules and the summary are ignored.
    #[track_caller]
    fn diff(&self, words: &str, expected: &[&str]) {
        let (said, code) = self.policy(&format!("diff {words}"));
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(" -> ")).collect();
        assert_eq!(lines, expected, "{words}: {said}");
        assert_eq!(code, Some(i32::from(!expected.is_empty())), "{words}: {said}");
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NOTHING: &str = "";

const HOST_POLICY: &str = "
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: hp}
spec:
  nodeSelector: {matchLabels: {role: w}}
  ingress:
  - toPorts: [{ports: [{port: '22', protocol: TCP}]}]
";

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {role: w}}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
";

#[test]
fn a_node_that_a_host_policy_selects_is_its_subject() {
    let files = Files::new("node", &[("hp.yaml", HOST_POLICY), ("node.yaml", NODE)]);
    for to in ["n1", "192.0.2.1", "host"] {
        let ask = |port| format!("-f node.yaml -f hp.yaml --from 198.51.100.1 --to {to} --port {port}");
        files.explain(
            &ask(23),
            "drop",
            &["ingress of n1: drop: no rule allows it", "~ ", "port 23/TCP, rule has 22/TCP"],
        );
        files.explain(&ask(22), "allow", &["allows it"]);
    }
    let near =
        "n1: no policy selects it; nearest: CiliumClusterwideNetworkPolicy/hp: node has role=x, needs role=w";
    fs::write(files.0.join("node.yaml"), NODE.replace("role: w", "role: x")).unwrap();
    files.explain("-f node.yaml -f hp.yaml --from 198.51.100.1 --to n1 --port 23", "allow", &[near]);
}

#[test]
fn a_new_host_policy_changes_connections_to_the_nodes_it_selects() {
    let files = Files::new("hosts", &[("hp.yaml", HOST_POLICY), ("node.yaml", NODE), ("no.yaml", NOTHING)]);
    files.diff(
        "no.yaml hp.yaml",
        &["default/(no labels), host, node role=w and 2 more -> node role=w: anything but 22/TCP: allow -> drop"],
    );
    files.diff(
        "--workloads node.yaml no.yaml hp.yaml",
        &["default/(no labels), other nodes, world -> n1: anything but 22/TCP: allow -> drop"],
    );
}

#[test]
fn equal_changes_are_printed_once() {
    let second = NODE.replace("n1", "n2").replace("192.0.2.1", "192.0.2.2");
    let files = Files::new(
        "once",
        &[("hp.yaml", HOST_POLICY), ("nodes.yaml", &format!("{NODE}---{second}")), ("no.yaml", NOTHING)],
    );
    files.diff(
        "--workloads nodes.yaml no.yaml hp.yaml",
        &["default/(no labels), n1, n2 and 2 more -> n1, n2: anything but 22/TCP: allow -> drop"],
    );
}

const CAST: &str = "
apiVersion: v1
kind: Pod
metadata: {name: app1, labels: {id: app1}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: app2, labels: {id: app2}}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: app3, labels: {id: app3}}
spec: {containers: [{name: c}]}
";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {id: app1}, clusterIP: 10.96.0.1, ports: [{port: 8080, targetPort: http}]}
";

/// The policy of the tutorial: app2 may connect to app1, and only with GET /public.
const TUTORIAL: &str = include_str!("../../../examples/tutorial/rule1.yaml");
/// Its rules for requests.
const RULES: &str = "
        - method: \"GET\"
          path: \"/public\"";

const TO_SERVICE: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: out}
spec:
  endpointSelector: {matchLabels: {id: app2}}
  egress:
  - toServices: [{k8sService: {serviceName: web, namespace: default}}]
";

#[test]
fn explain_translates_a_service_address() {
    let files = Files::new(
        "service",
        &[("cast.yaml", CAST), ("web.yaml", SERVICE), ("rule.yaml", TUTORIAL), ("out.yaml", TO_SERVICE)],
    );
    let translated = "10.96.0.1:8080 is service default/web with backends default/app1:80";
    let all = "-f cast.yaml -f web.yaml -f rule.yaml -f out.yaml";
    let ask = |from, more| format!("{all} --from {from} --to 10.96.0.1 --port 8080{more}");
    files.explain(
        &ask("app2", " --http GET_/private"),
        "deny",
        &[translated, "ingress of default/app1: deny"],
    );
    files.explain(
        &ask("app2", " --http GET_/public"),
        "allow",
        &[translated, "egress of default/app2: allow: CiliumNetworkPolicy/default/out spec.egress[0]"],
    );
    files.explain(&ask("app3", ""), "drop", &[translated, "ingress of default/app1: drop"]);
    files.explain(
        &format!("{all} --from app2 --to web --port 8080 --http GET_/private"),
        "deny",
        &["default/web:8080 is a service with backends default/app1:80"],
    );
    files.explain(&ask("198.51.100.1", ""), "allow", &["only packets of workloads are translated"]);
    files.explain(
        &format!("{all} --from app3 --to 10.96.0.1 --port 81"),
        "allow",
        &["10.96.0.1 is service default/web, which has 8080/TCP: 81/TCP is not translated"],
    );
    let (said, code) = files.policy(&format!("explain {all} --from app2 --to web --port 81"));
    assert_eq!(
        (said.as_str(), code),
        ("error: service default/web has no 81/TCP; it has 8080/TCP\n", Some(2))
    );
    fs::write(files.0.join("web.yaml"), SERVICE.replace("id: app1", "id: none")).unwrap();
    files.explain(&ask("app3", ""), "drop", &["it has no backend: no workload matches its selector"]);
}

#[test]
fn each_backend_is_listed_if_their_verdicts_differ() {
    let wide = SERVICE
        .replace("selector: {id: app1}", "selector: {tier: web}")
        .replace("targetPort: http", "targetPort: 80");
    let cast = CAST.replace("id: app1", "id: app1, tier: web").replace("id: app3", "id: app3, tier: web");
    let files = Files::new("backends", &[("cast.yaml", &cast), ("web.yaml", &wide), ("rule.yaml", TUTORIAL)]);
    files.explain(
        "-f cast.yaml -f web.yaml -f rule.yaml --from app2 --to web --port 8080 --http GET_/private",
        "deny for some backends",
        &[
            "with backends default/app1:80 and default/app3:80",
            "  to default/app1:80: deny\n",
            "  to default/app3:80: allow\n",
        ],
    );
}

const TEST: &str = "
apiVersion: nexin.io/v1alpha1
kind: PolicyTest
metadata: {name: one}
spec:
  workloads: [{name: app1, labels: {id: app1}}, {name: app2, labels: {id: app2}}]
  policies: []
  probes: []
";

#[test]
fn policies_of_manifests_take_precedence_over_policies_of_tests() {
    let other = TEST.replace("name: one", "name: other").replace("id: app2", "id: app2, more: x");
    let ask = "--from app2 --to app1 --port 80 --http GET_/private";
    for names in [["a.test.yaml", "b.yaml"], ["b.test.yaml", "a.yaml"]] {
        let mut deny = TEST.replace("policies: []", "policyFiles: [deny.txt]");
        let files =
            Files::new(names[0], &[(names[0], &deny), (names[1], TUTORIAL), ("deny.txt", &deny_all())]);
        files.explain(
            &format!("-f . {ask}"),
            "deny",
            &["CiliumNetworkPolicy/default/rule1", "only their workloads, nodes and hosts are used"],
        );
        // Without policies in manifests, the policies of a single test are used; policies of two tests are an error.
        fs::remove_file(files.0.join(names[1])).unwrap();
        files.explain(&format!("-f . {ask}"), "drop", &["ingress of default/app1: drop: no rule allows it"]);
        deny = deny.replace("name: one", "name: two");
        fs::write(files.0.join("z.test.yaml"), &deny).unwrap();
        let (said, code) = files.policy(&format!("explain -f . {ask}"));
        assert!(said.contains("each have policies of their own"), "{said}");
        assert_eq!(code, Some(2));
    }
    let files =
        Files::new("casts", &[("a.test.yaml", TEST), ("b.test.yaml", &other), ("rule.yaml", TUTORIAL)]);
    let (said, code) = files.policy(&format!("explain -f . {ask}"));
    assert!(said.contains("describes workload default/app2 differently"), "{said}");
    assert_eq!(code, Some(2));
}

fn deny_all() -> String {
    "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: rule1}
spec: {podSelector: {}, policyTypes: [Ingress]}
"
    .to_owned()
}

#[test]
fn a_workload_may_always_connect_to_itself() {
    let files = Files::new("self", &[("cast.yaml", CAST), ("deny.yaml", &deny_all()), ("no.yaml", NOTHING)]);
    files.explain(
        "-f cast.yaml -f deny.yaml --from app1 --to app1 --port 80",
        "allow",
        &["default/app1 connects to itself: the connection does not leave it"],
    );
    let only = "
apiVersion: v1
kind: Pod
metadata: {name: app1}
";
    fs::write(files.0.join("one.yaml"), only.to_owned() + "spec: {containers: [{name: c}]}").unwrap();
    let (said, _) = files.policy("diff --workloads one.yaml no.yaml deny.yaml");
    assert!(!said.contains("default/app1 -> default/app1") && !said.contains("default/app1, "), "{said}");
    // Several pods of one controller are distinct ends.
    let several = only
        .replace("kind: Pod", "kind: Deployment")
        .replace("apiVersion: v1", "apiVersion: apps/v1")
        + "spec: {replicas: 2, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c}]}}}";
    fs::write(files.0.join("one.yaml"), several).unwrap();
    files.explain("-f one.yaml -f deny.yaml --from app1 --to app1 --port 80", "drop", &[]);
}

#[test]
fn generated_workloads_have_the_named_ports_of_rules() {
    let old = TUTORIAL.split("  - fromEndpoints").next().unwrap().to_owned() + "  - {}\n";
    let new = TUTORIAL.replace("\"80\"", "http");
    let new = new.split("      rules:").next().unwrap().to_owned();
    let files = Files::new("named", &[("old.yaml", &old), ("new.yaml", &new)]);
    files.diff("old.yaml new.yaml", &["default/id=app2 -> default/id=app1: http/TCP: drop -> allow"]);
}

#[test]
fn a_workload_is_generated_in_the_namespace_that_a_label_names() {
    let policy = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]
";
    let closed = policy.replace("name: shop", "name: elsewhere");
    let files = Files::new("namespace", &[("old.yaml", policy), ("new.yaml", &closed)]);
    let expected = [
        "elsewhere/(no labels) -> default/app=web: anything: drop -> allow",
        "shop/(no labels) -> default/app=web: anything: allow -> drop",
    ];
    files.diff("old.yaml new.yaml", &expected);
}

#[test]
fn equivalent_http_rules_are_no_difference() {
    let rules = |rules: &str| TUTORIAL.replace(RULES, &format!(" {rules}"));
    let check = |name: &str, old: &str, new: &str, is_same: bool| {
        let files = Files::new(name, &[("old.yaml", &rules(old)), ("new.yaml", &rules(new))]);
        let (said, code) = files.policy("diff old.yaml new.yaml");
        assert_eq!(code, Some(i32::from(!is_same)), "{old} {new}: {said}");
    };
    check("methods", "[{method: GET|POST}]", "[{method: POST}, {method: GET}]", true);
    check("paths", "[{method: GET}]", "[{method: GET}, {method: GET, path: /a}]", true);
    check("class", "[{path: /public}]", "[{path: '/publi[c]'}]", true);
    check("prefix", "[{path: /public}]", "[{path: '/public.*'}]", false);
    check("header", "[{path: /public}]", "[{path: /public, headers: ['X-T: 1']}]", false);
}

#[test]
fn a_difference_names_the_block_that_changes() {
    let policy = |except: &str| {
        TO_SERVICE.replace(
            "toServices: [{k8sService: {serviceName: web, namespace: default}}]",
            &format!("toCIDRSet: [{{cidr: 10.0.0.0/8, except: [{except}]}}]"),
        )
    };
    let files =
        Files::new("blocks", &[("old.yaml", &policy("10.96.0.0/12")), ("new.yaml", &policy("10.96.0.0/13"))]);
    files.diff(
        "old.yaml new.yaml",
        &["default/id=app2 -> 10.96.0.0/12 except 10.96.0.0/13: anything: drop -> allow"],
    );
}

#[test]
fn explain_lists_the_allowed_requests() {
    let files = Files::new("requests", &[("cast.yaml", CAST), ("rule.yaml", TUTORIAL)]);
    files.explain(
        "-f cast.yaml -f rule.yaml --from app2 --to app1 --port 80",
        "allow, only GET /public",
        &["ingress of default/app1: allow, only GET /public: CiliumNetworkPolicy/default/rule1 spec.ingress[0]"],
    );
}

#[test]
fn explain_reports_what_audit_mode_allows() {
    let test = TEST.replace("policies: []", "policyAuditMode: true\n  policyFiles: [deny.txt]");
    let files = Files::new("audit", &[("a.test.yaml", &test), ("deny.txt", &deny_all())]);
    files.explain(
        "-f a.test.yaml --from app2 --to app1 --port 80",
        "allow",
        &["forwarded and reported, since audit mode is on; without it drop: no rule allows it"],
    );
}

#[test]
fn explain_accepts_every_peer_that_policies_can_name() {
    let egress = |peers: &str| {
        TO_SERVICE.replace("toServices: [{k8sService: {serviceName: web, namespace: default}}]", peers)
    };
    let names = egress("toFQDNs: [{matchPattern: '*.example.com'}]\n  - toEntities: [kube-apiserver]");
    let files = Files::new("names", &[("cast.yaml", CAST), ("rule.yaml", TUTORIAL), ("out.yaml", &names)]);
    let ask =
        |to: &str, port| format!("-f cast.yaml -f rule.yaml -f out.yaml --from app2 --to {to} --port {port}");
    files.explain(&ask("www.example.com", "443"), "allow", &["spec.egress[0]"]);
    files.explain(
        &ask("www.example.org", "443"),
        "drop",
        &["peer is www.example.org, needs domain *.example.com"],
    );
    files.explain(&ask("kube-apiserver", "443"), "allow", &["spec.egress[1]"]);
    files.explain(&ask("remote-node", "443"), "drop", &["needs entity kube-apiserver"]);
    files.explain(&ask("app1", "http"), "drop", &["port http of default/app1 is 80/TCP"]);
    let (said, code) = files.policy(&format!("explain {}", ask("app3", "http")));
    assert!(said.contains("default/app3 has no TCP port called \"http\""), "{said}");
    assert_eq!(code, Some(2));
    let (said, _) = files.policy("explain -f cast.yaml --from app2 --to other/app3 --port 1");
    assert!(said.contains("no workload other/app3 in these files; there is default/app3;"), "{said}");
}

#[test]
fn the_nearest_rule_is_one_that_names_the_peer() {
    let policy = TUTORIAL.split("  - fromEndpoints").next().unwrap().to_owned()
        + "  - icmps: [{fields: [{family: IPv4, type: 8}]}]\n  - fromCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.7/32]}]\n";
    let files = Files::new("nearest", &[("cast.yaml", CAST), ("rule.yaml", &policy)]);
    files.explain(
        "-f cast.yaml -f rule.yaml --from 203.0.113.7 --to app1 --port 80",
        "drop",
        &[
            "- CiliumNetworkPolicy/default/rule1 spec.ingress[0]",
            "~ CiliumNetworkPolicy/default/rule1 spec.ingress[1]",
        ],
    );
}

#[test]
fn a_policy_that_nearly_selects_the_subject_is_mentioned() {
    let files = Files::new(
        "misses",
        &[("cast.yaml", CAST), ("rule.yaml", &TUTORIAL.replace("id: app1", "id: app1x"))],
    );
    files.explain(
        "-f cast.yaml -f rule.yaml --from app3 --to app1 --port 80",
        "allow",
        &["no policy selects it; nearest: CiliumNetworkPolicy/default/rule1: subject has id=app1, needs id=app1x"],
    );
}

#[test]
fn flows_in_hubbles_envelope_are_accepted() {
    let files = Files::new("flows", &[("deny.yaml", &deny_all()), ("no.yaml", NOTHING)]);
    let flow = include_str!("policy/flows.json").lines().next().unwrap();
    fs::write(files.0.join("flows.json"), format!("{{\"flow\":{flow},\"node_name\":\"n1\"}}\n")).unwrap();
    let (said, code) = files.policy("diff --flows flows.json no.yaml no.yaml");
    assert_eq!(
        (said.as_str(), code),
        ("no connection changes verdict (1 flow, 1 distinct connection)\n", Some(0))
    );
}
