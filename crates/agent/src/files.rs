//! The watched directory of policy files: a thread reads what changed, and hands over one change after another.

mod copies;
mod reading;
mod scanner;
mod to_read;
mod waiting;
mod watch;

pub(crate) use copies::{Copies, DamagedCopy};
pub(crate) use reading::Reading;
pub(crate) use scanner::{DirectoryChange, KnownFiles};

use crate::problems::Problems;
use crate::threads;
use scanner::Scanner;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use to_read::ToRead;
use watch::{Reported, Unwatched, Watcher};

/// How long the directory is left alone after a change before it is read: more writes may follow at once.
const QUIET: Duration = Duration::from_millis(20);
/// How long a file may be open for writing before the status reports it.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is missing when the thread ends.
const UNREAD: &str = "changed policy files are not read any more";

/// A watched directory of manifests.
#[derive(Debug)]
pub(crate) struct Files {
    shared: Arc<Handover>,
    wake_ups: Sender<WakeUp>,
}

/// A change of the directory, or why it cannot be read.
pub(crate) type Scanned = Result<DirectoryChange, String>;

/// What the thread passes to the agent.
#[derive(Debug, Default)]
struct Handover {
    scanned: Mutex<Option<Scanned>>,
    is_scanned: Condvar,
    watch: Mutex<WatchStatus>,
}

/// How the directory is watched.
#[derive(Clone, Debug, Default)]
struct WatchStatus {
    /// The files that are open for writing, and since when.
    unfinished: BTreeMap<String, Instant>,
    /// Why files are polled instead of watched.
    unwatched: Option<Unwatched>,
}

/// What the thread waits for.
#[derive(Debug)]
enum WakeUp {
    /// inotify reported a change.
    Reported(Reported),
    /// The agent has applied the last change.
    Applied,
    /// The agent could not apply the last change, to these files.
    Rejected(Vec<String>),
}

impl Files {
    /// Watches a directory; `changed` is called when [`Self::take`] returns a change. The agent knows these
    /// files already.
    pub(crate) fn watch(
        directory: &Path,
        known: KnownFiles,
        changed: impl Fn() + Send + 'static,
        problems: &Problems,
    ) -> io::Result<Self> {
        let (wake_ups, woken) = channel();
        let reports = wake_ups.clone();
        let report = move |reported| {
            // Nothing is reported to an agent that has stopped.
            let _ = reports.send(WakeUp::Reported(reported));
        };
        let scanner = Scanner::new(directory, Watcher::new(directory, report), known);
        let shared = Arc::new(Handover::default());
        let handover = Arc::clone(&shared);
        threads::start("files", problems.clone(), UNREAD, move || scan(scanner, &woken, &handover, changed))?;
        Ok(Self { shared, wake_ups })
    }

    /// Waits for the first scan, which reads the whole directory.
    pub(crate) fn first(&self) -> Scanned {
        let mut scanned = lock(&self.shared.scanned);
        loop {
            match scanned.take() {
                Some(first) => return first,
                None => {
                    let woken = self.shared.is_scanned.wait(scanned);
                    scanned = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// The next change, which [`Self::accept`] or [`Self::reject`] must follow.
    pub(crate) fn take(&self) -> Option<Scanned> {
        lock(&self.shared.scanned).take()
    }

    /// The last change is applied; the next one may follow.
    pub(crate) fn accept(&self) {
        // The thread never stops before the agent.
        let _ = self.wake_ups.send(WakeUp::Applied);
    }

    /// The last change, to these files, is not applied, and is read again after a moment.
    pub(crate) fn reject(&self, files: Vec<String>) {
        let _ = self.wake_ups.send(WakeUp::Rejected(files));
    }

    /// Why the kernel refuses to watch the directory or a link of it, which are polled then; `Ok` if inotify reports changes.
    pub(crate) fn refused(&self) -> Result<(), String> {
        match &lock(&self.shared.watch).unwatched {
            Some(Unwatched::Refused(why)) => Err(why.clone()),
            Some(Unwatched::Remote { .. }) | None => Ok(()),
        }
    }

    /// The file system whose changes inotify does not report, if there is one.
    pub(crate) fn remote(&self) -> Option<String> {
        match &lock(&self.shared.watch).unwatched {
            Some(remote @ Unwatched::Remote { .. }) => Some(remote.to_string()),
            Some(Unwatched::Refused(_)) | None => None,
        }
    }

    /// The problems of files that have been open for writing for long.
    pub(crate) fn open_for_long(&self) -> Vec<String> {
        let watch = lock(&self.shared.watch);
        let long = watch.unfinished.iter().filter(|(_, since)| since.elapsed() > PATIENCE);
        long.map(|(name, _)| {
            format!(
                "{name} is open for writing and not applied as it is now; it is read when the process that \
                 writes it closes it"
            )
        })
        .collect()
    }
}

/// Reads every file of a directory once.
pub(crate) fn read_once(directory: &Path) -> io::Result<BTreeMap<String, Reading>> {
    let read = |(name, paths): (String, Vec<std::path::PathBuf>)| {
        let file = if paths.len() == 1 { reading::read(&paths[0])? } else { reading::alike() };
        Some((name, file.reading))
    };
    Ok(reading::list(directory)?.into_iter().filter_map(read).collect())
}

/// Scans the directory whenever something may have changed, until the agent stops. One change is applied before the next
/// scan, so that changes in quick succession become one.
fn scan(mut scanner: Scanner, woken: &Receiver<WakeUp>, shared: &Handover, changed: impl Fn()) {
    let mut to_read = ToRead::all();
    let mut is_first = true;
    loop {
        let scanned = scanner.scan(std::mem::take(&mut to_read));
        let scanned = scanned.or_else(|| is_first.then(|| Ok(DirectoryChange::default())));
        is_first = false;
        let status = WatchStatus { unfinished: scanner.unfinished(), unwatched: scanner.unwatched() };
        *lock(&shared.watch) = status;
        if let Some(scanned) = scanned {
            *lock(&shared.scanned) = Some(scanned);
            shared.is_scanned.notify_one();
            changed();
            loop {
                match woken.recv() {
                    Ok(WakeUp::Reported(reported)) => to_read.add(reported),
                    Ok(WakeUp::Applied) => break,
                    Ok(WakeUp::Rejected(files)) => break scanner.reject(files),
                    Err(_) => return,
                }
            }
        }
        let mut poll = Instant::now() + scanner.pause();
        while to_read.is_empty() {
            let moved = to_read.is_moved().then(|| scanner.poll_places_due());
            let due = [scanner.due(), moved].into_iter().flatten().fold(poll, Instant::min);
            match woken.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    thread::sleep(QUIET);
                    [first].into_iter().chain(woken.try_iter()).for_each(|woken| {
                        if let WakeUp::Reported(reported) = woken {
                            to_read.add(reported);
                        }
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            scanner.poll_waiting(&mut to_read);
            if to_read.is_moved() && Instant::now() >= scanner.poll_places_due() {
                scanner.poll_places(&mut to_read);
            }
            if Instant::now() >= poll {
                scanner.poll_silent(&mut to_read);
                lock(&shared.watch).unwatched = scanner.unwatched();
                poll = Instant::now() + scanner.pause();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
