//! What fails at present and is retried, as status and log name it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Failures, by the operation that fails; all clones are one list. Any thread may record and read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problems {
    known: Arc<Mutex<BTreeMap<&'static str, Vec<String>>>>,
}

impl Problems {
    /// Records the result of an operation. Only a new failure is logged, however often it is retried.
    pub(crate) fn note(&self, what: &'static str, result: Result<(), impl Display>) {
        self.note_all(what, result.err().map(|error| error.to_string()).into_iter().collect());
    }

    /// Records the failures of an operation; none if it succeeded.
    pub(crate) fn note_all(&self, what: &'static str, messages: Vec<String>) {
        let mut known = self.lock();
        let before = known.remove(what).unwrap_or_default();
        messages.iter().filter(|message| !before.contains(message)).for_each(|message| {
            tracing::error!("{what}: {message}");
        });
        if !before.is_empty() && messages.is_empty() {
            tracing::info!("{what}: resolved");
        }
        if !messages.is_empty() {
            known.insert(what, messages);
        }
    }

    /// Whether the operation failed and must be retried.
    pub(crate) fn has(&self, what: &'static str) -> bool {
        self.lock().contains_key(what)
    }

    /// All failures, as sentences.
    pub(crate) fn messages(&self) -> Vec<String> {
        let known = self.lock();
        let sentences = known
            .iter()
            .flat_map(|(what, messages)| messages.iter().map(move |why| format!("{what}: {why}")));
        sentences.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Vec<String>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        problems.note("state", Err("no space"));
        problems.note("state", Err("no space"));
        assert_eq!(problems.messages(), ["state: no space"]);
        problems.note("state", Ok::<(), String>(()));
        assert!(!problems.has("state"));
    }
}
