//! Supervises the proxy's process on a thread of its own, and publishes how the proxy is.

use crate::confinement::ConfinementReport;
use crate::feed::Feed;
use crate::limits::ProxyLimits;
use crate::paths::Paths;
use crate::problems::{Problem, Problems, message};
use crate::proxy_keeper::{Health, ProxyKeeper, START};
use flow::LostSource;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a proxy is checked, and a start that failed is retried.
const CHECK: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(500);
/// The time until a proxy that is ending is looked at again.
const ENDING: Duration = Duration::from_millis(10);
/// A proxy that ended sooner after its start than this is not started again at once.
const SETTLED: Duration = Duration::from_secs(1);

/// The failures, as status and log name them.
const PROXY: Problem = Problem::new(
    "the proxy does not run, and connections that policy redirects to it wait",
    "its log may say why; the agent starts it twice a second until it serves",
);
const HEALTH: Problem = Problem::new(
    "the proxy does not answer, and connections that policy redirects to it wait",
    "if that lasts, it is killed and started again",
);
const RECORD: Problem = Problem::new(
    "the proxy's process is not recorded; the next agent searches for it",
    "free space on the disk or make it writable; the agent writes again until that succeeds",
);

/// The supervisor of the node's proxy. Dropping it ends the supervision, and not the proxy.
#[derive(Debug)]
pub(crate) struct Supervisor {
    paths: Paths,
    published: Arc<Mutex<ProxyState>>,
    stop: Arc<OwnedFd>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How the proxy is.
#[derive(Debug, Default)]
struct ProxyState {
    process: Option<u32>,
    started: Option<Instant>,
    /// Whether a start is under way.
    is_starting: bool,
    /// Whether a start was tried, or a proxy adopted.
    is_settled: bool,
    /// Why the proxy ends with the agent's pod, if it does.
    ends_with_pod: Option<String>,
    /// Whether it runs another program than this agent.
    is_of_other_program: bool,
}

impl Supervisor {
    /// Adopts the running proxy of an earlier agent, or ends it, as [`ProxyKeeper::new`] does; a thread then keeps a proxy
    /// running.
    pub(crate) fn start(
        paths: &Paths,
        settings: (u16, ProxyLimits),
        (feed, problems): (&Arc<Feed>, &Problems),
    ) -> anyhow::Result<Self> {
        let keeper = ProxyKeeper::new(paths, settings)?;
        let published = Arc::default();
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (problems, shared, stopped) = (problems.clone(), Arc::clone(&published), Arc::clone(&stop));
        let feed = Arc::clone(feed);
        let supervision = Supervision { keeper, feed, problems, published: shared, stop: stopped };
        let thread = thread::Builder::new().name("supervisor".into()).spawn(move || supervision.run())?;
        Ok(Self { paths: paths.clone(), published, stop, thread: Mutex::new(Some(thread)) })
    }

    /// Waits until a proxy serves, or could not be started.
    pub(crate) fn wait_for_first(&self) {
        let until = Instant::now() + START;
        while !self.published().is_settled && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Process number of the proxy, if it runs.
    pub(crate) fn process(&self) -> Option<u32> {
        self.published().process
    }

    /// What is wrong with the supervision, and a start that is under way.
    pub(crate) fn problems(&self) -> Vec<String> {
        let is_starting = self.published().is_starting.then(|| format!("{}: it is starting", PROXY.what()));
        let is_over = self.thread().as_ref().is_none_or(JoinHandle::is_finished);
        let over = is_over.then(|| "the proxy is not supervised any more; restart the agent".to_owned());
        is_starting.into_iter().chain(over).collect()
    }

    /// The confinement steps that failed in the proxy, why it ends with the agent's pod, and whether it is of another
    /// release.
    pub(crate) fn notes(&self) -> Vec<String> {
        let (process, started, ends_with_pod, is_of_other_program) = {
            let state = self.published();
            (state.process, state.started, state.ends_with_pod.clone(), state.is_of_other_program)
        };
        let Some(process) = process else { return Vec::new() };
        let mut notes = self.confinement(process, started);
        notes.extend(ends_with_pod.map(|why| {
            format!("the proxy ends with the agent's pod, and open HTTP connections with the proxy: {why}")
        }));
        notes.extend(is_of_other_program.then(|| {
            format!(
                "the proxy (process {process}) runs the program of an earlier agent, and serves on: an upgrade cuts no connection; \
                 to replace it, end it on this node (kill {process}): the agent starts its own within a second, and open HTTP \
                 connections with the proxy are cut"
            )
        }));
        notes
    }

    fn confinement(&self, process: u32, started: Option<Instant>) -> Vec<String> {
        let file = self.paths.proxy_report();
        match ConfinementReport::read(process, &file) {
            Some(report) => report.notes().collect(),
            // The proxy has just started.
            None if started.is_some_and(|started| started.elapsed() < START) => Vec::new(),
            None => vec![format!(
                "the failed confinement steps of the proxy are unknown: {} is not of process {process}",
                file.display()
            )],
        }
    }

    /// Ends the supervision, and not the proxy.
    pub(crate) fn end(&self) {
        // The counter cannot overflow by one.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        let thread = self.thread().take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn published(&self) -> MutexGuard<'_, ProxyState> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread of a supervisor.
struct Supervision {
    keeper: ProxyKeeper,
    feed: Arc<Feed>,
    problems: Problems,
    published: Arc<Mutex<ProxyState>>,
    stop: Arc<OwnedFd>,
}

impl Supervision {
    /// Keeps a proxy running until the supervisor is dropped.
    fn run(mut self) {
        let mut rest = None;
        loop {
            let next = match self.step(rest) {
                Ok(next) => {
                    self.problems.note(PROXY, Ok::<(), String>(()));
                    next
                }
                Err(error) => {
                    self.problems.note(PROXY, Err(message(error)));
                    RETRY
                }
            };
            self.feed.report_lost(LostSource::Proxy, self.keeper.take_unreported());
            self.publish(false);
            let end = self.keeper.end_of_process();
            if wait(&self.stop, end.as_ref(), next) {
                return;
            }
            let age = self.keeper.started().map(|started| started.elapsed());
            rest = age.filter(|age| *age < SETTLED).map(|_| RETRY);
        }
    }

    /// Checks the proxy, and starts one if none runs; `rest` is a pause before. Returns the time until the next step.
    fn step(&mut self, rest: Option<Duration>) -> anyhow::Result<Duration> {
        self.keeper.end_stranded()?;
        if self.keeper.note_end()? && rest.is_some_and(|rest| wait(&self.stop, None, rest)) {
            return Ok(Duration::ZERO);
        }
        if self.keeper.is_vacant() {
            self.publish(!self.problems.has(PROXY));
            let stop = Arc::clone(&self.stop);
            let replaces = self.keeper.start(|| !wait(&stop, None, Duration::from_millis(2)))?;
            // Read now which directory it may read: its report may be deleted with the directory before the next step.
            self.keeper.end_stranded()?;
            if let Some(why) = replaces {
                self.problems.note_repair(format!("the proxy was started again: {why}"));
            }
        } else {
            self.keeper.record_if_needed();
        }
        let health = self.keeper.check().map_err(message);
        let problem = match health {
            Ok(Health::Good) => Ok(()),
            Ok(Health::Late(late)) => Err(late),
            // The next one is started at once.
            Ok(Health::Killed) => Ok(()),
            Err(error) => Err(format!("its heartbeats cannot be read: {error}")),
        };
        self.problems.note(HEALTH, problem);
        self.problems.note(RECORD, self.keeper.recorded());
        Ok(match (self.keeper.is_vacant(), self.keeper.process()) {
            (true, _) => Duration::ZERO,
            // It ended since it was looked at, or its last thread will soon.
            (false, None) => ENDING,
            (false, Some(_)) => CHECK,
        })
    }

    fn publish(&self, is_starting: bool) {
        let (process, started) = (self.keeper.process(), self.keeper.started());
        let mut state = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        (state.process, state.started) = (process.map(|process| process.process), started);
        state.is_starting = is_starting;
        state.is_of_other_program = self.keeper.is_of_other_program();
        state.ends_with_pod = self.keeper.outlives_pod().err().map(str::to_owned);
        state.is_settled |= process.is_some() || self.problems.has(PROXY);
    }
}

/// Waits for the end of a process, at most for a time; true where the supervisor was dropped.
fn wait(stop: &OwnedFd, end: Option<&OwnedFd>, time: Duration) -> bool {
    let descriptors = [Some(stop), end].into_iter().flatten();
    let mut events: Vec<PollFd<'_>> =
        descriptors.map(|descriptor| PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::IN)).collect();
    let time = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
    // An interrupted wait is a short one.
    let _ = poll(&mut events, Some(&time));
    !events[0].revents().is_empty()
}
