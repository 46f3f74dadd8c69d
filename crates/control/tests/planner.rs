//! The planner alone, on random graphs of rows, with a reader between every two writes.

use control::fixtures::{check_changed_rows, check_found_rows, check_overlapping_rows};
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
