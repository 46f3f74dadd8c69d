//! That `nexin policy diff` never answers "none" where a connection can change verdict.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What `nexin policy diff OLD NEW` prints of two texts, and how it ends; `more` are further arguments.
fn diff(old: &str, new: &str, more: &[(&str, &str)]) -> (String, Option<i32>) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("nexin-diff-{}-{number}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let files = [("old.yaml", old), ("new.yaml", new)];
    files.iter().for_each(|(name, text)| fs::write(directory.join(name), text).unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexin"));
    command.args(["policy", "diff"]).current_dir(&directory).env("NEXIN_SOCKET", "/nonexistent/agent.sock");
    for (flag, text) in more {
        fs::write(directory.join("more.yaml"), text).unwrap();
        command.args([flag, "more.yaml"]);
    }
    let output = command.args(["old.yaml", "new.yaml"]).output().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (String::from_utf8(printed).unwrap(), output.status.code())
}

/// Expects a difference from these senders to these receivers, both ways round.
#[track_caller]
fn check(old: &str, new: &str, parts: &[&str]) {
    for (old, new) in [(old, new), (new, old)] {
        let (printed, code) = diff(old, new, &[]);
        assert_eq!(code, Some(1), "{printed}");
        let is_told = |part: &&&str| printed.lines().any(|line| line.contains(**part));
        assert!(parts.iter().all(|part| is_told(&part)), "{parts:?} in {printed}");
    }
}

/// A policy of Kubernetes about `app: s` in namespace x, with this list of peers.
fn ingress(peers: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: x}}, \
         spec: {{podSelector: {{matchLabels: {{app: s}}}}, policyTypes: [Ingress], ingress: [{{from: [{peers}]}}]}}}}"
    )
}

/// A policy of Cilium about `app: s` in namespace x.
fn cilium(name: &str, rules: &str) -> String {
    format!(
        "{{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {{name: {name}, namespace: x}}, \
         spec: {{endpointSelector: {{matchLabels: {{app: s}}}}, {rules}}}}}"
    )
}

fn pods(requirements: &str) -> String {
    format!("{{podSelector: {{matchExpressions: [{requirements}]}}}}")
}

#[test]
fn each_value_that_a_selector_names_is_asked_about() {
    let values = |operator: &str, values: &str| {
        ingress(&pods(&format!("{{key: r, operator: {operator}, values: [{values}]}}")))
    };
    check(&values("In", "a, b"), &values("In", "a"), &["x/r=b -> x/app=s"]);
    check(&values("NotIn", "a"), &values("NotIn", "a, b"), &["x/r=b -> x/app=s"]);
    check(&ingress(&pods("")), &ingress(&pods("{key: r, operator: DoesNotExist}")), &["x/r=any -> x/app=s"]);
    check(
        &ingress(&pods("")),
        &ingress(&pods("{key: r, operator: Exists}")),
        &["x/(no labels), x/app=s -> x/app=s"],
    );
    check(
        &values("In", "any, other"),
        &ingress(&pods("{key: r, operator: Exists}")),
        &["x/r=other1 -> x/app=s"],
    );
}

#[test]
fn clusters_and_service_accounts_have_names_where_nothing_is_said() {
    let from = |label: &str, value: &str| {
        cilium(
            "p",
            &format!(
                "ingress: [{{fromEndpoints: [{{matchLabels: {{io.cilium.k8s.policy.{label}: {value}}}}}]}}]"
            ),
        )
    };
    check(
        &from("serviceaccount", "default"),
        &from("serviceaccount", "reader"),
        &["serviceaccount=reader -> x/app=s"],
    );
    check(&from("cluster", "default"), &from("cluster", "prod"), &["cluster=prod"]);
    let all = cilium("p", "ingress: [{fromEndpoints: [{}]}]");
    check(&from("serviceaccount", "default"), &all, &["serviceaccount=any"]);
}

#[test]
fn labels_of_several_selectors_are_combined() {
    let denying = |rules: &str| {
        format!("{}\n---\n{}", cilium("open", "ingress: [{fromEndpoints: [{}]}]"), cilium("deny", rules))
    };
    let both = "ingressDeny: [{fromEndpoints: [{matchLabels: {a: '1', b: '2'}}]}]";
    check(&denying(both), &denying("ingressDeny: [{}]"), &["x/a=1,b=2"]);
}

#[test]
fn labels_of_namespaces_are_made_up_where_none_are_known_and_only_there() {
    let from =
        |expression: &str| ingress(&format!("{{namespaceSelector: {{matchExpressions: [{expression}]}}}}"));
    let (old, new) =
        (from("{key: t, operator: In, values: [a, b]}"), from("{key: t, operator: In, values: [a]}"));
    check(&old, &new, &["of t=b -> x/app=s"]);
    let namespace = |name: &str, team: &str| {
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{t: {team}}}}}}}")
    };
    // The namespace alone changes.
    let with = |team: &str| format!("{old}\n---\n{}", namespace("y", team));
    check(&with("b"), &with("c"), &["y/(no labels) -> x/app=s"]);
}

#[test]
fn names_that_only_one_pattern_matches_are_asked_about() {
    let to = |pattern: &str| cilium("p", &format!("egress: [{{toFQDNs: [{{matchPattern: '{pattern}'}}]}}]"));
    check(&to("*.example.org"), &to("**.example.org"), &["x.x.example.org (**.example.org)"]);
    check(&to("a*.example.org"), &to("*.example.org"), &["x.example.org (*.example.org)"]);
    check(&to("*.org"), &to("**.org"), &["x.x.org"]);
}

#[test]
fn a_name_is_asked_about_in_each_block() {
    let open = cilium("open", "egress: [{toCIDRSet: [{cidr: 0.0.0.0/0, except: [10.0.0.0/8]}]}]");
    let open6 = cilium("open6", "egress: [{toCIDR: ['::/0']}]");
    let name = |name: &str| {
        format!(
            "{open}\n---\n{open6}\n---\n{}",
            cilium("p", &format!("egress: [{{toFQDNs: [{{matchName: {name}}}]}}]"))
        )
    };
    check(&name("a.org"), &name("b.org"), &["a.org in 10.0.0.0/8", "b.org in 10.0.0.0/8"]);
}

#[test]
fn workloads_are_asked_about_at_addresses_of_blocks() {
    let world = cilium("world", "ingress: [{fromEntities: [world, host, remote-node]}]");
    let block =
        |block: &str| format!("{world}\n---\n{}", ingress(&format!("{{ipBlock: {{cidr: {block}}}}}")));
    check(&block("10.1.0.0/16"), &block("10.0.0.0/8"), &["at 10.0.0.0/8 -> x/app=s"]);
}

#[test]
fn one_port_may_have_several_names() {
    let rules = |deny: &str| {
        let allow = "ingress: [{fromEndpoints: [{}], toPorts: [{ports: [{port: http}]}]}]";
        format!("{}\n---\n{}", cilium("allow", allow), cilium("deny", &format!("ingressDeny: [{deny}]")))
    };
    let port = |port: &str| format!("{{fromEndpoints: [{{}}], toPorts: [{{ports: [{{port: '{port}'}}]}}]}}");
    check(&rules(&port("metrics")), &rules("{}"), &["-> x/app=s"]);
    check(&rules(&port("80")), &rules("{}"), &["80/TCP"]);
    check(
        &cilium(
            "p",
            "ingress: [{toPorts: [{ports: [{port: '80'}]}]}], ingressDeny: [{fromEndpoints: [{}], toPorts: [{ports: [{port: web}]}]}]",
        ),
        &cilium("p", "ingress: [{toPorts: [{ports: [{port: '80'}]}]}]"),
        &["80/TCP"],
    );
}

const OTHER_POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: s, namespace: x, labels: {app: s}}, \
    spec: {containers: [{name: c}]}}";

#[test]
fn beside_workloads_of_the_files_others_are_asked_about_before_the_answer_is_none() {
    let from = |labels: &str| ingress(&format!("{{podSelector: {{matchLabels: {{{labels}}}}}}}"));
    let with = |policy: &str| format!("{OTHER_POD}\n---\n{policy}");
    check(&with(&from("app: a")), &with(&from("app: b")), &["x/app=a"]);
    // Those that are given are all that are meant.
    let (printed, code) = diff(&from("app: a"), &from("app: b"), &[("--workloads", OTHER_POD)]);
    assert_eq!(
        (printed.as_str(), code),
        ("no connection changes verdict (1 workload, of the files)\n", Some(0))
    );
}

#[test]
fn nodes_are_made_up_for_each_combination_of_their_labels() {
    let about = |values: &str| {
        format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumClusterwideNetworkPolicy, metadata: {{name: p}}, spec: {{nodeSelector: \
             {{matchExpressions: [{{key: r, operator: In, values: [{values}]}}]}}, ingress: [{{fromEntities: [cluster]}}]}}}}"
        )
    };
    check(&about("a, b"), &about("a"), &["world -> node r=b"]);
    let from = |expression: &str| {
        cilium("p", &format!("ingress: [{{fromNodes: [{{matchExpressions: [{expression}]}}]}}]"))
    };
    check(
        &from("{key: r, operator: NotIn, values: [a]}"),
        &from("{key: r, operator: NotIn, values: [a, b]}"),
        &["node r=b"],
    );
}

#[test]
fn what_cannot_be_told_is_an_error_and_not_none() {
    let labels = |keys: usize| {
        let peer = |at: usize| format!("{{podSelector: {{matchLabels: {{k{at}: v}}}}}}");
        ingress(&(0..keys).map(peer).collect::<Vec<_>>().join(", "))
    };
    let (printed, code) = diff(&labels(13), &labels(14), &[]);
    assert_eq!(code, Some(2), "{printed}");
    assert!(
        printed.contains("have more than 4096 combinations") && printed.contains("--workloads"),
        "{printed}"
    );
    // Two that are the same are the same, however much they say.
    let (printed, code) = diff(&labels(14), &labels(14), &[]);
    assert_eq!(code, Some(0), "{printed}");
}

#[test]
fn other_words_for_the_same_are_no_difference() {
    let equal = |old: &str, new: &str| {
        let (printed, code) = diff(old, new, &[]);
        assert_eq!(code, Some(0), "{printed}");
    };
    let values = |operator: &str, values: &str| {
        ingress(&pods(&format!("{{key: r, operator: {operator}, values: [{values}]}}")))
    };
    let each = ingress(
        &["a", "b"].map(|value| format!("{{podSelector: {{matchLabels: {{r: {value}}}}}}}")).join(", "),
    );
    equal(&values("In", "a, b"), &each);
    let to = |patterns: &str| cilium("p", &format!("egress: [{{toFQDNs: [{patterns}]}}]"));
    equal(&to("{matchPattern: '*.a.org'}, {matchName: b.a.org}"), &to("{matchPattern: '*.a.org'}"));
}
