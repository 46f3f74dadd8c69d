//! Restores attachments and pins that other programs removed, on a thread of its own.

use crate::problems::{Problem, Problems};
use crate::threads;
use loader::{AttachError, Restored, Upkeep};
use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::Duration;

/// The time between two checks. A check takes two system calls for each workload.
const INTERVAL: Duration = Duration::from_secs(3);
/// Where programs are filters, a check takes netlink requests.
const INTERVAL_OF_FILTERS: Duration = Duration::from_secs(30);

/// The failures, as status and log name them.
const MISSING: Problem = Problem::new(
    "programs are detached or pins removed, and cannot be restored; policy may not be enforced",
    "the agent tries again until that succeeds",
);
const UNCHECKED: &str = "programs and pins are not checked any more";

/// Starts the thread; programs are attached as `attachment` names it.
pub(crate) fn start(mut upkeep: Upkeep, attachment: &str, problems: &Problems) -> io::Result<()> {
    let pause = if attachment == "clsact" { INTERVAL_OF_FILTERS } else { INTERVAL };
    let shared = problems.clone();
    let check = move || {
        loop {
            thread::sleep(pause);
            let (restored, failures) = upkeep.restore();
            report(&restored, &failures, &shared);
        }
    };
    threads::start("upkeep", problems.clone(), UNCHECKED, check).map(drop)
}

fn report(restored: &[Restored], failures: &[AttachError], problems: &Problems) {
    problems.note_all(MISSING, failures.iter().map(|error| api::sentence(error)).collect());
    // A directory that is removed takes many pins with it.
    let mut pins: BTreeMap<&str, usize> = BTreeMap::new();
    for one in restored {
        match one {
            Restored::Program { .. } => {
                problems.note_repair(format!("{one}; packets were not checked there"))
            }
            Restored::Pin(path) => {
                let directory = path.parent().and_then(|directory| directory.to_str()).unwrap_or_default();
                *pins.entry(directory).or_default() += 1;
            }
        }
    }
    for (directory, count) in pins {
        problems.note_repair(format!("{count} pins under {directory} were removed, and are there again"));
    }
}
