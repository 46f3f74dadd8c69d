//! Writes the state on a thread of its own: all changes that wait together are one record of its log.

use crate::problems::Problems;
use crate::state::State;
use crate::state_log::StateLog;
use crate::threads;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The failure, as status and log name it.
const UNSAVED: &str = "the state of the next start is not saved";

/// The thread that writes the state.
#[derive(Debug)]
pub(crate) struct StateWriter {
    orders: Sender<Order>,
}

/// A state to write, and what follows.
struct Order {
    state: State,
    then: Box<dyn FnOnce(Result<(), String>) + Send>,
}

impl StateWriter {
    /// Starts the thread.
    pub(crate) fn start(log: StateLog, problems: &Problems) -> io::Result<Self> {
        let (orders, waiting) = channel();
        threads::start("state", problems.clone(), UNSAVED, move || write_all(log, &waiting))?;
        Ok(Self { orders })
    }

    /// Writes the state, or a later one, and calls `then` on the writing thread when it is on disk or has failed.
    pub(crate) fn save(&self, state: State, then: impl FnOnce(Result<(), String>) + Send + 'static) {
        // The thread runs as long as the agent does.
        let _ = self.orders.send(Order { state, then: Box::new(then) });
    }

    /// Writes the state and waits until it is on disk.
    pub(crate) fn save_now(&self, state: State) -> anyhow::Result<()> {
        let (done, saved) = channel();
        // The other end waits for it.
        self.save(state, move |result| drop(done.send(result)));
        saved.recv()?.map_err(anyhow::Error::msg)
    }
}

fn write_all(mut log: StateLog, waiting: &Receiver<Order>) {
    while let Ok(first) = waiting.recv() {
        let orders: Vec<Order> = std::iter::once(first).chain(waiting.try_iter()).collect();
        // A later state contains the changes of the earlier ones.
        let latest = orders.last().map_or(Ok(()), |order| log.save(&order.state));
        let result = latest.map_err(|error| api::sentence(error.as_ref()));
        orders.into_iter().for_each(|order| (order.then)(result.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Paths;
    use std::sync::{Arc, Mutex};

    #[test]
    fn all_states_that_wait_are_saved_by_the_time_of_their_answers() {
        let directory = std::env::temp_dir().join(format!("nexin-writer-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let paths = Paths::new(&directory, "test");
        let writer = StateWriter::start(StateLog::load(&paths).unwrap().0, &Problems::default()).unwrap();
        let found = Arc::new(Mutex::new(Vec::new()));
        for last_endpoint in 1..=50 {
            let (paths, found) = (paths.clone(), Arc::clone(&found));
            writer.save(State { last_endpoint, ..State::default() }, move |saved| {
                saved.unwrap();
                found.lock().unwrap().push((last_endpoint, StateLog::load(&paths).unwrap().1.last_endpoint));
            });
        }
        writer.save_now(State { last_endpoint: 51, ..State::default() }).unwrap();
        let found = found.lock().unwrap();
        assert_eq!(found.iter().map(|(wanted, _)| *wanted).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
        assert!(found.iter().all(|(wanted, saved)| saved >= wanted), "{found:?}");
        std::fs::remove_dir_all(&directory).unwrap();
        // A file blocks the path of the directory.
        std::fs::write(&directory, "").unwrap();
        assert!(writer.save_now(State::default()).unwrap_err().to_string().contains("state.log"));
        std::fs::remove_file(&directory).unwrap();
    }
}
