//! What fails at present and is retried, and what was repaired, as status and log name it.

use flow::Time;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long the status mentions a repair, and how many it mentions.
const FRESH: Duration = Duration::from_secs(600);
const REPAIRS: usize = 10;

/// A kind of problem: what is wrong, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    what: &'static str,
    advice: &'static str,
}

/// Problems, by their kind, and repairs; all clones are one list. Any thread may record and read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problems {
    known: Arc<Mutex<BTreeMap<&'static str, Known>>>,
    /// What was repaired and when, oldest first.
    repairs: Arc<Mutex<VecDeque<(Instant, String)>>>,
    /// Whether the agent has stopped, which ends its threads.
    is_over: Arc<AtomicBool>,
}

/// The problems of one kind.
#[derive(Debug)]
struct Known {
    since: SystemTime,
    advice: &'static str,
    messages: Vec<String>,
}

impl Problem {
    /// A kind of problem. The advice follows the message of a problem, after a semicolon.
    pub(crate) const fn new(what: &'static str, advice: &'static str) -> Self {
        Self { what, advice }
    }

    /// What is wrong.
    pub(crate) fn what(self) -> &'static str {
        self.what
    }

    /// A problem of this kind as the status prints it: what is wrong, why, what to do, and since when.
    pub(crate) fn message(self, why: &str, since: SystemTime) -> String {
        let Self { what, advice } = self;
        let separator = if advice.is_empty() { "" } else { "; " };
        format!("{what}: {why}{separator}{advice} (since {})", seconds(since))
    }
}

/// A kind of problem whose messages say what to do.
impl From<&'static str> for Problem {
    fn from(what: &'static str) -> Self {
        Self::new(what, "")
    }
}

impl Problems {
    /// Records the result of an operation. Only a new failure is logged, however often it is retried.
    pub(crate) fn note(&self, kind: impl Into<Problem>, result: Result<(), impl Display>) {
        self.note_all(kind, result.err().map(|error| error.to_string()).into_iter().collect());
    }

    /// The agent has stopped. From now on nothing is recorded.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Records the failures of an operation; none if it succeeded.
    pub(crate) fn note_all(&self, kind: impl Into<Problem>, messages: Vec<String>) {
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let Problem { what, advice } = kind.into();
        let mut known = self.lock();
        let before = known.remove(what);
        let is_known = |message| before.as_ref().is_some_and(|before| before.messages.contains(message));
        messages.iter().filter(|message| !is_known(message)).for_each(|message| {
            tracing::error!("{what}: {message}");
        });
        if before.is_some() && messages.is_empty() {
            tracing::info!("{what}: resolved");
        }
        if !messages.is_empty() {
            let since = before.map_or_else(SystemTime::now, |before| before.since);
            known.insert(what, Known { since, advice, messages });
        }
    }

    /// Records that something was wrong and is repaired; the status has it as a note for a while.
    pub(crate) fn note_repair(&self, what: String) {
        tracing::warn!("{what}");
        let mut repairs = self.repairs.lock().unwrap_or_else(PoisonError::into_inner);
        repairs.push_back((Instant::now(), what));
        if repairs.len() > REPAIRS {
            repairs.pop_front();
        }
    }

    /// What was repaired lately, as sentences.
    pub(crate) fn repairs(&self) -> Vec<String> {
        let mut repairs = self.repairs.lock().unwrap_or_else(PoisonError::into_inner);
        repairs.retain(|(when, _)| when.elapsed() < FRESH);
        repairs.iter().map(|(when, what)| format!("{} s ago: {what}", when.elapsed().as_secs())).collect()
    }

    /// Whether the operation failed and must be retried.
    pub(crate) fn has(&self, kind: impl Into<Problem>) -> bool {
        self.lock().contains_key(kind.into().what)
    }

    /// All problems: what is wrong, what to do, and since when.
    pub(crate) fn messages(&self) -> Vec<String> {
        let sentences = |(what, known): (&&'static str, &Known)| {
            let problem = Problem::new(what, known.advice);
            known.messages.iter().map(|why| problem.message(why, known.since)).collect::<Vec<_>>()
        };
        self.lock().iter().flat_map(sentences).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A point in time, as flows have it, without fractions of a second.
fn seconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let text = Time(since).short().to_string();
    text.split('.').next().unwrap_or_default().to_owned()
}

/// The text of an error and its causes.
pub(crate) fn message(error: anyhow::Error) -> String {
    api::sentence(error.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_problem_until_the_operation_succeeds() {
        let problems = Problems::default();
        const STATE: Problem = Problem::new("state", "make room");
        problems.note(STATE, Err("no space"));
        let first = problems.messages();
        assert!(first[0].starts_with("state: no space; make room (since "), "{first:?}");
        problems.note(STATE, Err("no space"));
        assert_eq!(problems.messages(), first, "the text stays as long as the problem does");
        problems.note(STATE, Ok::<(), String>(()));
        assert!(!problems.has(STATE) && problems.messages().is_empty());
        problems.note("disk", Err("no space; make room"));
        assert!(
            problems.messages()[0].starts_with("disk: no space; make room (since "),
            "{:?}",
            problems.messages()
        );
    }

    #[test]
    fn a_time_has_seconds() {
        assert_eq!(seconds(UNIX_EPOCH + Duration::from_millis(1_500)), "Jan  1 00:00:01");
    }
}
