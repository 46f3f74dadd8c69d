//! Many workloads that start at once.

use crate::case::{Recorder, scaled};
use crate::node::Node;
use anyhow::{Result, ensure};
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::Instant;

/// How many workloads at full scale.
const WORKLOADS: usize = 100;

/// `nexin run` many times at once, until each runs its command.
pub(crate) fn run(node: &mut Node, scale: f64, record: &mut Recorder<'_>) -> Result<()> {
    let count = scaled(WORKLOADS, scale);
    node.start()?;
    let (mut said, says) = std::io::pipe()?;
    let began = Instant::now();
    let start = |number: usize| {
        let name = format!("w{number}");
        // The command prints a byte, and waits for its standard input, which no process writes to.
        let mut command = node.command(&["run", "--name", &name, "--", "sh", "-c", "printf x; read word"]);
        Ok(command.stdin(Stdio::piped()).stdout(says.try_clone()?).spawn()?)
    };
    let _runners: Vec<Child> = (0..count).map(start).collect::<Result<_>>()?;
    drop(says);
    let mut seen = 0;
    let mut bytes = [0; 256];
    while seen < count {
        let read = said.read(&mut bytes)?;
        ensure!(read > 0, "{} of {count} workloads ended", count - seen);
        seen += read;
    }
    record("all run their commands", began.elapsed().as_secs_f64());
    Ok(())
}
