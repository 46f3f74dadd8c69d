//! The planner alone, on random graphs of rows, with a reader between every two writes.

use control::fixtures::{check_changed_rows, check_found_rows, check_overlapping_rows, check_world};
use policy::generate::Random;

#[test]
fn every_packet_gets_its_old_or_its_new_answer_while_rows_change() {
    let check = |seed: u64| check_changed_rows(&format!("seed {seed}"), Random::new(seed), 6);
    let switched: usize = (0..100).map(check).sum();
    assert!(switched > 1_000, "{switched} switched answers are few");
}

#[test]
fn every_packet_gets_its_old_or_its_new_answer_from_whatever_rows_were_found() {
    let check =
        |seed: u64| check_found_rows(&format!("seed {seed}"), Random::new(seed), seed.is_multiple_of(2));
    let switched: usize = (0..250).map(check).sum();
    assert!(switched > 1_000, "{switched} switched answers are few");
}

#[test]
fn every_packet_gets_the_answer_of_a_state_while_removals_of_earlier_steps_wait() {
    let check = |seed: u64| check_overlapping_rows(&format!("seed {seed}"), Random::new(seed), 12);
    let overlapping: usize = (0..100).map(check).sum();
    assert!(overlapping > 100, "{overlapping} overlapping steps are few");
}

#[test]
fn every_packet_gets_its_old_or_its_new_answer_while_a_world_changes() {
    let check = |seed: u64| check_world(&format!("seed {seed}"), Random::new(seed), 20);
    let switched: usize = (0..60).map(check).sum();
    assert!(switched > 3_000, "{switched} switched answers are few");
}

#[test]
fn rows_that_only_the_new_answer_reads_may_change_in_a_step_with_the_others() {
    // A peer moves to another group, and the column changes that only packets of the new group read.
    let found = [0x81, 0x54, 0x74, 0x2b, 0x3b, 0x3d, 0x61, 0xd0, 0xd3, 0x97, 0xc6, 0xbf, 0xff];
    let mut random = Random::from_bytes(&found);
    let (_, steps) = (random.below(4), 1 + random.below(10));
    check_changed_rows("found by the fuzzer", random, steps);
}
