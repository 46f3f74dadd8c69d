//! Seeds of the planner: random numbers, as the tests of `control` draw them.

use super::target::Seeds;
use policy::generate::Random;

/// Inputs of a few steps and of many.
pub fn planner() -> Seeds {
    let mut seeds = Seeds::default();
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let length = 16 << (seed % 7);
        seeds.inputs.insert((0..length).map(|_| random.draw() as u8).collect());
    }
    seeds
}
