//! Tests of the command line: exit codes, streams and messages.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs the binary without an agent.
fn nexin(words: &[&str]) -> Output {
    with_input(words, "")
}

fn with_input(words: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nexin"))
        .args(words)
        .env("NEXIN_SOCKET", "/nonexistent/agent.sock")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may have exited.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Expects an exit code, and texts on standard output and standard error.
fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "stdout: {out}\nstderr: {err}");
    assert!(out.contains(stdout), "stdout: {out}");
    assert!(err.contains(stderr), "stderr: {err}");
    if stderr.is_empty() {
        assert_eq!(err, "");
    }
}

#[test]
fn help_succeeds_and_bad_usage_is_an_error() {
    check(&nexin(&["--help"]), 0, "Usage: nexin", "");
    check(&nexin(&["policy", "explain", "--help"]), 0, "Examples:", "");
    check(&nexin(&["dance"]), 2, "", "unrecognized subcommand 'dance'");
    check(&nexin(&[]), 2, "", "Usage: nexin");
    check(&nexin(&["run", "--name", "a"]), 2, "", "COMMAND");
    let publish = ["run", "--name", "a", "--publish", "8080:80", "--", "true"];
    check(&nexin(&publish), 2, "", "--publish 8080:80: ports of the node are not supported yet");
}

#[test]
fn waiting_for_an_agent_ends_and_says_what_it_waited_for() {
    let began = std::time::Instant::now();
    check(&nexin(&["status"]), 1, "", "no agent answers at /nonexistent/agent.sock");
    let waited = nexin(&["status", "--wait", "--wait-duration", "600ms"]);
    check(&waited, 1, "", "waiting (0s of 600ms): no agent answers at /nonexistent/agent.sock");
    assert!(began.elapsed() > std::time::Duration::from_millis(600));
    assert_eq!(
        String::from_utf8_lossy(&waited.stderr).matches("waiting").count(),
        1,
        "only what changed is printed"
    );
    check(&nexin(&["status", "--wait-duration", "5"]), 2, "", "write it as 30s, 5m or 1m30s");
}

#[test]
fn waiting_for_an_agent_that_does_not_answer_ends_in_time() {
    let socket = std::env::temp_dir().join(format!("nexin-silent-{}.sock", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let began = std::time::Instant::now();
    let path = socket.to_str().unwrap();
    let waited = nexin(&["status", "--socket", path, "--wait", "--wait-duration", "1s"]);
    check(&waited, 1, "", "error: the agent at");
    check(&waited, 1, "", "has not answered for 1.0 s");
    assert!(!String::from_utf8_lossy(&waited.stderr).contains("for 0"), "{waited:?}");
    let took = began.elapsed();
    assert!(took >= std::time::Duration::from_secs(1) && took.as_secs() < 3, "{took:?}");
    drop(listener);
    std::fs::remove_file(&socket).unwrap();
}

#[test]
fn objects_to_delete_may_be_given_as_manifests() {
    // There is no agent; the names are read before it is called.
    let tutorial = format!("{}/../../examples/tutorial", env!("CARGO_MANIFEST_DIR"));
    check(&nexin(&["policy", "delete", "-f", &format!("{tutorial}/rule1.yaml")]), 1, "", "agent");
    let started = with_input(&["policy", "delete", "-f", "-"], "apiVersion: v1\nkind: ConfigMap\n");
    check(&started, 2, "", "no objects found");
    check(&nexin(&["policy", "delete"]), 2, "", "KIND/[NAMESPACE/]NAME");
    check(&nexin(&["policy", "delete", "rule1"]), 2, "", "a name is Kind/namespace/name");
}

#[test]
fn invalid_labels_are_refused() {
    let run = |labels: &[&str]| {
        let labels = labels.iter().flat_map(|label| ["--label", label]);
        let words: Vec<&str> =
            ["run", "--name", "a"].into_iter().chain(labels).chain(["--", "true"]).collect();
        nexin(&words)
    };
    check(&run(&["a b=c"]), 2, "", "\"a b\" is not a valid label key");
    check(&run(&["a=b c"]), 2, "", "\"b c\" is not a valid label value");
    check(&run(&["k8s:foo=bar"]), 2, "", "only selectors name a source; write \"foo\"");
    check(&run(&["a=1", "a=2"]), 2, "", "the label a is given twice");
}

#[test]
fn the_version_is_printed_as_text_and_as_json() {
    check(&nexin(&["version"]), 0, concat!("nexin ", env!("CARGO_PKG_VERSION")), "");
    let json = nexin(&["version", "-o", "json"]);
    let version: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["kernel"].is_string());
}

#[test]
fn the_error_without_an_agent_says_what_to_do() {
    for words in [
        &["status"][..],
        &["endpoint", "list"],
        &["identity", "list"],
        &["service", "list"],
        &["policy", "list"],
        &["observe"],
        &["policy", "explain", "--from", "a", "--to", "b", "--port", "80"],
        &["run", "--name", "a", "--", "true"],
        &["exec", "a", "--", "true"],
    ] {
        check(&nexin(words), 1, "", "error: no agent answers at /nonexistent/agent.sock");
    }
    check(&nexin(&["status"]), 1, "", "start one with `nexin agent`");
    check(&nexin(&["status", "--socket", "/nonexistent/other.sock"]), 1, "", "/nonexistent/other.sock");
}

#[test]
fn invalid_arguments_are_refused_with_the_valid_ones() {
    let explain = |port: &str| nexin(&["policy", "explain", "--from", "a", "--to", "b", "--port", port]);
    check(&explain("80/TPC"), 2, "", "is none of TCP, UDP, SCTP, ICMP, ICMPv6");
    check(&explain("99999"), 2, "", "is not a number from 0 to 65535");
    check(&nexin(&["run", "--name", "a", "--label", "x", "--", "true"]), 2, "", "app=web");
    check(&nexin(&["policy", "delete", "rule1"]), 2, "", "NetworkPolicy/default/web");
    check(
        &nexin(&["policy", "apply", "-f", "/nonexistent/a.yaml"]),
        2,
        "",
        "/nonexistent/a.yaml: No such file",
    );
    check(&nexin(&["agent", "--config", "/nonexistent/a.json"]), 2, "", "/nonexistent/a.json: No such file");
}

#[test]
fn validate_needs_no_agent_and_names_line_and_field() {
    let good = include_str!("../../../examples/tutorial/rule1.yaml");
    check(&with_input(&["policy", "validate", "-"], good), 0, "1 object, nothing wrong", "");
    let typo = good.replace("endpointSelector", "endpointSelectr");
    let refused = with_input(&["policy", "validate", "-"], &typo);
    check(&refused, 2, "", "<stdin>:7:");
    check(&refused, 2, "", "endpointSelectr");
    let json = with_input(&["policy", "validate", "-o", "json", "-"], &typo);
    check(&json, 2, "", "");
    let findings: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&findings[0]["line"], &findings[0]["severity"]), (&7.into(), &"error".into()), "{findings}");
}

#[test]
fn the_tutorials_manifests_are_valid() {
    for name in ["demo.yaml", "service.yaml", "rule1.yaml"] {
        let file = format!("{}/../../examples/tutorial/{name}", env!("CARGO_MANIFEST_DIR"));
        check(&nexin(&["policy", "validate", &file]), 0, "nothing wrong", "");
    }
}

#[test]
fn output_is_coloured_on_terminals_or_on_request() {
    let good = include_str!("../../../examples/tutorial/rule1.yaml");
    let plain = with_input(&["policy", "validate", "-"], good);
    assert!(!plain.stdout.contains(&0x1b));
    let insisted = with_input(&["--color", "always", "policy", "validate", "-"], good);
    assert!(insisted.stdout.contains(&0x1b));
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_nexin")).arg("version").stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}
