//! The record of the proxy's process, by which an agent adopts the proxy of an earlier one.

use crate::limits::ProxyLimits;
use crate::paths::Paths;
use crate::proxy_search;
use crate::state::Process;
use crate::storage;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::time::{Duration, Instant};
use workload::NodeGroup;

/// How long a killed process may take to end.
const END: Duration = Duration::from_secs(1);

/// A proxy, and what it was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedProxy {
    /// Its process.
    pub(crate) process: Process,
    /// The port that it listens at.
    pub(crate) port: u16,
    /// Layout of the maps that it reads.
    pub(crate) layout: u32,
    /// Its limits.
    #[serde(default)]
    pub(crate) limits: ProxyLimits,
}

impl RecordedProxy {
    /// Records the proxy on disk.
    pub(crate) fn save(&self, paths: &Paths) -> Result<(), String> {
        let path = paths.proxy();
        let bytes = serde_json::to_vec(self).map_err(io::Error::other);
        let written = bytes.and_then(|bytes| storage::replace(&path, &bytes));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// Kills the proxy, and waits a while for its end.
    pub(crate) fn end(&self) -> anyhow::Result<()> {
        kill(self.process)?;
        let until = Instant::now() + END;
        while !self.process.has_ended() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Kills a process; one that has ended already is no error.
pub(crate) fn kill(process: Process) -> anyhow::Result<()> {
    let process = i32::try_from(process.process).ok().and_then(Pid::from_raw);
    match kill_process(process.context("an invalid process number")?, Signal::KILL) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        result => Ok(result?),
    }
}

/// Ends the proxies of the agent with these paths, and removes their control groups.
pub(crate) fn end(paths: &Paths) -> anyhow::Result<()> {
    for proxy in running(paths) {
        let group = NodeGroup::of_process(proxy.process.process, &paths.proxy_group());
        proxy.end()?;
        // Without the node's process numbers the group cannot be found.
        group.map_or(Ok(()), |group| group.remove())?;
    }
    Ok(())
}

/// The running proxies of the agent with these paths: the recorded one first, then the others.
pub(crate) fn running(paths: &Paths) -> Vec<RecordedProxy> {
    let mut running: Vec<RecordedProxy> = recorded(paths).into_iter().collect();
    for found in proxy_search::find(paths) {
        if running.iter().all(|known| known.process != found.process) {
            // Another executable may read maps of another layout; no layout has this number.
            let layout = if found.is_same_program { abi::LAYOUT } else { u32::MAX };
            running.push(RecordedProxy {
                process: found.process,
                port: found.port,
                layout,
                limits: found.limits,
            });
        }
    }
    running
}

/// The recorded proxy, if it runs; an invalid record counts as none.
pub(crate) fn recorded(paths: &Paths) -> Option<RecordedProxy> {
    let file = paths.proxy();
    let bytes = match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "the record of the proxy cannot be read");
            return None;
        }
        Ok(bytes) => bytes,
    };
    let running: Option<RecordedProxy> = serde_json::from_slice(&bytes).ok();
    running.filter(|running| !running.process.has_ended())
}
