//! The signals that stop the agent.

use crate::problems::Problems;
use crate::queue::Queue;
use crate::threads;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What is missing when the thread ends.
const UNSTOPPABLE: &str = "SIGTERM and SIGINT do not stop the agent any more";

/// Forwards SIGTERM and SIGINT to the agent's queue.
pub(crate) fn forward(queue: Queue, problems: &Problems) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    threads::start("signals", problems.clone(), UNSTOPPABLE, move || {
        for _ in signals.forever() {
            queue.stop();
        }
    })?;
    Ok(())
}
