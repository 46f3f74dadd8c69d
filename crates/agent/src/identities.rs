//! Saves and restores identity numbers: the same labels keep their number over a restart.

use crate::state::State;
use anyhow::Context;
use identity::Allocator;
use std::sync::Arc;

/// Restores the allocator from the state. In a cluster the node's own numbers are of another range, so that a node that
/// joins or leaves a cluster starts with the first number of the range.
pub(crate) fn restore(state: &State, is_in_cluster: bool) -> anyhow::Result<Allocator> {
    let mut allocator = if is_in_cluster { Allocator::in_cluster() } else { Allocator::new() };
    for (number, labels) in &state.identities {
        allocator.restore(*number, Arc::clone(labels)).context("the state contains an identity twice")?;
    }
    if let Some(next) = state.next_identity.filter(|next| allocator.is_own(*next)) {
        allocator.continue_at(next).context("the state contains an invalid identity number")?;
    }
    Ok(allocator)
}

/// Records the allocated numbers in the state.
pub(crate) fn record(allocator: &Allocator, state: &mut State) {
    state.identities = allocator.all_labels();
    state.next_identity = Some(allocator.next());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Paths;
    use crate::state_log::StateLog;
    use identity::Labels;

    #[test]
    fn an_identity_has_the_same_number_after_a_restart() {
        let mut before = Allocator::new();
        let labels = |app| Arc::new(Labels::of_workload("default", [], [("app", app)]));
        let (web, db) = (before.acquire(&labels("web")).unwrap(), before.acquire(&labels("db")).unwrap());
        let mut state = State::default();
        record(&before, &mut state);
        let directory = std::env::temp_dir().join(format!("nexin-identities-{}", std::process::id()));
        let paths = Paths::new(&directory, "test");
        StateLog::load(&paths).unwrap().0.save(&state).unwrap();
        let mut after = restore(&StateLog::load(&paths).unwrap().1, false).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(after.acquire(&labels("db")), Ok(db));
        assert_eq!(after.acquire(&labels("web")), Ok(web));
        let new = after.acquire(&labels("cache")).unwrap();
        assert!(new != web && new != db);
    }
}
