//! Tests of `nexin test`: output, exit codes, and the live engine on a node of its own.

use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs `nexin test` in the directory of the examples.
fn test(words: &[&str]) -> Output {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexin"));
    command.arg("test").args(words).current_dir(examples).output().expect("the program can be started")
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn successful_tests_are_summarized() {
    let (code, out, error) = said(&test(&["--engine", "model,native", "tutorial"]));
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("native: 18 as expected, 0 not"), "{out}");
}

#[test]
fn each_probe_is_a_line_of_json() {
    let (code, out, error) = said(&test(&["--engine", "native", "-o", "json", "tutorial"]));
    assert_eq!((code, out.lines().count()), (Some(0), 18), "{error}");
    for line in out.lines() {
        let verdict: serde_json::Value = serde_json::from_str(line).expect("a line is an object");
        let fields: Vec<&str> = verdict.as_object().expect("it is one").keys().map(String::as_str).collect();
        assert_eq!(
            fields,
            ["test", "step", "file", "line", "probe", "engine", "expect", "verdict", "rule", "reason"]
        );
        assert_eq!(verdict["verdict"], verdict["expect"]);
    }
}

#[test]
fn invalid_input_and_failed_expectations_have_different_exit_codes() {
    let (code, _, error) = said(&test(&["no-such-directory"]));
    assert_eq!(code, Some(2), "{error}");
    let (code, _, error) = said(&test(&["--engine", "verifier", "tutorial"]));
    assert_eq!(code, Some(2));
    assert!(error.contains("model, native, kernel, live and cluster"), "{error}");
    let file = std::env::temp_dir().join(format!("nexin-engines-{}.test.yaml", std::process::id()));
    let text = "apiVersion: nexin.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: wrong}\nspec:\n  \
                workloads: [{name: a}, {name: b}]\n  probes: [{from: a, to: b, port: 80, expect: drop}]\n";
    std::fs::write(&file, text).expect("there is room for a small file");
    let (code, out, error) = said(&test(&["--engine", "model", &file.to_string_lossy()]));
    std::fs::remove_file(&file).expect("it is there");
    assert_eq!(code, Some(1), "{error}");
    assert!(out.contains("default/a -> default/b 80/TCP: model: allow, expected drop"), "{out}");
    assert!(out.starts_with(&format!("{}:6: wrong, step 1: ", file.display())), "{out}");
}

#[test]
fn a_test_without_probes_is_reported() {
    let file = std::env::temp_dir().join(format!("nexin-idle-{}.test.yaml", std::process::id()));
    let warning = |text: &str| {
        std::fs::write(&file, text).expect("there is room for a small file");
        let (code, _, error) = said(&test(&["--engine", "model", &file.to_string_lossy()]));
        assert_eq!(code, Some(0), "{error}");
        error
    };
    let idle = "apiVersion: nexin.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: idle}\nspec: {workloads: [{name: a}]}\n";
    let said = [warning(""), warning(idle)];
    std::fs::remove_file(&file).expect("it is there");
    assert!(said[0].ends_with("warning: there is no test here\n"), "{said:?}");
    assert!(said[1].ends_with("warning: asks nothing; list `probes` or a `matrix`\n"), "{said:?}");
}

#[test]
#[ignore = "needs root"]
fn the_examples_pass_with_real_servers_and_clients() {
    let (code, out, error) = said(&test(&["--engine", "live", "tutorial", "policies"]));
    assert_eq!(code, Some(0), "{out}{error}");
    for line in [
        "live: 283 as expected, 0 not",
        "live: 16 not sent: the agent has no source of domain names",
        "live: 10 not sent: the node of the tests has no interface to the outside, where its own policy would judge",
    ] {
        assert!(out.contains(line), "{line} is not said:\n{out}");
    }
}
