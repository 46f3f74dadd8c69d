//! Many workloads that end at once.

use crate::case::{Recorder, scaled};
use crate::node::Node;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use workload::NetworkNamespace;

/// How many workloads at full scale.
const WORKLOADS: usize = 1_000;
/// How often the state is read.
const POLL: Duration = Duration::from_millis(10);
/// Maps with a row for each workload.
const MAPS: [&str; 2] = ["NX_ADDRESSES", "NX_ENDPOINTS"];

/// The processes that workloads end with.
pub(crate) struct Owners(Vec<Child>);

impl Owners {
    /// Makes workloads, each with a process of its own; returns how long a workload took on average.
    pub(crate) fn start(node: &Node, count: usize) -> Result<(Self, Duration)> {
        let sleep =
            || Command::new("sleep").arg("1000000").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let owners = Self((0..count).map(|_| sleep()).collect::<Result<_, _>>()?);
        let began = Instant::now();
        for (number, owner) in owners.0.iter().enumerate() {
            node.workload(&format!("w{number}"), owner.id())?;
        }
        Ok((owners, began.elapsed() / count as u32))
    }
}

/// The owners of all workloads are killed together.
pub(crate) fn end(node: &mut Node, scale: f64, record: &mut Recorder<'_>) -> Result<()> {
    let count = scaled(WORKLOADS, scale);
    node.start()?;
    let before = rows(node)?;
    let (mut owners, average) = Owners::start(node, count)?;
    record("making a workload, on average", average.as_secs_f64() * 1e3);
    let began = Instant::now();
    owners.0.iter_mut().try_for_each(Child::kill)?;
    owners.0.iter_mut().try_for_each(|owner| owner.wait().map(drop))?;
    let is_over = AtomicBool::new(false);
    let slowest = thread::scope(|scope| {
        let polled = scope.spawn(|| slowest_status(node, &is_over));
        let mut wait = || {
            while rows(node)? > before {
                thread::sleep(POLL);
            }
            record("endpoint and address rows gone", began.elapsed().as_secs_f64());
            while !is_clean(node)? {
                thread::sleep(POLL);
            }
            record("namespaces, interfaces and groups gone", began.elapsed().as_secs_f64());
            anyhow::Ok(())
        };
        let waited = wait();
        is_over.store(true, Ordering::Relaxed);
        waited.and(polled.join().expect("polling does not panic"))
    });
    record("slowest status meanwhile", slowest?.as_secs_f64() * 1e3);
    Ok(())
}

fn slowest_status(node: &Node, is_over: &AtomicBool) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    while !is_over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        node.status()?;
        slowest = slowest.max(asked.elapsed());
        thread::sleep(POLL);
    }
    Ok(slowest)
}

/// How many entries the maps of workloads have, whatever the release's layout.
fn rows(node: &Node) -> Result<usize> {
    let directory = loader::pin_directory(&node.instance);
    let layouts =
        fs::read_dir(&directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    let maps = layouts.iter().flat_map(|layout| MAPS.map(|map| layout.join(map)));
    let mut known = maps.filter(|path| path.exists()).peekable();
    known.peek().with_context(|| format!("no maps are pinned under {}", directory.display()))?;
    known.try_fold(0, |sum, path| Ok(sum + loader::inspect::count_entries(&path)?))
}

/// Whether no network namespace, interface or control group of a workload is left.
fn is_clean(node: &Node) -> Result<bool> {
    let interfaces = fs::read_to_string("/proc/net/dev")?;
    let is_workloads = |line: &str| {
        line.trim_start()
            .strip_prefix("nx")
            .is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
    };
    let groups = PathBuf::from("/sys/fs/cgroup/nexin").join(&node.instance);
    let mut groups = fs::read_dir(groups).into_iter().flatten().flatten();
    Ok(NetworkNamespace::names()?.is_empty()
        && !interfaces.lines().any(is_workloads)
        && !groups.any(|entry| entry.path().is_dir()))
}
