//! Tests that `nexin policy diff` finds every connection whose verdict can change.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The output of `nexin policy diff OLD NEW` for two texts, and the exit code; `more` are further arguments.
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

/// Expects a difference from these sources to these destinations, in both directions of the comparison.
#[track_caller]
fn check(old: &str, new: &str, parts: &[&str]) {
    for (old, new) in [(old, new), (new, old)] {
        let (printed, code) = diff(old, new, &[]);
        assert_eq!(code, Some(1), "{printed}");
        let is_told = |part: &&&str| printed.lines().any(|line| line.contains(**part));
        assert!(parts.iter().all(|part| is_told(&part)), "{parts:?} in {printed}");
    }
}

/// A NetworkPolicy that selects `app: s` in namespace x, with this list of peers.
fn ingress(peers: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: x}}, \
         spec: {{podSelector: {{matchLabels: {{app: s}}}}, policyTypes: [Ingress], ingress: [{{from: [{peers}]}}]}}}}"
    )
}

/// A CiliumNetworkPolicy that selects `app: s` in namespace x.
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
fn each_value_that_a_selector_names_is_compared() {
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
fn clusters_and_service_accounts_have_default_names() {
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
fn labels_of_namespaces_are_generated_only_if_none_are_known() {
    let from =
        |expression: &str| ingress(&format!("{{namespaceSelector: {{matchExpressions: [{expression}]}}}}"));
    let (old, new) =
        (from("{key: t, operator: In, values: [a, b]}"), from("{key: t, operator: In, values: [a]}"));
    check(&old, &new, &["of t=b -> x/app=s"]);
    let namespace = |name: &str, team: &str| {
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{t: {team}}}}}}}")
    };
    // Only the namespace changes.
    let with = |team: &str| format!("{old}\n---\n{}", namespace("y", team));
    check(&with("b"), &with("c"), &["y/(no labels) -> x/app=s"]);
}

#[test]
fn domain_names_that_only_one_pattern_matches_are_compared() {
    let to = |pattern: &str| cilium("p", &format!("egress: [{{toFQDNs: [{{matchPattern: '{pattern}'}}]}}]"));
    check(&to("*.example.org"), &to("**.example.org"), &["x.x.example.org (**.example.org)"]);
    check(&to("a*.example.org"), &to("*.example.org"), &["x.example.org (*.example.org)"]);
    check(&to("*.org"), &to("**.org"), &["x.x.org"]);
}

#[test]
fn a_domain_name_is_compared_in_each_block() {
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
fn workloads_are_compared_at_addresses_of_blocks() {
    let world = cilium("world", "ingress: [{fromEntities: [world, host, remote-node]}]");
    let block =
        |block: &str| format!("{world}\n---\n{}", ingress(&format!("{{ipBlock: {{cidr: {block}}}}}")));
    check(&block("10.1.0.0/16"), &block("10.0.0.0/8"), &["at 10.0.0.0/8 -> x/app=s"]);
}

#[test]
fn a_port_may_have_several_names() {
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
fn beside_workloads_of_the_files_generated_ones_are_compared_before_the_answer_is_none() {
    let from = |labels: &str| ingress(&format!("{{podSelector: {{matchLabels: {{{labels}}}}}}}"));
    let with = |policy: &str| format!("{OTHER_POD}\n---\n{policy}");
    check(&with(&from("app: a")), &with(&from("app: b")), &["x/app=a"]);
    // With --workloads only the given workloads are compared.
    let (printed, code) = diff(&from("app: a"), &from("app: b"), &[("--workloads", OTHER_POD)]);
    assert_eq!(
        (printed.as_str(), code),
        ("no connection changes verdict (1 workload, of the files)\n", Some(0))
    );
}

#[test]
fn nodes_are_generated_for_each_combination_of_their_labels() {
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
fn too_many_combinations_are_an_error() {
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
    // Equal policies have no difference, however many combinations they have.
    let (printed, code) = diff(&labels(14), &labels(14), &[]);
    assert_eq!(code, Some(0), "{printed}");
}

#[test]
fn equivalent_policies_are_no_difference() {
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
