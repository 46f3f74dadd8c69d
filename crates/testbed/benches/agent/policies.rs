//! Many policies: as files of the watched directory, and as one file that is applied.

use crate::case::{Recorder, scaled};
use crate::node::{Node, cpu_time};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How many policies at full scale.
const POLICIES: usize = 5_000;
/// The time between two requests for the status.
const POLL: Duration = Duration::from_millis(10);

/// A policy with its own subject and its own peer.
pub(crate) fn policy(number: usize) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: policy-{number}}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: server-{number}}}}}\n  ingress:\n  - fromEndpoints:\n    - matchLabels: \
         {{app: client-{number}}}\n    toPorts:\n    - ports: [{{port: \"80\", protocol: TCP}}]\n"
    )
}

/// Writes policies as files of a directory.
pub(crate) fn write_files(directory: &Path, count: usize) -> Result<()> {
    fs::create_dir_all(directory)?;
    (0..count)
        .try_for_each(|number| Ok(fs::write(directory.join(format!("p{number}.yaml")), policy(number))?))
}

/// Files are copied into the watched directory.
pub(crate) fn files(node: &mut Node, scale: f64, record: &mut Recorder<'_>) -> Result<()> {
    let count = scaled(POLICIES, scale);
    let staged = node.directory.join("staged");
    write_files(&staged, count)?;
    node.start()?;
    let before = cpu_time(node.agent()?)?;
    let is_over = AtomicBool::new(false);
    let (copied, seen) = thread::scope(|scope| {
        let polled = scope.spawn(|| poll(node, count, &is_over));
        let copied = copy(&staged, &node.policies());
        if copied.is_err() {
            is_over.store(true, Ordering::Relaxed);
        }
        (copied, polled.join().expect("polling does not panic"))
    });
    let (copied, (seen, slowest)) = (copied?, seen?);
    record("all in force after the copy", seen.saturating_duration_since(copied).as_secs_f64());
    record("slowest status meanwhile", slowest.as_secs_f64() * 1e3);
    // The agent may still write copies of the files.
    thread::sleep(Duration::from_secs(1));
    record("CPU time of the agent", (cpu_time(node.agent()?)? - before).as_secs_f64());
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<Instant> {
    let copied = Command::new("cp").arg("-r").arg(from.join(".")).arg(to).status()?;
    ensure!(copied.success(), "cp: {copied}");
    Ok(Instant::now())
}

/// Asks for the status until so many policies are in force: when, and the slowest answer.
fn poll(node: &Node, count: usize, is_over: &AtomicBool) -> Result<(Instant, Duration)> {
    let mut slowest = Duration::ZERO;
    loop {
        let asked = Instant::now();
        let policies = node.status()?["policies"].as_u64();
        slowest = slowest.max(asked.elapsed());
        if policies == Some(count as u64) || is_over.load(Ordering::Relaxed) {
            return Ok((Instant::now(), slowest));
        }
        thread::sleep(POLL);
    }
}

/// One file with many policies is applied.
pub(crate) fn apply(node: &mut Node, scale: f64, record: &mut Recorder<'_>) -> Result<()> {
    let count = scaled(POLICIES, scale);
    let mut text = String::new();
    for number in 0..count {
        write!(text, "---\n{}", policy(number))?;
    }
    let file = node.directory.join("many.yaml");
    fs::write(&file, &text)?;
    node.start()?;
    let before = size(&node.state())?;
    record("apply", node.apply(&file)?.as_secs_f64());
    let taken = size(&node.state())? - before;
    record("on disk, times the file", taken as f64 / text.len() as f64);
    node.stop("-TERM")?;
    let started = node.start()?;
    let policies = node.status()?["policies"].as_u64().context("a status counts policies")?;
    ensure!(policies == count as u64, "{policies} policies are in force after the start");
    record("next start until ready", started.as_secs_f64());
    Ok(())
}

/// How many bytes the files of a directory have.
fn size(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let status = entry.metadata()?;
        bytes += if status.is_dir() { size(&entry.path())? } else { status.len() };
    }
    Ok(bytes)
}
