//! Watches the processes that own workloads: the kernel reports the end of each by its pidfd.

use crate::notifier::Notifier;
use crate::problems::Problems;
use crate::state::Process;
use crate::threads;
use rustix::event::epoll;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The failure, as status and log name it.
const UNWATCHED: &str = "the ends of workloads' owners are not noticed";

/// The most ends that are taken from the kernel at once.
const AT_ONCE: usize = 256;

/// The watched processes.
#[derive(Debug)]
pub(crate) struct Owners {
    poll: OwnedFd,
    notifier: Notifier,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The pidfd of each owner, by the number of its workload.
    running: BTreeMap<u32, OwnedFd>,
    /// The workloads whose owner has ended, until they are taken.
    ended: BTreeSet<u32>,
}

impl Owners {
    /// Starts the thread that waits for ends.
    pub(crate) fn start(notifier: Notifier, problems: &Problems) -> io::Result<Arc<Self>> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let owners = Arc::new(Self { poll, notifier, known: Mutex::default() });
        let waiting = Arc::clone(&owners);
        threads::start("owners", problems.clone(), UNWATCHED, move || waiting.wait())?;
        Ok(owners)
    }

    /// Watches the owner of a workload. An owner that has ended already is reported like one that ends later. After an
    /// error the owner is not watched; an error does not mean that it has ended.
    pub(crate) fn watch(&self, workload: u32, owner: Process) -> io::Result<()> {
        match open(owner)? {
            Some(process) => {
                let mut known = self.known();
                let number = epoll::EventData::new_u64(workload.into());
                epoll::add(&self.poll, &process, number, epoll::EventFlags::IN | epoll::EventFlags::ONESHOT)?;
                known.running.insert(workload, process);
            }
            None => {
                self.known().ended.insert(workload);
                self.notifier.notify();
            }
        }
        Ok(())
    }

    /// Forgets a workload. Closing its pidfd removes the pidfd from the kernel's list.
    pub(crate) fn forget(&self, workload: u32) {
        let mut known = self.known();
        known.running.remove(&workload);
        known.ended.remove(&workload);
    }

    /// The workloads whose owner has ended since the last call.
    pub(crate) fn take_ended(&self) -> BTreeSet<u32> {
        mem::take(&mut self.known().ended)
    }

    fn wait(&self) {
        let mut events = [MaybeUninit::uninit(); AT_ONCE];
        loop {
            match epoll::wait(&self.poll, &mut events, None) {
                Ok((events, _)) => {
                    let mut known = self.known();
                    for event in events.iter() {
                        // A workload that was forgotten meanwhile is not watched any more.
                        let workload = u32::try_from(event.data.u64()).unwrap_or_default();
                        if known.running.remove(&workload).is_some() {
                            known.ended.insert(workload);
                        }
                    }
                    drop(known);
                    self.notifier.notify();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "{UNWATCHED}");
                    return;
                }
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is a single call, so a panic cannot leave it inconsistent.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pidfd of a running process; none if the process has certainly ended.
fn open(owner: Process) -> io::Result<Option<OwnedFd>> {
    let Some(number) = i32::try_from(owner.process).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let opened = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(opened) => opened,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Compared after the pidfd was opened: from then on the number cannot belong to another process.
    Ok((Process::find(owner.process)? == Some(owner)).then_some(opened))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Queue;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    fn owners() -> (Arc<Owners>, Queue) {
        let queue = Queue::default();
        (Owners::start(Notifier::new(queue.clone(), 0), &Problems::default()).unwrap(), queue)
    }

    fn is_notified(queue: &Queue, wait: Duration) -> bool {
        queue.next(Instant::now() + wait).is_some()
    }

    /// A process that ends when its input is closed.
    fn process() -> (Child, Process) {
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = Process::find(child.id()).unwrap().unwrap();
        (child, process)
    }

    fn ended(owners: &Owners, queue: &Queue, count: usize) -> BTreeSet<u32> {
        let mut ended = BTreeSet::new();
        while ended.len() < count && is_notified(queue, Duration::from_secs(10)) {
            ended.extend(owners.take_ended());
        }
        ended
    }

    #[test]
    fn the_end_of_an_owner_is_noticed_at_once_and_that_of_a_forgotten_one_never() {
        let (owners, queue) = owners();
        let mut processes: Vec<_> = (1..=3).map(|_| process()).collect();
        for (number, (_, process)) in (1..).zip(&processes) {
            owners.watch(number, *process).unwrap();
        }
        owners.forget(2);
        assert!(!is_notified(&queue, Duration::from_millis(50)), "all run");
        let begun = Instant::now();
        for (child, _) in &mut processes {
            child.kill().unwrap();
        }
        let ended = ended(&owners, &queue, 2);
        assert_eq!(ended, BTreeSet::from([1, 3]));
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
        processes.iter_mut().for_each(|(child, _)| drop(child.wait()));
    }

    #[test]
    fn a_later_process_with_the_number_of_an_owner_is_not_taken_for_the_owner() {
        let (owners, queue) = owners();
        let own = Process::find(std::process::id()).unwrap().unwrap();
        owners.watch(7, Process { started: own.started + 1, ..own }).unwrap();
        assert_eq!(ended(&owners, &queue, 1), BTreeSet::from([7]));
        let (mut child, process) = process();
        child.kill().unwrap();
        child.wait().unwrap();
        owners.watch(8, process).unwrap();
        assert_eq!(ended(&owners, &queue, 1), BTreeSet::from([8]), "it has ended before");
        owners.watch(9, own).unwrap();
        assert!(!is_notified(&queue, Duration::from_millis(50)), "this process runs");
    }
}
