//! Tests of cases that users of network policy reported in public, as smallest inputs to `nexin test`, `validate`,
//! `explain` and `diff`. `reports/cases.tsv` lists command, expected result, arguments and reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports")
}

fn nexin(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexin"))
        .args(arguments)
        .env("NEXIN_SOCKET", "/nonexistent/agent.sock")
        .current_dir(directory())
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap()
}

/// The result of one line of the table: an exit code, or a verdict.
fn answer(what: &str, arguments: &[&str]) -> (String, String) {
    let output = match (what, arguments) {
        ("explain", [file, from, to, port]) => {
            nexin(&["policy", "explain", "-f", file, "--from", from, "--to", to, "--port", port])
        }
        _ => nexin(&[&["policy", what], arguments].concat()),
    };
    let text = printed(&output);
    let code = output.status.code().unwrap();
    let answer = match what {
        "explain" if code == 0 => text.lines().next().unwrap_or_default().to_owned(),
        _ => code.to_string(),
    };
    (answer, text)
}

#[test]
fn every_reported_case_has_the_expected_result() {
    let table = fs::read_to_string(directory().join("cases.tsv")).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [what, right, arguments @ .., why] = &columns[..] else { panic!("too few columns: {line}") };
        let (answer, text) = answer(what, arguments);
        count += 1;
        if answer != *right {
            wrong.push(format!("{what} {}: {answer}, not {right}: {why}\n{text}", arguments.join(" ")));
        }
    }
    assert!(count >= 20, "{count} cases in the table");
    assert!(wrong.is_empty(), "{} of {count} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_reported_policy_test_passes_on_model_and_native() {
    let output = nexin(&["test", "--engine", "model,native", "tests"]);
    assert!(output.status.success(), "{}", printed(&output));
}

#[test]
#[ignore = "needs root"]
fn every_reported_policy_test_passes_on_the_kernel_engine() {
    let output = nexin(&["test", "--engine", "kernel", "tests"]);
    assert!(output.status.success(), "{}", printed(&output));
}
