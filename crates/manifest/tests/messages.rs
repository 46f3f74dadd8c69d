//! Findings on manifests: each line of `messages/*.txt` is a case, and the indented lines under it are all its
//! findings.

use manifest::{Diagnostic, Severity};
use std::io;

const CILIUM: &str =
    "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec: {CASE}\n";
const CLUSTERWIDE: &str =
    "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec: {CASE}\n";
const CLUSTER_POLICY: &str = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
    metadata: {name: p}\nspec: {CASE}\n";
const ADMIN_POLICY: &str = "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\n\
    metadata: {name: p}\nspec: {CASE}\n";
const NETWORK_POLICY: &str =
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {CASE}\n";
const POLICY_TEST: &str = "apiVersion: nexin.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: p}\nspec: \
    {workloads: [{name: a}, {name: b, namespace: x}], externals: [{name: www, ips: [198.51.100.7]}], CASE}\n";

/// A file whose mistake is in its own line 7.
const WRONG: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: wrong}\nspec:\n  \
    endpointSelector: {}\n  ingress:\n  - fromEntities: [worlds]\n";

#[test]
fn of_cilium_network_policies() {
    check(include_str!("messages/cilium.txt"), |case| of_manifest(&CILIUM.replace("CASE", case)));
}

#[test]
fn of_clusterwide_policies() {
    check(include_str!("messages/clusterwide.txt"), |case| of_manifest(&CLUSTERWIDE.replace("CASE", case)));
}

#[test]
fn of_cluster_network_policies() {
    check(include_str!("messages/cluster_policy.txt"), |case| {
        of_manifest(
            &CLUSTER_POLICY.replace(
                "CASE",
                &case.replace("HEAD", "tier: Admin, priority: 1, subject: {namespaces: {}}"),
            ),
        )
    });
}

#[test]
fn of_admin_network_policies() {
    check(include_str!("messages/admin_policy.txt"), |case| {
        of_manifest(
            &ADMIN_POLICY.replace("CASE", &case.replace("HEAD", "priority: 1, subject: {namespaces: {}}")),
        )
    });
}

#[test]
fn of_network_policies() {
    check(include_str!("messages/network_policy.txt"), |case| {
        of_manifest(&NETWORK_POLICY.replace("CASE", case))
    });
}

#[test]
fn of_documents() {
    check(include_str!("messages/documents.txt"), of_manifest);
}

#[test]
fn of_policy_tests() {
    check(include_str!("messages/policy_test.txt"), |case| of_test(&POLICY_TEST.replace("CASE", case)));
}

fn check(cases: &str, find: impl Fn(&str) -> Vec<Diagnostic>) {
    let mut actual = String::new();
    for line in cases.lines().filter(|line| !line.starts_with("  ")) {
        actual.push_str(line);
        actual.push('\n');
        if !line.starts_with('#') {
            actual.push_str(&told(&find(line)));
        }
    }
    for (line, (expected, actual)) in cases.lines().zip(actual.lines()).enumerate() {
        assert_eq!(expected, actual, "line {}", line + 1);
    }
    assert_eq!(cases.lines().count(), actual.lines().count());
}

fn told(findings: &[Diagnostic]) -> String {
    if findings.is_empty() {
        return "  fine\n".to_owned();
    }
    let severity = |finding: &Diagnostic| match finding.severity {
        Severity::Error => "error",
        Severity::NotSupportedYet => "later",
        Severity::Warning => "warns",
    };
    findings.iter().map(|finding| format!("  {} {finding}\n", severity(finding))).collect()
}

fn of_manifest(text: &str) -> Vec<Diagnostic> {
    manifest::parse("p.yaml", text).map_or_else(|findings| findings, |manifest| manifest.warnings)
}

fn of_test(text: &str) -> Vec<Diagnostic> {
    let mut load = |path: &str| match path {
        "rule1-v2.yaml" => Ok(include_str!("tutorial/rule1-v2.yaml").to_owned()),
        "wrong.yaml" => Ok(WRONG.to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    match manifest::test::parse("p.yaml", text, &mut load) {
        Ok(tests) => {
            let later = tests.documents.into_iter().filter_map(|document| document.test.err()).flatten();
            tests.warnings.into_iter().chain(later).collect()
        }
        Err(findings) => findings,
    }
}

#[test]
fn rules_that_cost_too_much_together_are_refused_at_the_one_that_breaks_it() {
    let manifest = |rules: &[String]| {
        let ports = format!(
            "[{{ports: [{{port: \"80\", protocol: TCP}}], rules: {{http: [{}]}}}}]",
            rules.join(", ")
        );
        let spec = format!("{{endpointSelector: {{}}, ingress: [{{toPorts: {ports}}}]}}");
        manifest::parse("p.yaml", &CILIUM.replace("{CASE}", &spec))
    };
    let wide: Vec<String> = (0..200).map(|n| format!("{{path: \"/.*a.{{{}}}x\"}}", 20 + n)).collect();
    let found = manifest(&wide).expect_err("they cost too much");
    assert_eq!(found.len(), 1, "{found:?}");
    let message = found[0].to_string();
    assert!(message.contains("more than 4096 active positions") && message.contains("http[70]"), "{message}");
    assert!(manifest(&wide[..20]).is_ok());
    let ordinary: Vec<String> = (0..50).map(|n| format!("{{path: \"/.*/s{n}/.*/x\"}}")).collect();
    assert!(manifest(&ordinary).is_ok());
    let wrong = manifest(&["{path: \"/a(\"}".to_owned()]).expect_err("it is no expression");
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    // In lists of their own, for the same peers and port.
    let apart: Vec<String> = wide
        .iter()
        .map(|rule| format!("{{ports: [{{port: \"80\", protocol: TCP}}], rules: {{http: [{rule}]}}}}"))
        .collect();
    let spec = format!("{{endpointSelector: {{}}, ingress: [{{toPorts: [{}]}}]}}", apart.join(", "));
    let found = manifest::parse("p.yaml", &CILIUM.replace("{CASE}", &spec)).expect_err("they cost too much");
    assert!(found.len() == 1 && found[0].to_string().contains("spec.ingress[0]: "), "{found:?}");
}
