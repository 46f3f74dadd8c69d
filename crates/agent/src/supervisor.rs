//! Supervises the proxy's process on a thread of its own, and publishes how the proxy is.

use crate::confinement::ConfinementReport;
use crate::limits::ProxyLimits;
use crate::paths::Paths;
use crate::problems::{Problems, message};
use crate::proxy_keeper::{Health, ProxyKeeper, START};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a proxy is checked, and a start that failed is retried.
const CHECK: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(500);
/// A proxy that ended sooner after its start than this is not started again at once.
const SETTLED: Duration = Duration::from_secs(1);
/// How long the status mentions that a proxy was replaced.
const FRESH: Duration = Duration::from_secs(600);

/// The failures, as status and log name them.
const PROXY: &str = "the proxy does not run, and connections that policy redirects to it wait";
const HEALTH: &str = "the proxy does not answer, and connections that policy redirects to it wait";
const RECORD: &str = "the proxy's process is not recorded; the next agent searches for it";

/// The supervisor of the node's proxy. Dropping it ends the supervision, and not the proxy.
#[derive(Debug)]
pub(crate) struct Supervisor {
    paths: Paths,
    published: Arc<Mutex<ProxyState>>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// How the proxy is.
#[derive(Debug, Default)]
struct ProxyState {
    process: Option<u32>,
    started: Option<Instant>,
    problems: Problems,
    /// When and why the proxy replaced the one before.
    replaced: Option<(Instant, String)>,
    /// Whether a start was tried, or a proxy adopted.
    is_settled: bool,
}

impl Supervisor {
    /// Adopts the running proxy of an earlier agent, or ends it, as [`ProxyKeeper::new`] does; a thread then keeps a proxy
    /// running.
    pub(crate) fn start(paths: &Paths, settings: (u16, ProxyLimits)) -> anyhow::Result<Self> {
        let keeper = ProxyKeeper::new(paths, settings)?;
        let published = Arc::default();
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let supervision = Supervision { keeper, published: Arc::clone(&published), stop: Arc::clone(&stop) };
        let thread = thread::Builder::new().name("supervisor".into()).spawn(move || supervision.run())?;
        Ok(Self { paths: paths.clone(), published, stop, thread: Some(thread) })
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

    /// What is wrong with the proxy.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.published().problems.messages().collect();
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            problems.push("the proxy is not supervised any more; restart the agent".into());
        }
        problems
    }

    /// The confinement steps that failed in the proxy, and why it replaced another one.
    pub(crate) fn notes(&self) -> Vec<String> {
        let (process, started, replaced) = {
            let state = self.published();
            (state.process, state.started, state.replaced.clone())
        };
        let mut notes: Vec<String> = replaced
            .filter(|(when, _)| when.elapsed() < FRESH)
            .map(|(when, why)| {
                format!("the proxy was started again {} s ago: {why}", when.elapsed().as_secs())
            })
            .into_iter()
            .collect();
        let Some(process) = process else { return notes };
        let file = self.paths.proxy_report();
        match ConfinementReport::read(process, &file) {
            Some(report) => notes.extend(report.notes()),
            // The proxy has just started.
            None if started.is_some_and(|started| started.elapsed() < START) => {}
            None => notes.push(format!(
                "the failed confinement steps of the proxy are unknown: {} is not of process {process}",
                file.display()
            )),
        }
        notes
    }

    fn published(&self) -> MutexGuard<'_, ProxyState> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The counter cannot overflow by one.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread of a supervisor.
struct Supervision {
    keeper: ProxyKeeper,
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
                    self.note(PROXY, Ok(()));
                    next
                }
                Err(error) => {
                    self.note(PROXY, Err(message(error)));
                    RETRY
                }
            };
            self.publish();
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
        if self.keeper.process().is_none() {
            self.publish();
            let stop = Arc::clone(&self.stop);
            let replaces = self.keeper.start(|| !wait(&stop, None, Duration::from_millis(2)))?;
            let mut state = lock(&self.published);
            state.replaced = replaces.map(|why| (Instant::now(), why)).or_else(|| state.replaced.take());
        } else {
            self.keeper.record_if_needed();
        }
        let health = self.keeper.check().map_err(message);
        let problem = match health {
            Ok(Health::Good) => Ok(()),
            Ok(Health::Late(late)) => Err(format!("{late}; it is killed and started again if that lasts")),
            // Its end comes at once.
            Ok(Health::Killed) => Ok(()),
            Err(error) => Err(format!("its heartbeats cannot be read: {error}")),
        };
        self.note(HEALTH, problem);
        let recorded = self.keeper.recorded().map_err(str::to_owned);
        self.note(RECORD, recorded);
        Ok(CHECK)
    }

    fn note(&self, what: &'static str, result: Result<(), String>) {
        lock(&self.published).problems.note(what, result);
    }

    fn publish(&self) {
        let (process, started) = (self.keeper.process(), self.keeper.started());
        let mut state = lock(&self.published);
        (state.process, state.started) = (process.map(|process| process.process), started);
        state.is_settled |= process.is_some() || state.problems.has(PROXY);
    }
}

fn lock(state: &Mutex<ProxyState>) -> MutexGuard<'_, ProxyState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
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
