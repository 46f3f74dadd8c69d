//! The threads that create and remove workloads and save the state, and the results that they hand back.

use super::pending::Creation;
use super::writer::StateWriter;
use crate::answer::{internal, value};
use crate::notifier::Notifier;
use crate::problems::Problems;
use crate::queue::Reply;
use crate::state::{State, WorkloadRecord};
use crate::state_log::StateLog;
use crate::threads;
use crate::wiring::Wiring;
use control::Endpoint;
use loader::Attacher;
use std::mem;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of workloads that are created at the same time. Most of a creation is spent in the kernel, in part under locks
/// of which the kernel has one for all interfaces.
const CREATORS: usize = 4;

/// The failures, as status and log name them.
const CREATION: &str = "workloads are not created";
const REMOVAL: &str = "workloads that ended are not removed";

/// The threads and their results.
#[derive(Debug)]
pub(crate) struct Background {
    writer: StateWriter,
    creators: Crew<Wiring>,
    remover: Crew<Wiring>,
    attacher: Attacher,
    notifier: Notifier,
    results: Mutex<Results>,
}

/// What the threads have done since the agent's thread looked last.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Creations, with the endpoint to put into the maps.
    pub created: Vec<(Creation, anyhow::Result<Endpoint>)>,
    /// Workloads whose creation could not be saved.
    pub unsaved: Vec<(Creation, String)>,
    /// Removals, by the number of the workload.
    pub removed: Vec<(u32, anyhow::Result<()>)>,
    /// The result of the last writing of the state.
    pub saved: Option<Result<(), String>>,
}

/// What follows when the state is saved, or when that has failed.
pub(crate) type Step = Box<dyn FnOnce(&Result<(), String>, &Arc<Background>) + Send>;

impl Background {
    /// Starts the threads.
    pub(crate) fn start(
        log: StateLog,
        wiring: &Wiring,
        attacher: Attacher,
        (notifier, problems): (Notifier, &Problems),
    ) -> anyhow::Result<Arc<Self>> {
        let creators = (0..CREATORS).map(|_| wiring.duplicate());
        Ok(Arc::new(Self {
            writer: StateWriter::start(log, problems)?,
            creators: Crew::start(("create", CREATION), creators, problems)?,
            remover: Crew::start(("remove", REMOVAL), [wiring.duplicate()], problems)?,
            attacher,
            notifier,
            results: Mutex::default(),
        }))
    }

    /// The results since the last call.
    pub(crate) fn take_results(&self) -> Results {
        mem::take(&mut self.results())
    }

    /// Saves the state and waits until it is on disk.
    pub(crate) fn save_now(&self, state: State) -> anyhow::Result<()> {
        self.writer.save_now(state)
    }

    /// Saves the state, and takes the steps afterwards.
    pub(crate) fn save(self: &Arc<Self>, state: State, steps: Vec<Step>) {
        let background = Arc::clone(self);
        self.writer.save(state, move |saved| {
            for step in steps {
                step(&saved, &background);
            }
            background.put(|results| results.saved = Some(saved));
        });
    }

    /// Creates a workload whose record is saved.
    pub(crate) fn create(self: &Arc<Self>, mut creation: Creation) {
        let background = Arc::clone(self);
        self.creators.give(move |wiring| {
            let Creation { workload, times, .. } = &mut creation;
            times.end("creator");
            let created = wiring.create(&background.attacher, workload, times);
            background.put(|results| results.created.push((creation, created)));
        });
    }

    /// Compares a sandbox with its record, and answers with what differs, besides what is known to differ already.
    pub(crate) fn inspect(&self, record: WorkloadRecord, known: Vec<String>, reply: Reply) {
        self.creators.give(move |wiring| {
            let found = wiring.inspect(&record).map(|found| known.into_iter().chain(found).collect());
            reply.send(found.map_err(internal).and_then(|found: Vec<String>| value(&found)));
        });
    }

    /// Removes workloads whose map entries are removed.
    pub(crate) fn remove(self: &Arc<Self>, workloads: Vec<WorkloadRecord>) {
        let background = Arc::clone(self);
        self.remover.give(move |wiring| {
            let removed = wiring.remove(&background.attacher, &workloads);
            background.put(|results| results.removed.extend(removed));
        });
    }

    /// Changes the results, and notifies the agent's thread.
    pub(crate) fn put(&self, change: impl FnOnce(&mut Results)) {
        change(&mut self.results());
        self.notifier.notify();
    }

    fn results(&self) -> MutexGuard<'_, Results> {
        // Each change is a single call, so a panic cannot leave it inconsistent.
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Threads that take one job after another, each with a tool of its own.
#[derive(Debug)]
struct Crew<T> {
    jobs: Sender<Job<T>>,
}

impl<T: Send + 'static> Crew<T> {
    fn start(
        (name, without): (&str, &'static str),
        tools: impl IntoIterator<Item = anyhow::Result<T>>,
        problems: &Problems,
    ) -> anyhow::Result<Self> {
        let (jobs, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for tool in tools {
            let (tool, waiting) = (tool?, Arc::clone(&waiting));
            threads::start(name, problems.clone(), without, move || work(tool, &waiting))?;
        }
        Ok(Self { jobs })
    }

    fn give(&self, job: impl FnOnce(&mut T) + Send + 'static) {
        // The threads run as long as the agent does.
        let _ = self.jobs.send(Box::new(job));
    }
}

fn work<T>(mut tool: T, waiting: &Mutex<Receiver<Job<T>>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(&mut tool),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn as_many_jobs_as_there_are_threads_overlap() {
        let crew = Crew::start(("test", "a test"), (0..CREATORS).map(Ok), &Problems::default()).unwrap();
        // No thread passes before all have come.
        let all = Arc::new(Barrier::new(CREATORS));
        let (done, tools) = channel();
        for _ in 0..CREATORS {
            let (all, done) = (Arc::clone(&all), done.clone());
            crew.give(move |tool| {
                all.wait();
                done.send(*tool).unwrap();
            });
        }
        let mut used: Vec<usize> = tools.iter().take(CREATORS).collect();
        used.sort_unstable();
        assert_eq!(used, (0..CREATORS).collect::<Vec<_>>());
    }
}
