//! Runs upstream's end-to-end tests against a cluster, and shows the result of each.

use super::plan::{Machine, Plan};
use super::suites::{self, Suite};
use super::{links, users};
use crate::{command, kubernetes};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The time that all tests together may take.
const TIMEOUT: &str = "4h";
/// The characters of a failure's message that the table shows.
const SHOWN_CHARACTERS: usize = 300;

/// The result of a test.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    name: String,
    /// As Ginkgo names it: `passed`, `failed`, `panicked`, `timedout` …
    state: String,
    seconds: u64,
    message: String,
}

/// What of upstream's tests to run, by their names.
#[derive(Debug)]
pub(super) struct Selection {
    /// The name of the files of the results.
    label: &'static str,
    focus: String,
    skip: Option<String>,
}

impl Selection {
    /// The tests whose names match `focus`, and do not match `skip`.
    pub(super) fn matching(focus: &str, skip: Option<&str>) -> Self {
        Self { label: "tests", focus: focus.to_owned(), skip: skip.map(str::to_owned) }
    }
}

/// Runs a suite by its name, or else the tests whose names match; an error unless there are some and all of them pass.
pub(super) fn run_named(plan: &Plan, name: &str, skip: Option<&str>) -> Result<()> {
    match suites::find(name) {
        Some(suite) if skip.is_none() => run_suite(plan, suite),
        _ => run(plan, &Selection::matching(name, skip)),
    }
}

/// Runs a suite without the tests that it leaves out, each of which is shown with the reason.
fn run_suite(plan: &Plan, suite: Suite) -> Result<()> {
    let names = names(plan, suite)?;
    let left_out = suite.left_out(&names)?;
    for one in &left_out {
        let count = names.iter().filter(|name| name.contains(&one.test)).count();
        println!("left out  {count:>4} of  {}\n                  {}", one.test, one.reason);
    }
    let is_run = |name: &&String| !left_out.iter().any(|one| name.contains(&one.test));
    let count = names.iter().filter(is_run).count();
    println!(
        "cluster: the suite {} has {} tests; {} are left out",
        suite.name,
        names.len(),
        names.len() - count
    );
    run(
        plan,
        &Selection { label: suite.name, focus: suite.focus.to_owned(), skip: suites::expression(&left_out) },
    )
}

/// The names of the tests of a suite, none of which runs.
fn names(plan: &Plan, suite: Suite) -> Result<Vec<String>> {
    let report = directory(plan)?.join(format!("{}.names.json", suite.name));
    let mut command = Command::new(kubernetes::program("e2e.test")?);
    command.args(["-provider=skeleton", "-ginkgo.no-color", "-ginkgo.dry-run"]);
    command.arg(format!("-ginkgo.focus={}", suite.focus));
    command::run(command.arg(format!("-ginkgo.json-report={}", report.display())))?;
    Ok(outcomes(&report)?.into_iter().map(|outcome| outcome.name).collect())
}

fn directory(plan: &Plan) -> Result<PathBuf> {
    let directory = plan.name.state().join("e2e");
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Runs the selected tests; an error unless there are some and all of them pass.
pub(super) fn run(plan: &Plan, selection: &Selection) -> Result<()> {
    let program = kubernetes::program("e2e.test")?;
    let Selection { label, focus, skip } = selection;
    let [report, log] = [format!("{label}.json"), format!("{label}.log")];
    let [report, log] = [directory(plan)?.join(report), directory(plan)?.join(log)];
    let output = std::fs::File::create(&log)?;
    let mut command = links::command_within(&plan.name, Machine::Plane, &program);
    command.arg(format!("-kubeconfig={}", plan.name.kubeconfig(users::ADMIN).display()));
    command.args(["-provider=skeleton", "-ginkgo.no-color", "-ginkgo.v"]);
    command.arg(format!("-ginkgo.timeout={TIMEOUT}")).arg(format!("-ginkgo.focus={focus}"));
    command.args(skip.as_ref().map(|skip| format!("-ginkgo.skip={skip}")));
    command.arg(format!("-ginkgo.json-report={}", report.display()));
    println!("cluster: running the tests that match `{focus}`; all output is in {}", log.display());
    command.env("PATH", plan.path()).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let status = command.status()?;
    let outcomes =
        outcomes(&report).with_context(|| format!("e2e.test ended with {status}; see {}", log.display()))?;
    for outcome in &outcomes {
        println!("{outcome}");
    }
    let passed = outcomes.iter().filter(|outcome| outcome.is_passed()).count();
    println!("cluster: {passed} of {} tests passed", outcomes.len());
    ensure!(!outcomes.is_empty(), "no test matches `{focus}`");
    ensure!(passed == outcomes.len() && status.success(), "{} tests did not pass", outcomes.len() - passed);
    Ok(())
}

/// Reads the results of the tests that ran from Ginkgo's report.
fn outcomes(report: &Path) -> Result<Vec<Outcome>> {
    let text = std::fs::read_to_string(report).context("the tests wrote no report")?;
    let suites: Value = serde_json::from_str(&text)?;
    let suites = suites.as_array().into_iter().flatten();
    let specs = suites.flat_map(|suite| suite["SpecReports"].as_array().into_iter().flatten());
    Ok(specs.filter_map(outcome).collect())
}

/// The result of one test; none for a test that was not chosen, and for what the suite does around the tests.
fn outcome(spec: &Value) -> Option<Outcome> {
    let state = spec["State"].as_str()?;
    let is_test = spec["LeafNodeType"].as_str() == Some("It");
    // The suite's own set-up is of interest if it failed.
    if state == "skipped" && !spec["Failure"].is_object()
        || state == "pending"
        || (!is_test && state == "passed")
    {
        return None;
    }
    let texts =
        spec["ContainerHierarchyTexts"].as_array().into_iter().flatten().chain([&spec["LeafNodeText"]]);
    let message = spec["Failure"]["Message"].as_str().unwrap_or_default();
    Some(Outcome {
        name: texts.filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        state: state.to_owned(),
        seconds: spec["RunTime"].as_u64().unwrap_or_default() / 1_000_000_000,
        message: message
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(SHOWN_CHARACTERS)
            .collect(),
    })
}

impl Outcome {
    fn is_passed(&self) -> bool {
        self.state == "passed"
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {:>4} s  {}", self.state, self.seconds, self.name)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, "\n                  {}", self.message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: Value) -> Option<String> {
        outcome(&spec).map(|outcome| outcome.to_string())
    }

    #[test]
    fn a_test_that_ran_has_an_outcome() {
        let spec = |state: &str, kind: &str| {
            json!({"ContainerHierarchyTexts": ["[sig-network]", "Netpol"], "LeafNodeText": "denies", "LeafNodeType": kind,
                   "State": state, "RunTime": 12_300_000_000_u64})
        };
        assert_eq!(check(spec("passed", "It")).unwrap(), "passed      12 s  [sig-network] Netpol denies");
        assert_eq!(check(spec("skipped", "It")), None);
        assert_eq!(check(spec("passed", "SynchronizedBeforeSuite")), None);
        assert!(check(spec("failed", "SynchronizedBeforeSuite")).is_some());
    }

    #[test]
    fn a_test_that_skips_itself_counts_as_not_passed() {
        let spec = json!({"LeafNodeText": "a", "LeafNodeType": "It", "State": "skipped", "RunTime": 0,
                          "Failure": {"Message": "needs\n  a cloud"}});
        assert_eq!(check(spec.clone()).unwrap(), "skipped      0 s  a\n                  needs a cloud");
        assert!(!outcome(&spec).unwrap().is_passed());
    }
}
