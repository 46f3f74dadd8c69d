//! What fails at present and is retried, as status and log name it.

use std::collections::BTreeMap;
use std::fmt::Display;

/// Failures, by the operation that fails.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    known: BTreeMap<&'static str, Vec<String>>,
}

impl Problems {
    /// Records the result of an operation. Only a new failure is logged, however often it is retried.
    pub(crate) fn note(&mut self, what: &'static str, result: Result<(), impl Display>) {
        self.note_all(what, result.err().map(|error| error.to_string()).into_iter().collect());
    }

    /// Records the failures of an operation; none if it succeeded.
    pub(crate) fn note_all(&mut self, what: &'static str, messages: Vec<String>) {
        let before = self.known.remove(what).unwrap_or_default();
        messages.iter().filter(|message| !before.contains(message)).for_each(|message| {
            tracing::error!("{what}: {message}");
        });
        if !before.is_empty() && messages.is_empty() {
            tracing::info!("{what}: resolved");
        }
        if !messages.is_empty() {
            self.known.insert(what, messages);
        }
    }

    /// Whether the operation failed and must be retried.
    pub(crate) fn has(&self, what: &'static str) -> bool {
        self.known.contains_key(what)
    }

    /// All failures, as sentences.
    pub(crate) fn messages(&self) -> impl Iterator<Item = String> {
        self.known
            .iter()
            .flat_map(|(what, messages)| messages.iter().map(move |why| format!("{what}: {why}")))
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
        let mut problems = Problems::default();
        problems.note("state", Err("no space"));
        problems.note("state", Err("no space"));
        assert_eq!(problems.messages().collect::<Vec<_>>(), ["state: no space"]);
        problems.note("state", Ok::<(), String>(()));
        assert!(!problems.has("state"));
    }
}
