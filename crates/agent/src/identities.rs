//! Saves and restores identity numbers: the same labels keep their number over a restart.

use crate::state::State;
use anyhow::Context;
use identity::{Allocator, Labels, Source};

/// Restores the allocator from the state file.
pub(crate) fn restore(state: &State) -> anyhow::Result<Allocator> {
    let mut allocator = Allocator::new();
    for (number, stored) in &state.identities {
        let mut labels = Labels::default();
        for (source, name, value) in stored {
            labels.insert(source_named(source), name, value);
        }
        allocator.restore(*number, labels).context("the state file contains an identity twice")?;
    }
    if let Some(next) = state.next_identity {
        allocator.continue_at(next).context("the state file contains an invalid identity number")?;
    }
    Ok(allocator)
}

/// Records the allocated numbers in the state.
pub(crate) fn record(allocator: &Allocator, state: &mut State) {
    let stored = allocator.allocated().map(|(number, labels)| {
        let labels = labels
            .iter()
            .map(|(key, value)| (key.source.to_string(), key.name.to_string(), value.to_owned()));
        (number, labels.collect())
    });
    state.identities = stored.collect();
    state.next_identity = Some(allocator.next());
}

fn source_named(name: &str) -> Source {
    match name {
        "k8s" => Source::K8s,
        "reserved" => Source::Reserved,
        other => Source::Other(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn an_identity_has_the_same_number_after_a_restart() {
        let mut before = Allocator::new();
        let labels = |app| Arc::new(Labels::of_workload("default", [], [("app", app)]));
        let (web, db) = (before.acquire(&labels("web")).unwrap(), before.acquire(&labels("db")).unwrap());
        let mut state = State::default();
        record(&before, &mut state);
        let mut after = restore(&state).unwrap();
        assert_eq!(after.acquire(&labels("db")), Ok(db));
        assert_eq!(after.acquire(&labels("web")), Ok(web));
        let new = after.acquire(&labels("cache")).unwrap();
        assert!(new != web && new != db);
    }
}
