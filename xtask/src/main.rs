//! Chores of the repository that are more than three lines long.
fn main() {}
