//! Runs the conformance tests of ClusterNetworkPolicy against a cluster, and shows the result of each.

use super::plan::{Machine, Plan};
use super::{kubectl, links, users};
use crate::kubernetes::{self, download};
use anyhow::{Result, ensure};
use std::fmt;
use std::process::Stdio;

/// The module whose definitions and tests are used.
const MODULE: &str = "sigs.k8s.io/network-policy-api";
/// The definition with the fields of all features, in the module.
const DEFINITION: &str = "config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml";
/// The time that all tests together may take.
const TIMEOUT: &str = "2h";
/// What the lines of results begin with.
const RESULT: &str = "--- ";

/// The result of a test or of a part of one.
#[derive(Debug, PartialEq, Eq)]
struct Outcome<'a> {
    /// The names of the test and its parts, without the name of the program's only test.
    path: &'a str,
    /// As Go names it: `PASS`, `FAIL` or `SKIP`.
    state: &'a str,
    time: &'a str,
}

/// Installs the definition and runs the tests, all or those whose names match; an error unless there are some and all
/// of them pass.
pub(super) fn run(plan: &Plan, name: Option<&str>) -> Result<()> {
    let program = kubernetes::program("conformance.test")?;
    let definition = download("conformance", MODULE)?.join(DEFINITION);
    kubectl::run(plan, &["apply", "--server-side", "--filename", &definition.display().to_string()])?;
    let log = plan.name.state().join("conformance.log");
    let output = std::fs::File::create(&log)?;
    let mut command = links::command_within(&plan.name, Machine::Plane, &program);
    command.env("KUBECONFIG", plan.name.kubeconfig(users::ADMIN));
    let chosen =
        name.map_or_else(|| "^TestConformance$".to_owned(), |name| format!("^TestConformance$/{name}"));
    command.args(["-test.v", &format!("-test.timeout={TIMEOUT}"), &format!("-test.run={chosen}")]);
    command.arg("-all-features");
    println!(
        "cluster: running the conformance tests of ClusterNetworkPolicy; all output is in {}",
        log.display()
    );
    let status = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).status()?;
    let text = std::fs::read_to_string(&log)?;
    let outcomes = outcomes(&text);
    for outcome in &outcomes {
        println!("{outcome}");
    }
    let tests: Vec<_> = outcomes.iter().filter(|outcome| !outcome.path.contains('/')).collect();
    let passed = tests.iter().filter(|outcome| outcome.state == "PASS").count();
    println!("cluster: {passed} of {} tests passed", tests.len());
    ensure!(!tests.is_empty(), "no test ran: the program ended with {status}; see {}", log.display());
    ensure!(passed == tests.len() && status.success(), "{} tests did not pass", tests.len() - passed);
    Ok(())
}

/// Reads the results from what the program prints: `    --- PASS: TestConformance/Name/Part (1.23s)`.
fn outcomes(text: &str) -> Vec<Outcome<'_>> {
    text.lines().filter_map(|line| outcome(line.trim_start())).collect()
}

fn outcome(line: &str) -> Option<Outcome<'_>> {
    let (state, rest) = line.strip_prefix(RESULT)?.split_once(": ")?;
    let (path, time) = rest.rsplit_once(" (")?;
    Some(Outcome { path: path.split_once('/')?.1, state, time: time.trim_end_matches(')') })
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:>8}  {}", self.state, self.time, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_their_parts_have_results() {
        let text = "=== RUN   TestConformance\n    suite.go:1: applying\n--- FAIL: TestConformance (9.00s)\n    \
                    --- PASS: TestConformance/Egress (4.50s)\n        --- FAIL: TestConformance/Egress/allows_it (1.00s)\nFAIL\n";
        let shown: Vec<String> = outcomes(text).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["PASS    4.50s  Egress", "FAIL    1.00s  Egress/allows_it"]);
    }
}
