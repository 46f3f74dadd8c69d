//! Threads that run as long as the agent: their end is a problem of the status.

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
    let end = End { problems, without };
    thread::Builder::new().name(name.into()).spawn(move || {
        let _end = end;
        run();
    })
}

/// Records the end of a thread when the thread drops it, also by a panic.
struct End {
    problems: Problems,
    without: &'static str,
}

impl Drop for End {
    fn drop(&mut self) {
        const ADVICE: &str = "its thread ended; restart the agent, traffic stays under policy meanwhile";
        self.problems.note(self.without, Err(ADVICE));
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
    }
}
