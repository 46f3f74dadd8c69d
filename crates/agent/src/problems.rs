//! What the agent cannot do for now and tries again, as its status and log name it.

use std::collections::BTreeMap;
use std::fmt::Display;

/// Problems by what they keep the agent from.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    known: BTreeMap<&'static str, Vec<String>>,
}

impl Problems {
    /// Notes how an attempt went; only what is new is logged, however often it is tried.
    pub(crate) fn note(&mut self, what: &'static str, result: Result<(), impl Display>) {
        self.note_all(what, result.err().map(|error| error.to_string()).into_iter().collect());
    }

    /// Notes everything that went wrong with an attempt; nothing, where all went well.
    pub(crate) fn note_all(&mut self, what: &'static str, messages: Vec<String>) {
        let before = self.known.remove(what).unwrap_or_default();
        messages.iter().filter(|message| !before.contains(message)).for_each(|message| {
            tracing::error!("{what}: {message}");
        });
        if !before.is_empty() && messages.is_empty() {
            tracing::info!("{what}: all is well again");
        }
        if !messages.is_empty() {
            self.known.insert(what, messages);
        }
    }

    /// Whether an attempt is due again.
    pub(crate) fn has(&self, what: &'static str) -> bool {
        self.known.contains_key(what)
    }

    /// All of them, as sentences.
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
    fn a_trouble_is_there_until_an_attempt_goes_well() {
        let mut problems = Problems::default();
        problems.note("state", Err("no space"));
        problems.note("state", Err("no space"));
        assert_eq!(problems.messages().collect::<Vec<_>>(), ["state: no space"]);
        problems.note("state", Ok::<(), String>(()));
        assert!(!problems.has("state"));
    }
}
