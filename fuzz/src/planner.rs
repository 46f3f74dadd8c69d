//! The order of writes: between any two writes a packet gets its old or its new answer, and the rows after each step are
//! those that the world computes from scratch.

use control::fixtures::{check_changed_rows, check_found_rows, check_world};
use policy::generate::Random;

/// Limit on the steps of one input.
const STEPS: usize = 10;

/// Applies the steps of an input to a world, or to a graph of rows that the planner alone sees.
pub fn check(data: &[u8]) {
    let mut random = Random::from_bytes(data);
    match random.below(4) {
        0 => {
            let steps = 1 + random.below(STEPS);
            _ = check_changed_rows("changed rows", random, steps);
        }
        1 => {
            let is_restart = random.chance(50);
            _ = check_found_rows("found rows", random, is_restart);
        }
        _ => {
            let steps = 1 + random.below(STEPS);
            _ = check_world("world", random, steps);
        }
    }
}
