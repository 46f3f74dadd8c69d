//! Pods of a node whose state file was lost: they run, and no record says which pod has which interface.

use crate::paths::Paths;
use crate::state::State;
use crate::wiring::Wiring;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

/// The time between two looks at the interfaces.
const LOOK: Duration = Duration::from_secs(2);

/// Waits until each sandbox with an interface of this agent is in the state, or gone: an agent that started would remove the rows of unknown
/// workloads, and cut their pods off. What the earlier agent enforced stays in force meanwhile.
pub(crate) fn await_lost_sandboxes(wiring: &mut Wiring, state: &State, paths: &Paths) -> anyhow::Result<()> {
    let known: BTreeSet<u32> = state.workloads.keys().copied().collect();
    let mut reported = Vec::new();
    loop {
        let unknown = wiring.unknown_sandboxes(&known)?;
        if unknown.is_empty() {
            return Ok(());
        }
        if unknown != reported {
            tracing::error!(
                "{} does not have the pods with the interfaces {}: it is lost, or an older copy. What the earlier agent enforced \
                 stays in force, and no pod starts on this node. Restore the file and restart the agent, or delete the pods of this \
                 node (kubectl drain): the agent starts when they are gone",
                paths.state().display(),
                unknown.join(", ")
            );
            reported = unknown;
        }
        thread::sleep(LOOK);
    }
}
