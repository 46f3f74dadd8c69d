//! What people ask of policies before they apply them: findings, explanations and differences, as they are printed.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `nexin policy` where no agent is, among the files of these tests.
fn policy(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexin"))
        .arg("policy")
        .args(words)
        .env("NEXIN_SOCKET", "/nonexistent/agent.sock")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy"))
        .output()
        .unwrap()
}

/// Expects an exit code and the whole of what is printed.
fn check(words: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = policy(words);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!((text(&output.stdout).trim_end(), text(&output.stderr).trim_end()), (stdout, stderr));
    assert_eq!(output.status.code(), Some(code));
}

fn json(words: &[&str]) -> serde_json::Value {
    serde_json::from_slice(&policy(words).stdout).unwrap()
}

const FINDINGS: &str = "\
flawed.yaml:7:5: warning: spec.ingress[0]: HTTP rules have no effect: NetworkPolicy/default/open spec.ingress[0] \
allows every request of the same peer and port (flawed.yaml:29:5)
flawed.yaml:14:5: warning: spec.ingress[1]: peer app=front, app notin (back, front), \
k8s:io.kubernetes.pod.namespace=default selects nobody: what is demanded of the label `app` contradicts itself
flawed.yaml:18:5: warning: spec.ingress[2]: block 198.51.100.0/24 has no address left: its exceptions hold them all
flawed.yaml:30:5: warning: spec.ingress[1]: adds nothing: NetworkPolicy/default/open spec.ingress[0] says all of \
this already (flawed.yaml:29:5)
flawed.yaml:39:5: warning: spec.ingress[0]: never decides anything: CiliumNetworkPolicy/default/web \
spec.ingressDeny[0] is asked first and denies all of this (flawed.yaml:21:5)";

#[test]
fn validate_tells_what_is_surely_not_meant() {
    check(&["validate", "flawed.yaml"], 0, "3 objects, 5 warnings", FINDINGS);
}

#[test]
fn strict_makes_warnings_a_failure() {
    check(&["validate", "--strict", "flawed.yaml"], 1, "3 objects, 5 warnings", FINDINGS);
    check(&["validate", "--strict", "shop.yaml"], 0, "10 objects, nothing wrong", "");
}

#[test]
fn what_is_refused_stands_beside_what_is_warned_of() {
    let stderr = format!(
        "wrong.yaml:5:3: spec.podSelectr: unknown field `podSelectr`, did you mean `podSelector`?\n{FINDINGS}"
    );
    check(&["validate", "wrong.yaml", "flawed.yaml"], 2, "1 error, 5 warnings", &stderr);
}

#[test]
fn a_policy_given_twice_is_told() {
    let words = ["validate", "-o", "json", "shop.yaml", "shop.yaml"];
    let findings = json(&words);
    assert_eq!(findings[0]["code"], "repeated", "{findings}");
}

#[test]
fn findings_for_machines_have_all_their_parts() {
    let findings = json(&["validate", "-o", "json", "flawed.yaml"]);
    let codes: Vec<&str> =
        findings.as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    let expected = ["http-without-effect", "matches-nothing", "matches-nothing", "shadowed", "never-decides"];
    assert_eq!(codes, expected);
    let shadowed = &findings[3];
    assert_eq!(shadowed["file"], "flawed.yaml");
    assert_eq!((&shadowed["line"], &shadowed["column"]), (&30.into(), &5.into()));
    assert_eq!((&shadowed["severity"], &shadowed["field"]), (&"warning".into(), &"spec.ingress[1]".into()));
    assert_eq!(shadowed["policy"], "NetworkPolicy/default/open");
}
