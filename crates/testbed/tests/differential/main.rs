//! Random worlds on every engine: what one says, all must say; and what was reached by changes is like what was there
//! from the start.

mod case;
mod document;
mod moments;
mod policies;
mod writable;
mod yaml;

use case::{Case, differs, wanted};
use datapath::native::Tables;
use manifest::test::Expect;
use policy::generate;
use std::collections::BTreeMap;
use std::time::Instant;
use testbed::{Engine, Kernel, Model, Rows};

/// Compares an engine with the model on this many worlds with this many probes each, and returns how many were asked.
fn compare(engine: &mut dyn Engine, worlds: std::ops::Range<u64>, probes: usize) -> usize {
    let started = Instant::now();
    let mut seen = BTreeMap::<Expect, usize>::new();
    for seed in worlds {
        let case = Case::of(generate::world(seed));
        let state = case.state();
        let mut model = Model::default();
        model.prepare(&state).unwrap();
        engine.prepare(&state).unwrap();
        for probe in case::probes(&case.world, seed, probes) {
            let crossing = state.crossing(&probe).unwrap();
            let (said, got) = (wanted(&mut model, &crossing), engine.ask(&crossing).unwrap());
            *seen.entry(said.verdict).or_default() += 1;
            if differs(&said, &got) {
                document::fail(&case, &probe, engine.name());
            }
        }
    }
    let asked: usize = seen.values().sum();
    eprintln!(
        "model and {}: {asked} pairs in {:.1?}, none different: {seen:?}",
        engine.name(),
        started.elapsed()
    );
    for verdict in [Expect::Allow, Expect::Drop, Expect::Deny] {
        assert!(seen.get(&verdict).is_some_and(|&seen| seen * 250 > asked), "too one-sided: {seen:?}");
    }
    asked
}

#[test]
fn compiled_rows_say_what_the_model_says() {
    assert!(compare(&mut Rows::new(Tables::new()), 0..480, 220) >= 100_000);
}

#[test]
#[ignore = "needs root"]
fn the_kernel_says_what_the_model_says() {
    let kernel = Kernel::open().expect("as root, the programs load");
    assert!(compare(&mut Rows::new(kernel), 0..110, 100) >= 10_000);
}

#[test]
fn changes_lead_where_a_fresh_start_leads() {
    let asked: usize = (0..150).map(|seed| moments::check(seed, &mut Rows::new(Tables::new()))).sum();
    eprintln!("{asked} pairs after changes, none different");
    assert!(asked >= 50_000, "{asked}");
}

#[test]
#[ignore = "needs root"]
fn changes_lead_where_a_fresh_start_leads_in_the_kernel() {
    let mut engine = Rows::new(Kernel::open().expect("as root, the programs load"));
    let asked: usize = (1000..1010).map(|seed| moments::check(seed, &mut engine)).sum();
    assert!(asked >= 3000, "{asked}");
}

#[test]
fn what_is_written_down_reads_back_with_the_same_meaning() {
    let asked: usize = (0..120).map(document::check).sum();
    assert!(asked >= 3000, "{asked}");
}
