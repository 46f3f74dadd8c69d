//! Tests of `nexin demo`: its results, and that it removes everything, however it ends.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The kernel's setting that expedites the grace periods of RCU.
const RCU_EXPEDITED: &str = "/sys/kernel/rcu_expedited";

/// A single test, since only one demo can run at a time.
#[test]
#[ignore = "needs root"]
fn the_demo_behaves_as_expected_and_removes_everything_however_it_ends() {
    runs_the_tutorial();
    removes_everything_when_it_is_interrupted();
    is_removed_by_the_next_demo_after_a_crash();
    keeps_running_until_it_is_removed();
}

fn runs_the_tutorial() {
    let output = demo(&["-o", "json"]).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let probes: Vec<&Value> =
        report["steps"].as_array().unwrap().iter().filter(|step| step["verdict"].is_string()).collect();
    let verdicts: Vec<&str> = probes.iter().map(|probe| probe["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["allow", "allow", "allow", "allow", "allow", "deny", "drop"], "{report}");
    assert_eq!(probes[4]["output"], "{ 'val': 'this is public' }");
    assert_eq!(probes[5]["status"], 403);
    let flows = report["flows"].as_array().unwrap();
    let saw = |verdict: &str, kind: &str| {
        assert!(
            flows.iter().any(|flow| flow["verdict"] == verdict && flow["Type"] == kind),
            "{verdict} {kind}"
        );
    };
    saw("FORWARDED", "L7");
    saw("DROPPED", "L7");
    saw("DROPPED", "L3_L4");
    check_everything_is_removed();
}

fn removes_everything_when_it_is_interrupted() {
    let child = demo(&[]);
    await_file("/run/netns/nexin-demo-2");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    check_everything_is_removed();
}

fn is_removed_by_the_next_demo_after_a_crash() {
    let mut child = demo(&[]);
    await_file("/run/netns/nexin-demo-3");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(Path::new("/run/netns/nexin-demo-node").exists(), "a crash leaves remains");
    // An agent that is killed while it attaches programs leaves these too.
    fs::write("/run/nexin-demo/hurry", "").unwrap();
    fs::write(RCU_EXPEDITED, "1").unwrap();
    runs_the_tutorial();
}

fn keeps_running_until_it_is_removed() {
    let output = demo(&["--keep"]).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let ask = [env!("CARGO_BIN_EXE_nexin"), "demo-client", "http://app1-service/public"];
    let answer = run_as_app2(&ask);
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "{ 'val': 'this is public' }", "{}", text(&answer));
    assert_eq!(run_as_app2(&["sh", "-c", "exit 7"]).status.code(), Some(7));
    let second = demo(&[]).wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second).contains("nexin demo --down"), "{}", text(&second));
    assert!(nexin().args(["demo", "--down"]).status().unwrap().success());
    check_everything_is_removed();
}

/// Runs a command as a workload with the labels of app2, in a kept demo.
fn run_as_app2(command: &[&str]) -> Output {
    let run =
        ["--socket", "/run/nexin-demo/agent.sock", "run", "--name", "extra", "--label", "id=app2", "--"];
    nexin().args(run).args(command).output().unwrap()
}

fn nexin() -> Command {
    Command::new(env!("CARGO_BIN_EXE_nexin"))
}

fn demo(options: &[&str]) -> Child {
    nexin().arg("demo").args(options).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn await_file(path: &str) {
    await_until(|| Path::new(path).exists(), &format!("{path} does not appear"));
}

fn await_until(holds: impl Fn() -> bool, failure: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "{failure}");
        sleep(Duration::from_millis(2));
    }
}

fn check_everything_is_removed() {
    assert!(!Path::new("/run/nexin-demo").exists());
    // Other agents of the machine set it too, for a moment each.
    await_until(|| fs::read_to_string(RCU_EXPEDITED).unwrap().trim() == "0", "the setting stays");
    assert!(!Path::new("/sys/fs/bpf/nexin/demo").exists());
    for hierarchy in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        assert!(!Path::new(hierarchy).join("nexin/demo").exists());
    }
    let namespaces: Vec<String> =
        names("/run/netns").into_iter().filter(|name| name.starts_with("nexin-demo")).collect();
    assert_eq!(namespaces, [""; 0]);
    let commands = names("/proc")
        .into_iter()
        .filter_map(|process| fs::read_to_string(format!("/proc/{process}/cmdline")).ok());
    let left: Vec<String> =
        commands.filter(|line| line.contains("/run/nexin-demo") || line.contains("demo-server")).collect();
    assert_eq!(left, [""; 0]);
}

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
