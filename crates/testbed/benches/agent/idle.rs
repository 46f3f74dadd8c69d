//! A node on which nothing changes.

use crate::case::{Recorder, scaled};
use crate::endings::Owners;
use crate::node::{Node, cpu_time};
use crate::policies;
use anyhow::Result;
use std::thread;
use std::time::Duration;

/// How many workloads and policy files at full scale.
const WORKLOADS: usize = 500;
const FILES: usize = 5_000;
/// Before it is measured, work that was postponed may end.
const SETTLE: Duration = Duration::from_secs(5);
/// How long it is measured.
const TIME: Duration = Duration::from_secs(25);

/// The CPU time of agent and proxy while nothing changes.
pub(crate) fn idle(node: &mut Node, scale: f64, record: &mut Recorder<'_>) -> Result<()> {
    policies::write_files(&node.policies(), scaled(FILES, scale))?;
    node.start()?;
    let (_owners, _) = Owners::start(node, scaled(WORKLOADS, scale))?;
    let proxy = node.proxy()?;
    thread::sleep(SETTLE);
    let times = || anyhow::Ok([cpu_time(node.agent()?)?, cpu_time(proxy)?]);
    let before = times()?;
    thread::sleep(TIME);
    let after = times()?;
    for (name, index) in [("CPU of the agent", 0), ("CPU of the proxy", 1)] {
        record(name, (after[index] - before[index]).as_secs_f64() / TIME.as_secs_f64() * 100.0);
    }
    Ok(())
}
