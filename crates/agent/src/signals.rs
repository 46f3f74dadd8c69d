//! The signals that stop the agent.

use crate::queue::Queue;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::thread;

/// Forwards SIGTERM and SIGINT to the agent's queue.
pub(crate) fn forward(queue: Queue) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            queue.stop();
        }
    })?;
    Ok(())
}
