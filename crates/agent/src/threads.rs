//! Threads that run as long as their process: the end of one is a problem of the status, or ends the process.

use crate::problems::Problems;
use std::io;
use std::thread::{self, JoinHandle};

/// Starts a thread. When it ends, the status reports `without`, which names what is missing then.
pub(crate) fn start(
    name: &str,
    problems: Problems,
    without: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    const ADVICE: &str = "its thread ended; restart the agent, traffic stays under policy meanwhile";
    start_then(name, move || problems.note(without, Err(ADVICE)), run)
}

/// Starts a thread that calls `ended` when it ends, also by a panic.
pub(crate) fn start_then(
    name: &str,
    ended: impl FnOnce() + Send + 'static,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let end = End(Some(ended));
    thread::Builder::new().name(name.into()).spawn(move || {
        let _end = end;
        run();
    })
}

/// Calls a function when it is dropped.
struct End<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for End<F> {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            ended();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_or_panics_is_a_problem() {
        let problems = Problems::default();
        let start =
            |without: &'static str, run: fn()| start("test", problems.clone(), without, run).unwrap().join();
        start("events are not read", || {}).unwrap();
        start("no client is served", || panic!("for this test")).unwrap_err();
        let messages = problems.messages();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(
            messages[0].starts_with("events are not read: its thread ended; restart the agent"),
            "{messages:?}"
        );
        assert!(messages[1].starts_with("no client is served: "), "{messages:?}");
        problems.end();
        start("the agent has stopped", || {}).unwrap();
        assert_eq!(problems.messages().len(), 2, "threads end with the agent");
    }
}
