//! Tests of `validate`, `explain` and `diff`: their output, as it is printed.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `nexin policy` without an agent, in the directory of these tests' files.
fn policy(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexin"))
        .arg("policy")
        .args(words)
        .env("NEXIN_SOCKET", "/nonexistent/agent.sock")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy"))
        .output()
        .unwrap()
}

/// Expects an exit code and the complete output.
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
flawed.yaml:7:5: warning: spec.ingress[0]: HTTP rules have no effect for 80/TCP from app=front, \
k8s:io.kubernetes.pod.namespace=default: NetworkPolicy/default/open spec.ingress[0] allows every request \
(flawed.yaml:29:5) [http-without-effect]
flawed.yaml:14:5: warning: spec.ingress[1]: peer app=front, app notin (back, front), \
k8s:io.kubernetes.pod.namespace=default selects no endpoint: the requirements on the label `app` contradict each \
other [matches-nothing]
flawed.yaml:18:5: warning: spec.ingress[2]: block 198.51.100.0/24 matches no address: its exceptions cover all of it \
[matches-nothing]
flawed.yaml:30:5: warning: spec.ingress[1]: adds nothing: NetworkPolicy/default/open spec.ingress[0] already \
covers all of this (flawed.yaml:29:5) [shadowed]
flawed.yaml:39:5: warning: spec.ingress[0]: never decides: CiliumNetworkPolicy/default/web \
spec.ingressDeny[0] is evaluated first and denies all of this (flawed.yaml:21:5) [never-decides]";

#[test]
fn validate_reports_likely_mistakes() {
    check(&["validate", "flawed.yaml"], 0, "3 objects, 5 warnings", FINDINGS);
}

#[test]
fn strict_makes_warnings_a_failure() {
    check(&["validate", "--strict", "flawed.yaml"], 1, "3 objects, 5 warnings", FINDINGS);
    check(&["validate", "--strict", "shop.yaml"], 0, "10 objects, nothing wrong", "");
}

#[test]
fn errors_and_warnings_are_reported_together() {
    let stderr = format!(
        "wrong.yaml:5:3: spec.podSelectr: unknown field `podSelectr`, did you mean `podSelector`?\n{FINDINGS}"
    );
    check(&["validate", "wrong.yaml", "flawed.yaml"], 2, "1 error, 5 warnings", &stderr);
}

#[test]
fn other_objects_in_a_directory_are_skipped_and_counted() {
    let summary = "2 objects and 1 test, nothing wrong; 3 objects of other kinds skipped";
    check(&["validate", "--strict", "mixed"], 0, summary, "");
    let output = policy(&["validate", "-o", "json", "mixed"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "[]");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "3 objects of other kinds skipped\n");
    let output = policy(&["explain", "-f", "mixed", "--from", "front", "--to", "web", "--port", "80"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let same = "no connection changes verdict (2 workloads, of the files)";
    let skipped = "3 objects of other kinds skipped\n3 objects of other kinds skipped\n\
                   manifests contain policies, so the policies of mixed/web.test.yaml:1 (web) are ignored: \
                   only their workloads, nodes and hosts are used";
    check(&["diff", "mixed", "mixed"], 0, same, skipped);
    let people = ["diff", "--workloads", "mixed", "mixed/policy.yaml", "mixed/policy.yaml"];
    let each = "1 object of another kind skipped\n1 object of another kind skipped\n3 objects of other kinds skipped";
    check(&people, 0, same, each);
}

#[test]
fn a_misspelt_kind_is_refused_in_sub_directories_too() {
    let typo =
        "mixed/sub/typo.yaml:2:7: kind: NetworkPolcy is not a known kind, did you mean `NetworkPolicy`?";
    let summary = "1 error, 0 warnings; 3 objects of other kinds skipped";
    check(&["validate", "-R", "mixed"], 2, summary, typo);
    // An error in any file refuses all files, before an agent is called.
    check(&["apply", "--recursive", "-f", "mixed"], 2, "", &format!("error: {typo}"));
    // An error in a single file is reported without an agent, too.
    let apply = ["--socket", "/nonexistent", "apply", "-f", "mixed/sub/typo.yaml"];
    check(&apply, 2, "", &format!("error: {typo}"));
}

#[test]
fn the_shipped_examples_are_valid() {
    for directory in ["tutorial", "policies"] {
        let path = format!("../../../../examples/{directory}");
        let output = policy(&["validate", &path]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_policy_with_two_definitions_is_reported() {
    let words = ["validate", "-o", "json", "shop.yaml", "shop.yaml"];
    let findings = json(&words);
    assert_eq!(findings[0]["code"], "repeated", "{findings}");
}

#[test]
fn findings_as_json_have_all_their_fields() {
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

/// The output of `explain` for the shop.
fn explain(words: &str) -> String {
    let mut all = vec!["explain", "-f", "shop.yaml"];
    all.extend(words.split(' '));
    let output = policy(&all);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn explain_names_the_deciding_rule_and_why_others_do_not_match() {
    assert_eq!(
        explain("--from shop/front --to data/db --port 5432"),
        "\
drop
  egress of shop/front: allow: no rule denies it, and no policy requires default deny
  ingress of data/db: drop: no rule allows it
    - CiliumClusterwideNetworkPolicy/blocked spec.ingressDeny[0]: peer is a workload, needs \
203.0.113.0/24 except 203.0.113.7/32 outside the cluster (shop.yaml:72)
    ~ NetworkPolicy/data/db spec.ingress[0]: peer has app=front, needs app=cart (shop.yaml:41)
"
    );
    assert_eq!(
        explain("--from 203.0.113.9 --to shop/front --port 443"),
        "\
drop
  ingress of shop/front: drop: CiliumClusterwideNetworkPolicy/blocked spec.ingressDeny[0]
    + CiliumClusterwideNetworkPolicy/blocked spec.ingressDeny[0]: denies it (shop.yaml:72)
    - CiliumNetworkPolicy/shop/front spec.ingress[0]: matches, but \
CiliumClusterwideNetworkPolicy/blocked spec.ingressDeny[0] decides first (shop.yaml:63)
"
    );
}

#[test]
fn explain_names_what_a_connection_lacks() {
    let check = |words: &str, why: &str| {
        let said = explain(words).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(why), "{words}: {said}");
    };
    check("--from shop/cart --to data/db --port 80", "port 80/TCP, rule has 5432/TCP");
    check("--from shop/cart --to data/db --port 5432", "+ NetworkPolicy/data/db spec.ingress[0]: allows it");
    check(
        "--from data/app=cart --to data/db --port 5432",
        "peer's namespace has team=storage, needs team=web",
    );
    check("--from shop/tier=x --to data/db --port 5432", "peer has no app, needs app=cart");
    check("--from world --to data/db --port 80", "peer is outside the cluster, needs k8s:io.cilium");
    check("--from world --to data/db --port 80", "peer has no known address, needs one in 203.0.113.0/24");
    check("--from 198.51.100.1 --to shop/front --port 443", "peer is 198.51.100.1, not in 203.0.113.0/24");
    check(
        "--from 203.0.113.7 --to shop/front --port 443",
        "which 203.0.113.7/32 leaves out of 203.0.113.0/24",
    );
    check("--from host --to data/db --port 5432", "a node may always connect to its own workloads");
    check("--from shop/front --to shop/cart --port 80", "port 80/TCP, rule has http/TCP (which is 8080)");
    check("--from shop/front --to shop/app=cart --port 80", "http/TCP (which the receiver does not have)");
    check("--from shop/front --to shop/cart --port 8/ICMP", "ICMP type 8, rule has http/TCP");
    check("--from shop/front --to shop/cart --port 8080 --http /wares", "path /wares, rule has /cart(/.*)?");
}

#[test]
fn explain_reads_policy_tests_and_prints_json() {
    let [test, rule] =
        ["tutorial.test.yaml", "rule1.yaml"].map(|name| format!("../../../../examples/tutorial/{name}"));
    // The last step of the test removes the policy.
    let words = ["explain", "-o", "json", "-f", &test, "-f", &rule];
    let ends = ["--from", "app2", "--to", "app1", "--port", "80", "--http", "POST /public"];
    let said = json(&[&words[..], &ends].concat());
    assert_eq!(said["verdict"], "deny");
    let considered = &said["sides"][1]["considered"][0];
    assert_eq!(considered["finding"], "other-request", "{said}");
    assert_eq!(considered["why"], "method POST, rule has GET");
}

#[test]
fn explain_refuses_unknown_names() {
    let ask = |from: &str| {
        policy(&["explain", "-f", "shop.yaml", "--from", from, "--to", "data/db", "--port", "80"])
    };
    let output = ask("shop/nobody");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("error: no workload shop/nobody in these files; workloads: data/db, shop/cart,"),
        "{said}"
    );
    let said = String::from_utf8(
        policy(&["explain", "-f", "wrong.yaml", "--from", "a", "--to", "b", "--port", "1"]).stderr,
    );
    assert!(said.unwrap().contains("wrong.yaml:5:3: "));
}

const DIFFERENCES: &str = "\
203.0.113.7/32, world -> shop/front: 443/TCP: allow -> drop
    old: ingress: CiliumNetworkPolicy/shop/front spec.ingress[0]
    new: ingress: no rule allows it
shop/cart -> data/db: 5433/TCP: drop -> allow
    old: ingress: no rule allows it
    new: ingress: NetworkPolicy/data/db spec.ingress[0]
shop/front -> 198.51.100.0/24, 2001:db8::/32, 203.0.113.0/24 and 4 more: anything: allow -> drop
    old: nothing denies it
    new: egress: no rule allows it
shop/front -> shop/cart: 8080/TCP: allow only GET /cart(/.*)? -> allow only GET|HEAD /cart(/.*)?
    old: ingress: CiliumNetworkPolicy/shop/cart spec.ingress[0]
    new: egress: NetworkPolicy/shop/front-egress spec.egress[0]; ingress: CiliumNetworkPolicy/shop/cart spec.ingress[0]
4 differences (3 workloads, of the files)";

#[test]
fn diff_lists_changed_verdicts_with_the_rules() {
    check(&["diff", "shop.yaml", "shop-new.yaml"], 1, DIFFERENCES, "");
    let same = "no connection changes verdict (3 workloads, of the files)";
    check(&["diff", "shop.yaml", "shop.yaml"], 0, same, "");
}

#[test]
fn diff_compares_the_given_workloads() {
    let words = ["diff", "--workloads", "shop.yaml", "flawed.yaml", "shop-new.yaml"];
    let output = policy(&words);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("shop/front -> shop/cart: anything but 8080/TCP: allow -> drop"), "{said}");
    assert!(said.ends_with("(3 workloads, of the files)\n"), "{said}");
}

#[test]
fn diff_generates_workloads_if_none_is_known() {
    let output = policy(&["diff", "flawed.yaml", "shop-new.yaml"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains(
            "other/app=cart of team=web, shop/app=cart of team=web -> data/app=db: anything but 5432-5433/TCP: allow -> drop"
        ),
        "{said}"
    );
    assert!(said.contains("one generated for each combination of selectors)"), "{said}");
}

#[test]
fn diff_compares_recorded_connections() {
    let expected = "\
shop/cart -> data/db: 5433/TCP: drop -> allow (2 flows)
    old: ingress: no rule allows it
    new: ingress: NetworkPolicy/data/db spec.ingress[0]
shop/front -> shop/cart: 8080/TCP HEAD /cart/1: deny -> allow (1 flow)
    old: ingress: CiliumNetworkPolicy/shop/cart spec.ingress[0]
    new: egress: NetworkPolicy/shop/front-egress spec.egress[0]; ingress: CiliumNetworkPolicy/shop/cart spec.ingress[0]
2 differences (3 of 3 flows; 2 distinct connections)";
    check(&["diff", "--flows", "flows.json", "shop.yaml", "shop-new.yaml"], 1, expected, "");
    let wrong = "error: wrong.yaml:1: not a flow as `nexin observe -o json` prints it: expected value at line 1 column 1";
    check(&["diff", "--flows", "wrong.yaml", "shop.yaml", "shop.yaml"], 2, "", wrong);
}

#[test]
fn diff_as_json_is_a_list_of_differences() {
    let differences = json(&["diff", "-o", "json", "shop.yaml", "shop-new.yaml"]);
    let second = &differences[1];
    assert_eq!(second["from"][0], "shop/cart", "{differences}");
    assert_eq!((&second["to"][0], &second["traffic"][0]), (&"data/db".into(), &"5433/TCP".into()));
    assert_eq!((&second["old"]["verdict"], &second["new"]["verdict"]), (&"drop".into(), &"allow".into()));
    assert_eq!(second["new"]["by"], "ingress: NetworkPolicy/data/db spec.ingress[0]");
    assert_eq!(differences[3]["new"]["requests"][0], "GET|HEAD /cart(/.*)?");
}

/// The explanation of a connection in the world of a test.
fn explained(from: &str, to: &str, port: &str) -> serde_json::Value {
    json(&["explain", "-o", "json", "-f", "world.test.yaml", "--from", from, "--to", to, "--port", port])
}

#[test]
fn explain_resolves_objects_that_policies_refer_to() {
    let check = |to: &str, verdict: &str, why: &str| {
        let said = explained("web", to, "443");
        assert_eq!(said["sides"][0]["verdict"], verdict, "{to}: {said}");
        assert!(said["sides"][0].to_string().contains(why), "{to}: {said}");
    };
    check("db", "allow", "CiliumNetworkPolicy/default/web spec.egress[0]");
    check("203.0.113.9", "allow", "CiliumNetworkPolicy/default/web spec.egress[1]");
    check("www", "allow", "CiliumNetworkPolicy/default/web spec.egress[2]");
    check("n2", "allow", "CiliumNetworkPolicy/default/web spec.egress[3]");
    check("host", "drop", "peer has role=worker, needs role=control");
    check("198.51.100.8", "drop", "peer is outside the cluster, 198.51.100.8, needs group partners");
    // The other side is evaluated, too: enforcement is `always`, and no rule allows anything to `db`.
    let said = explained("web", "db", "1");
    assert_eq!(said["verdict"], "drop", "{said}");
    // The node is a side of its own if a policy selects it.
    let said = explained("www", "host", "22");
    assert_eq!((&said["verdict"], &said["sides"][0]["subject"]), (&"drop".into(), &"host".into()), "{said}");
}
