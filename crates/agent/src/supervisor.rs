//! Supervises the proxy's process: starts it, adopts it after a restart of the agent, and restarts it when it ends.

use crate::confinement::ConfinementReport;
use crate::limits::ProxyLimits;
use crate::paths::Paths;
use crate::proxy_search;
use crate::state::Process;
use crate::storage::{self, DeviceInode};
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a proxy may take to listen.
const START: Duration = Duration::from_secs(5);

/// The supervisor of the node's proxy.
#[derive(Debug)]
pub(crate) struct Supervisor {
    paths: Paths,
    port: u16,
    limits: ProxyLimits,
    process: Option<Process>,
    /// The child process, if this agent started the proxy; it must be waited for.
    child: Option<Child>,
    /// When this agent started the proxy.
    started: Option<Instant>,
    /// The process, and the directory of rule sets that it reported it may read.
    allowed: Option<(Process, DeviceInode)>,
    /// Whether the process is recorded on disk, or why not.
    recorded: Result<(), String>,
}

/// What the status reports of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct ProxyStatus {
    process: Option<Process>,
    /// When this agent started it.
    started: Option<Instant>,
    /// The file in which it reports its confinement.
    report: PathBuf,
}

impl ProxyStatus {
    /// Process number of the proxy, if it runs.
    pub(crate) fn process(&self) -> Option<u32> {
        self.process.filter(|process| !process.has_ended()).map(|process| process.process)
    }

    /// The confinement steps that failed in the proxy.
    pub(crate) fn notes(&self) -> Vec<String> {
        let Some(process) = self.process() else { return Vec::new() };
        let file = &self.report;
        match ConfinementReport::read(process, file) {
            Some(report) => report.notes().collect(),
            // The proxy has just started.
            None if self.started.is_some_and(|started| started.elapsed() < START) => Vec::new(),
            None => vec![format!(
                "the failed confinement steps of the proxy are unknown: {} is not of process {process}",
                file.display()
            )],
        }
    }
}

impl Supervisor {
    /// Adopts the running proxy of an earlier agent if it has the right port, limits and maps, else ends it. Starts
    /// no proxy.
    ///
    /// The pinned maps must be the packet path's. A proxy that reads other maps, since they were unpinned, is ended.
    pub(crate) fn new(paths: &Paths, (port, limits): (u16, ProxyLimits)) -> anyhow::Result<Self> {
        let maps = loader::inspect::pinned_maps(&paths.pins())?;
        let fits = |running: &RecordedProxy| {
            (running.port, running.layout, running.limits) == (port, abi::LAYOUT, limits)
                && proxy_search::reads_only(running.process, &maps)
        };
        let (mut fitting, others): (Vec<RecordedProxy>, Vec<RecordedProxy>) =
            running(paths)?.into_iter().partition(fits);
        let adopted = (!fitting.is_empty()).then(|| fitting.remove(0));
        others.iter().chain(&fitting).try_for_each(RecordedProxy::end)?;
        let process = adopted.as_ref().map(|running| running.process);
        let mut supervisor = Self {
            paths: paths.clone(),
            port,
            limits,
            process,
            child: None,
            started: None,
            allowed: None,
            recorded: Ok(()),
        };
        if adopted.is_some() && adopted != recorded(paths)? {
            tracing::warn!("the running proxy was not recorded, and was found among the processes");
            supervisor.record();
        }
        Ok(supervisor)
    }

    /// Whether the process is recorded, or why not.
    pub(crate) fn recorded(&self) -> Result<(), &str> {
        self.recorded.as_ref().map(|_| ()).map_err(String::as_str)
    }

    /// Records the proxy's process.
    fn record(&mut self) {
        let Some(process) = self.process else { return };
        let running = RecordedProxy { process, port: self.port, layout: abi::LAYOUT, limits: self.limits };
        let path = self.paths.proxy();
        let bytes = serde_json::to_vec(&running).map_err(std::io::Error::other);
        let written = bytes.and_then(|bytes| storage::replace(&path, &bytes));
        self.recorded = written.map_err(|error| format!("cannot write {}: {error}", path.display()));
    }

    /// Process number of the proxy, if it runs.
    fn process(&self) -> Option<u32> {
        self.status().process()
    }

    /// What the status reports of the proxy.
    pub(crate) fn status(&self) -> ProxyStatus {
        ProxyStatus { process: self.process, started: self.started, report: self.paths.proxy_report() }
    }

    /// Ends a proxy that may read another directory of rule sets than the present one.
    fn end_stranded(&mut self) -> anyhow::Result<()> {
        let Some(process) = self.process.filter(|process| !process.has_ended()) else { return Ok(()) };
        let rule_sets = self.paths.rule_sets();
        let report = ConfinementReport::read(process.process, &self.paths.proxy_report());
        // The report may have been deleted with the directory.
        if let Some(allowed) = report.and_then(|report| report.rule_sets) {
            self.allowed = Some((process, allowed));
        }
        let allowed = self.allowed.filter(|(of, _)| *of == process).map(|(_, allowed)| allowed);
        let current = storage::identity(&rule_sets).ok();
        if allowed.is_some_and(|allowed| current.is_some_and(|current| current != allowed)) {
            tracing::warn!(directory = %rule_sets.display(), "the directory of rule sets was replaced; the proxy is restarted to read it");
            kill(process)?;
        }
        Ok(())
    }

    /// Starts the proxy if it does not run, and waits until it listens.
    pub(crate) fn ensure(&mut self) -> anyhow::Result<()> {
        self.end_stranded()?;
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            tracing::error!(%status, log = %self.paths.proxy_log().display(), "the proxy ended and is restarted");
            self.child = None;
        }
        if self.process().is_some() {
            if self.recorded.is_err() {
                self.record();
            }
            return Ok(());
        }
        let mut child = self.start().context("the proxy could not be started")?;
        match Process::find(child.id())
            .map_err(anyhow::Error::from)
            .and_then(|now| now.context("it ended at once"))
        {
            Ok(process) => {
                (self.child, self.process, self.started) = (Some(child), Some(process), Some(Instant::now()));
            }
            Err(error) => {
                // An unknown proxy would run beside the next one.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(error.context("the proxy could not be started"));
            }
        }
        self.record();
        self.wait_until_it_listens()
    }

    fn start(&self) -> anyhow::Result<Child> {
        // Without a log its output is lost: a proxy on a full or read-only disk must still serve.
        let log = storage::append(&self.paths.proxy_log()).and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_or((Stdio::null(), Stdio::null()), |(out, err)| (out.into(), err.into()));
        // A process group of its own: signals to the agent's group, for instance from a terminal, do not end the
        // proxy.
        Ok(Command::new(std::env::current_exe()?)
            .args(proxy_search::arguments(&self.paths, self.port, &self.limits))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()?)
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if self.process().is_none() || Instant::now() > deadline {
                let log = fs::read_to_string(self.paths.proxy_log()).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it printed nothing").to_string();
                anyhow::bail!("the proxy does not listen at {address}: {last}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        anyhow::ensure!(
            self.process().is_some(),
            "another program listens at {address}; give the proxy another port"
        );
        Ok(())
    }
}

/// A proxy, and what it was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RecordedProxy {
    process: Process,
    port: u16,
    /// Layout of the maps that it reads.
    layout: u32,
    #[serde(default)]
    limits: ProxyLimits,
}

impl RecordedProxy {
    fn end(&self) -> anyhow::Result<()> {
        kill(self.process)
    }
}

fn kill(process: Process) -> anyhow::Result<()> {
    let process = i32::try_from(process.process).ok().and_then(Pid::from_raw);
    match kill_process(process.context("an invalid process number")?, Signal::KILL) {
        // The process has ended already.
        Err(rustix::io::Errno::SRCH) => Ok(()),
        result => Ok(result?),
    }
}

/// Ends the proxies of the agent with these paths.
pub(crate) fn end(paths: &Paths) -> anyhow::Result<()> {
    running(paths)?.iter().try_for_each(RecordedProxy::end)
}

/// The running proxies of the agent with these paths: the recorded one first, then the others.
fn running(paths: &Paths) -> anyhow::Result<Vec<RecordedProxy>> {
    let mut running: Vec<RecordedProxy> = recorded(paths)?.into_iter().collect();
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
    Ok(running)
}

/// The recorded proxy, if it runs; an invalid record counts as none.
fn recorded(paths: &Paths) -> anyhow::Result<Option<RecordedProxy>> {
    let file = paths.proxy();
    let bytes = match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "the record of the proxy cannot be read");
            return Ok(None);
        }
        Ok(bytes) => bytes,
    };
    let running: Option<RecordedProxy> = serde_json::from_slice(&bytes).ok();
    Ok(running.filter(|running| !running.process.has_ended()))
}
