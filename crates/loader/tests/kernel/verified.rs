//! The verifier's instruction counts of the programs, against the counts that are written down.

use crate::ground::{loaded, possible};
use abi::Hook;
use std::path::PathBuf;

/// Set to write the numbers down anew.
const REFRESH: &str = "NEXIN_REFRESH";
/// The growth that is allowed, in percent.
const TOLERANCE: u32 = 5;

#[test]
fn programs_do_not_grow_for_the_verifier_unnoticed() {
    if !possible() {
        return;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../programs/verified-instructions.txt");
    let loaded = loaded();
    let count = |&hook| (hook, loaded.verified_instructions(hook).expect("Linux 5.16 tells"));
    let now: Vec<_> = Hook::ALL.iter().map(count).collect();
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if std::env::var_os(REFRESH).is_some() {
        let header = golden.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n"));
        let numbers = now.iter().map(|(hook, count)| format!("{hook} {count}\n"));
        std::fs::write(&path, header.chain(numbers).collect::<String>()).unwrap();
        return;
    }
    for (hook, count) in now {
        let line = golden.lines().find_map(|line| line.strip_prefix(hook.name())?.trim().parse::<u32>().ok());
        let before = line.unwrap_or_else(|| panic!("{} has no line for {hook}", path.display()));
        assert!(
            count <= before + before * TOLERANCE / 100,
            "{hook} takes the verifier {count} instructions, and took {before}: make it smaller, or set {REFRESH}=1"
        );
    }
}
