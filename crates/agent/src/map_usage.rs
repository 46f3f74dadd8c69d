//! Reports maps that are full or nearly full, from a thread of its own.

use crate::problems::{Problem, Problems};
use crate::threads;
use loader::{MapUsage, UsageReader};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// The shortest time between two counts, and the most CPU time that counting may take: one part of so many.
const INTERVAL: Duration = Duration::from_secs(60);
const SHARE: u32 = 1_000;
/// From this percentage on a map is nearly full.
const NEARLY: usize = 90;

/// The failures, as status and log name them.
const FULL: Problem = Problem::new(
    "a map is nearly full; a change that does not fit is refused",
    "remove workloads, services or policies",
);
const UNREAD: Problem =
    Problem::new("the entries of the maps cannot be counted", "the agent tries again until that succeeds");
const UNCHECKED: &str = "the number of entries in the maps is not checked any more";

/// Starts the thread.
pub(crate) fn start(reader: UsageReader, problems: &Problems) -> io::Result<()> {
    let shared = problems.clone();
    let watch = move || {
        loop {
            let began = Instant::now();
            match reader.read() {
                Ok(usage) => {
                    shared.note_all(FULL, nearly_full(&usage));
                    shared.note(UNREAD, Ok::<(), String>(()));
                }
                Err(error) => shared.note(UNREAD, Err(error)),
            }
            thread::sleep(INTERVAL.max(began.elapsed() * SHARE));
        }
    };
    threads::start("map usage", problems.clone(), UNCHECKED, watch).map(drop)
}

/// A sentence for each map that is nearly full.
fn nearly_full(usage: &[MapUsage]) -> Vec<String> {
    let is_nearly = |one: &&MapUsage| one.rows * 100 >= one.capacity as usize * NEARLY;
    let text = |one: &MapUsage| {
        let MapUsage { map, rows, capacity } = one;
        format!("{map} has {rows} of {capacity} entries")
    };
    usage.iter().filter(is_nearly).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::map::MapId;

    #[test]
    fn maps_are_reported_from_nine_tenths_of_their_capacity_on() {
        let usage = |map, rows| MapUsage { map, rows, capacity: 4_096 };
        let usage =
            [usage(MapId::Endpoints, 3_686), usage(MapId::Services, 3_687), usage(MapId::Groups, 4_096)];
        assert_eq!(
            nearly_full(&usage),
            ["NX_SERVICES has 3687 of 4096 entries", "NX_GROUPS has 4096 of 4096 entries",]
        );
    }
}
