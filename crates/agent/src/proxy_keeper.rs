//! Keeps one proxy running: adopts it, starts it, and replaces it when it ends or does not answer.

use crate::confinement::ConfinementReport;
use crate::heartbeats::Heartbeats;
use crate::limits::ProxyLimits;
use crate::paths::Paths;
use crate::proxy_handover::{self, ProxyListeners};
use crate::proxy_record::{RecordedProxy, kill, recorded, running};
use crate::proxy_search;
use crate::state::Process;
use crate::storage::{self, DeviceInode};
use anyhow::Context;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use workload::{NodeGroup, NodeGroupError};

/// How long a proxy may take to serve.
pub(crate) const START: Duration = Duration::from_secs(5);
/// The age at which a heartbeat is late.
const LATE: Duration = Duration::from_secs(1);
/// How many checks in a row may find a late heartbeat before the proxy is replaced.
const CHECKS: u32 = 3;

/// The proxy of a node, as its keeper knows it.
#[derive(Debug)]
pub(crate) struct ProxyKeeper {
    paths: Paths,
    port: u16,
    limits: ProxyLimits,
    proxy: Option<KeptProxy>,
    /// Requests that proxies had not reported when they ended.
    unreported: u64,
    /// Children that were killed and have not ended yet: a process ends only once its last system call returns.
    killed: Vec<Child>,
    /// The listeners, also while no proxy runs; empty before the first start.
    listeners: ProxyListeners,
    /// The process, and the directory of rule sets that it reported it may read.
    allowed: Option<(Process, DeviceInode)>,
    /// Whether the process is recorded on disk, or why not.
    recorded: Result<(), String>,
    /// Why the next proxy replaces the one before.
    replaces: Option<String>,
    /// Whether the latest proxy that this agent started outlives the agent's pod, if there is a pod, or why not.
    outlives_pod: Result<(), String>,
    /// Whether the proxy is one of an earlier agent that ran another program, such as the release before.
    is_of_other_program: bool,
}

/// A running proxy.
#[derive(Debug)]
struct KeptProxy {
    process: Process,
    /// The child process, if this agent started the proxy; it must be waited for.
    child: Option<Child>,
    started: Instant,
    heartbeats: Heartbeats,
    /// How many checks in a row found a late heartbeat.
    late: u32,
}

/// How a proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// All its threads answer.
    Good,
    /// A thread is late.
    Late(String),
    /// It did not answer several checks in a row, and was killed.
    Killed,
}

impl ProxyKeeper {
    /// Adopts the running proxy of an earlier agent if it has the right port, limits and maps, and reports heartbeats, else
    /// ends it. Starts no proxy.
    ///
    /// The pinned maps must be the packet path's. A proxy that reads other maps, since they were unpinned, is ended. So is a
    /// proxy of an earlier release without heartbeats, whose health would be unknown. Its listeners are kept.
    pub(crate) fn new(paths: &Paths, (port, limits): (u16, ProxyLimits)) -> anyhow::Result<Self> {
        let maps = loader::inspect::pinned_maps(&paths.pins())?;
        let mut keeper = Self {
            paths: paths.clone(),
            port,
            limits,
            proxy: None,
            unreported: 0,
            killed: Vec::new(),
            listeners: ProxyListeners::default(),
            allowed: None,
            recorded: Ok(()),
            replaces: None,
            outlives_pod: Ok(()),
            is_of_other_program: false,
        };
        for running in running(paths) {
            let fits = (running.port, running.layout, running.limits) == (port, abi::LAYOUT, limits)
                && proxy_search::reads_only(running.process, &maps);
            let heartbeats = Heartbeats::of_process(running.process.process);
            if keeper.listeners.is_empty() && running.port == port {
                keeper.listeners = ProxyListeners::of_process(running.process.process, port);
            }
            let is_vacant = keeper.proxy.is_none();
            match heartbeats {
                Some(heartbeats) if fits && is_vacant => keeper.adopt(running.process, heartbeats),
                other => {
                    running.end()?;
                    keeper.unreported += other.as_ref().map_or(0, unreported);
                }
            }
        }
        if let Some(process) = keeper.process()
            && recorded(paths).map(|known| known.process) != Some(process)
        {
            tracing::warn!("the running proxy was not recorded, and was found among the processes");
            keeper.record();
        }
        Ok(keeper)
    }

    fn adopt(&mut self, process: Process, heartbeats: Heartbeats) {
        self.is_of_other_program = !proxy_search::runs_this_program(process);
        self.proxy = Some(KeptProxy { process, child: None, started: Instant::now(), heartbeats, late: 0 });
    }

    /// The proxy's process, if it runs.
    pub(crate) fn process(&self) -> Option<Process> {
        self.proxy.as_ref().map(|proxy| proxy.process).filter(|process| !process.has_ended())
    }

    /// Whether there is no proxy, not even one whose end was not noted yet.
    pub(crate) fn is_vacant(&self) -> bool {
        self.proxy.is_none()
    }

    /// A descriptor that is readable once the proxy has ended; none if no proxy runs.
    pub(crate) fn end_of_process(&self) -> Option<OwnedFd> {
        let process = self.process()?;
        let pid = i32::try_from(process.process).ok().and_then(Pid::from_raw)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // The number may belong to another process by now.
        (!process.has_ended()).then_some(descriptor)
    }

    /// When this agent started or adopted the proxy.
    pub(crate) fn started(&self) -> Option<Instant> {
        self.proxy.as_ref().map(|proxy| proxy.started)
    }

    /// Whether the process is recorded, or why not.
    pub(crate) fn recorded(&self) -> Result<(), &str> {
        self.recorded.as_ref().map(|_| ()).map_err(String::as_str)
    }

    /// Whether the proxy outlives the agent's pod, if there is a pod, or why not.
    pub(crate) fn outlives_pod(&self) -> Result<(), &str> {
        self.outlives_pod.as_ref().map(|_| ()).map_err(String::as_str)
    }

    /// Whether the proxy that runs is one of an earlier agent that ran another program.
    pub(crate) fn is_of_other_program(&self) -> bool {
        self.is_of_other_program
    }

    /// Records the proxy's process, unless it is recorded.
    pub(crate) fn record_if_needed(&mut self) {
        if self.recorded.is_err() {
            self.record();
        }
    }

    fn record(&mut self) {
        let Some(process) = self.process() else { return };
        let running = RecordedProxy { process, port: self.port, layout: abi::LAYOUT, limits: self.limits };
        self.recorded = running.save(&self.paths);
    }

    /// Ends a proxy that may read another directory of rule sets than the present one.
    pub(crate) fn end_stranded(&mut self) -> anyhow::Result<()> {
        let Some(process) = self.process() else { return Ok(()) };
        let rule_sets = self.paths.rule_sets();
        let report = ConfinementReport::read(process.process, &self.paths.proxy_report());
        // The report may have been deleted with the directory.
        if let Some(allowed) = report.and_then(|report| report.rule_sets) {
            self.allowed = Some((process, allowed));
        }
        let allowed = self.allowed.filter(|(of, _)| *of == process).map(|(_, allowed)| allowed);
        let current = storage::identity(&rule_sets).ok();
        if allowed.is_some_and(|allowed| current.is_some_and(|current| current != allowed)) {
            let directory = rule_sets.display();
            self.replaces = Some(format!("{directory} was replaced, and the one before could not read it"));
            tracing::warn!(%directory, "the directory of rule sets was replaced; the proxy is restarted to read it");
            kill(process)?;
        }
        Ok(())
    }

    /// Checks the heartbeats of a running proxy; kills and forgets the proxy when several checks in a row found a late one.
    ///
    /// A killed process runs no instruction of its own any more, so the next proxy need not wait for its end.
    pub(crate) fn check(&mut self) -> anyhow::Result<Health> {
        let Some(proxy) = &mut self.proxy else { return Ok(Health::Good) };
        let late = proxy.heartbeats.late(LATE)?;
        // Nothing is wrong with a thread that did not beat yet.
        let is_new = proxy.started.elapsed() < LATE;
        let late: Vec<String> = late
            .into_iter()
            .filter(|late| !is_new || late.since.is_some())
            .map(|late| late.to_string())
            .collect();
        if late.is_empty() {
            proxy.late = 0;
            return Ok(Health::Good);
        }
        proxy.late += 1;
        let late = late.join(", ");
        if proxy.late < CHECKS {
            return Ok(Health::Late(late));
        }
        tracing::error!(
            process = proxy.process.process,
            late,
            "the proxy does not answer; it is killed and started again"
        );
        self.replaces = Some(format!("the one before did not answer {CHECKS} checks in a row: {late}"));
        kill(proxy.process)?;
        let forgotten = self.forget();
        self.killed.extend(forgotten.and_then(|proxy| proxy.child));
        Ok(Health::Killed)
    }

    /// Forgets a proxy that ended; true where it ended since the last call.
    pub(crate) fn note_end(&mut self) -> anyhow::Result<bool> {
        self.killed.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        let Some(proxy) = &mut self.proxy else { return Ok(false) };
        let log = self.paths.proxy_log();
        let how = match &mut proxy.child {
            Some(child) => child.try_wait()?.map(|status| status.to_string()),
            None => proxy.process.has_ended().then(|| "it was started by an earlier agent".to_owned()),
        };
        let Some(how) = how else { return Ok(false) };
        tracing::error!(status = how, log = %log.display(), "the proxy ended and is restarted");
        self.replaces
            .get_or_insert_with(|| format!("the one before ended: {how}; its log is {}", log.display()));
        self.forget();
        Ok(true)
    }

    /// Forgets the proxy, which runs no instruction any more. What it had not reported is lost.
    fn forget(&mut self) -> Option<KeptProxy> {
        let proxy = self.proxy.take()?;
        self.unreported += unreported(&proxy.heartbeats);
        Some(proxy)
    }

    /// Takes the number of requests that were lost with proxies since the last call.
    pub(crate) fn take_unreported(&mut self) -> u64 {
        std::mem::take(&mut self.unreported)
    }

    /// Starts a proxy, and waits until it serves; `pause` waits for a moment, and returns false to give up. Returns why the
    /// proxy replaces another one, if it does.
    pub(crate) fn start(&mut self, mut pause: impl FnMut() -> bool) -> anyhow::Result<Option<String>> {
        const FAILED: &str = "the proxy could not be started";
        if self.listeners.is_empty() {
            let workers = thread::available_parallelism().map_or(1, NonZero::get);
            self.listeners = ProxyListeners::open(self.port, workers)?;
        }
        // One thread for each listener, and the main thread.
        let heartbeats = Heartbeats::new(self.listeners.v4.len() + 1).context(FAILED)?;
        let mut child = self.spawn(&heartbeats).context(FAILED)?;
        let found = Process::find(child.id()).map_err(anyhow::Error::from);
        match found.and_then(|process| process.context("it ended at once")) {
            Ok(process) => {
                let (child, started) = (Some(child), Instant::now());
                self.proxy = Some(KeptProxy { process, child, started, heartbeats, late: 0 });
                self.is_of_other_program = false;
            }
            Err(error) => {
                // An unknown proxy would run beside the next one.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(error.context(FAILED));
            }
        }
        self.record();
        self.wait_until_it_serves(&mut pause)?;
        Ok(self.replaces.take())
    }

    fn spawn(&mut self, heartbeats: &Heartbeats) -> anyhow::Result<Child> {
        // Without a log its output is lost: a proxy on a full or read-only disk must still serve.
        let log = storage::append(&self.paths.proxy_log()).and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_or((Stdio::null(), Stdio::null()), |(out, err)| (out.into(), err.into()));
        let mut command = Command::new(std::env::current_exe()?);
        // A process group of its own: signals to the agent's group, for instance from a terminal, do not end the
        // proxy.
        command
            .args(proxy_search::arguments(&self.paths, self.port, &self.limits))
            .stdin(proxy_handover::send(&self.listeners, heartbeats)?)
            .stdout(out)
            .stderr(err)
            .process_group(0);
        self.outlives_pod = leave_pod(&mut command, &self.paths).map_err(|error| error.to_string());
        Ok(command.spawn()?)
    }

    fn wait_until_it_serves(&mut self, pause: &mut impl FnMut() -> bool) -> anyhow::Result<()> {
        let Some(proxy) = &mut self.proxy else { return Ok(()) };
        while proxy.heartbeats.late(START)?.iter().any(|late| late.since.is_none()) {
            let ended = proxy.child.as_mut().map_or(Ok(None), Child::try_wait)?;
            if ended.is_some() || proxy.started.elapsed() > START {
                let what = ended.map_or_else(
                    || format!("it does not serve after {} s", START.as_secs()),
                    |status| format!("it ended as it started ({status})"),
                );
                if ended.is_some() {
                    self.forget();
                }
                let file = self.paths.proxy_log();
                let log = fs::read_to_string(&file).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it printed nothing").to_string();
                anyhow::bail!("{what}, and its log {} ends in: {last}", file.display());
            }
            if !pause() {
                break;
            }
        }
        Ok(())
    }
}

/// Lets a command start in a control group of the node, if the agent is in a pod: a container runtime and the kubelet kill
/// all processes in the pod's groups.
fn leave_pod(command: &mut Command, paths: &Paths) -> Result<(), NodeGroupError> {
    let Some(group) = NodeGroup::beside_pods(&paths.proxy_group())? else { return Ok(()) };
    group.create()?;
    group.enter_on_start(command)
}

/// How many requests the threads of an ended proxy have not reported.
fn unreported(heartbeats: &Heartbeats) -> u64 {
    heartbeats.unreported().unwrap_or_else(|error| {
        tracing::warn!(%error, "requests that were lost with the proxy cannot be counted");
        0
    })
}
