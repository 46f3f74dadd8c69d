//! Random worlds on every engine: all verdicts must agree, also after changes, which must lead where a fresh start leads.

mod case;
mod constructs;
mod document;
mod host_network;
mod incumbent;
mod moments;
mod objects;
mod policies;
mod services;
mod tiered;
mod writable;
mod yaml;

use case::{Case, differs, wanted};
use datapath::native::Tables;
use manifest::test::Expect;
use policy::generate;
use std::collections::BTreeMap;
use std::iter;
use std::time::Instant;
use testbed::{CompiledRows, Engine, Kernel, Model};

/// Probes of each world: enough for most rules to decide one, and few enough for many worlds.
const PROBES: usize = 100;

/// The number of pairs from which on each verdict must have its share.
const ALL_SHARES: usize = 100_000;

/// The number of pairs with each verdict, and of those that each construct decided.
#[derive(Default)]
struct Seen {
    verdicts: BTreeMap<Expect, usize>,
    constructs: BTreeMap<&'static str, usize>,
}

/// How many pairs to compare; `make differential` asks for more.
fn pairs() -> usize {
    let asked = std::env::var("NEXIN_PAIRS").ok();
    asked.map_or(100_000, |text| text.parse().expect("NEXIN_PAIRS is a number"))
}

/// Compares an engine with the model on at least `pairs` pairs, in worlds from the first seed on.
fn compare(engine: &mut dyn Engine, first: u64, pairs: usize) {
    let started = Instant::now();
    let mut seen = Seen::default();
    let (mut seed, mut asked) = (first, 0);
    while asked < pairs {
        let case = host_network::some_sharers(Case::of(generate::world(seed)), seed);
        asked += compare_in(case, seed, engine, &mut seen);
        seed += 1;
    }
    let worlds = seed - first;
    eprintln!(
        "model and {}: {asked} pairs in {worlds} worlds in {:.1?}, none different: {:?}\ndecided by {:#?}",
        engine.name(),
        started.elapsed(),
        seen.verdicts,
        seen.constructs
    );
    let least = least_of_each_verdict(asked);
    for verdict in [Expect::Allow, Expect::Drop, Expect::Deny] {
        let seen = seen.verdicts.get(&verdict).copied().unwrap_or_default();
        assert!(seen >= least, "too one-sided: {seen} of {asked} are {verdict:?}, not {least}");
    }
    let missing: Vec<_> =
        constructs::ALL.iter().filter(|name| !seen.constructs.contains_key(*name)).collect();
    let may_miss = constructs::may_never_decide(asked);
    if least == 0 || may_miss > 0 {
        eprintln!(
            "{asked} pairs are few: each verdict needs {least} of them, and {may_miss} of {} constructs may decide none",
            constructs::ALL.len()
        );
    }
    assert!(missing.len() <= may_miss, "some constructs never decide: {missing:?}");
}

/// How many of the compared pairs must have each verdict: more than one of 30. Few pairs come from few worlds, whose shares
/// differ: fewer are needed there by three standard deviations of the requests that a world denies (6 of 100 pairs).
fn least_of_each_verdict(pairs: usize) -> usize {
    let share = pairs / 30 + 1;
    let deviation = if pairs >= ALL_SHARES { 0 } else { 3 * 6 * (pairs / PROBES).isqrt() };
    share.saturating_sub(deviation)
}

#[test]
fn the_least_of_each_verdict_is_its_share_or_less_where_few_pairs_are_compared() {
    let least = [100, 1_000, 10_000, ALL_SHARES, 1_000_000].map(least_of_each_verdict);
    assert_eq!(least, [0, 0, 154, 3_334, 33_334]);
    let may_miss = [100, 1_000, 10_000, ALL_SHARES].map(constructs::may_never_decide);
    assert_eq!(may_miss, [constructs::ALL.len(), constructs::ALL.len(), 6, 0]);
}

/// Compares an engine with the model in one world, and returns the number of pairs.
fn compare_in(case: Case, seed: u64, engine: &mut dyn Engine, seen: &mut Seen) -> usize {
    let state = case.state();
    let constructs = constructs::by_rule(&case.world.policies);
    let mut model = Model::default();
    model.prepare(&state).unwrap();
    engine.prepare(&state).unwrap();
    let probes = case::probes(&case.world, seed, PROBES);
    for probe in &probes {
        for crossing in state.crossings(probe).unwrap() {
            let (said, got) = (wanted(&mut model, &crossing), engine.ask(&crossing).unwrap());
            *seen.verdicts.entry(said.verdict).or_default() += 1;
            let of_rule = said.rule.iter().filter_map(|rule| constructs.get(rule)).flatten().copied();
            let of_ends = iter::repeat_n(constructs::SHARER, host_network::ends(&case, probe));
            for construct in of_rule.chain(constructs::of_answer(&case.world, probe, &said)).chain(of_ends) {
                *seen.constructs.entry(construct).or_default() += 1;
            }
            if differs(&said, &got) {
                document::fail(&case, probe, engine.name());
            }
        }
    }
    probes.len()
}

#[test]
fn compiled_rows_say_what_the_model_says() {
    compare(&mut CompiledRows::new(Tables::new()), 0, pairs());
}

#[test]
#[ignore = "needs root"]
fn the_kernel_says_what_the_model_says() {
    let kernel = Kernel::open().expect("as root, the programs load");
    // Other worlds than those of the native path.
    compare(&mut CompiledRows::new(kernel), 1 << 32, pairs() / 10);
}

#[test]
fn changes_lead_where_a_fresh_start_leads() {
    let asked: usize = (0..150).map(|seed| moments::check(seed, &mut CompiledRows::new(Tables::new()))).sum();
    eprintln!("{asked} pairs after changes, none different");
    assert!(asked >= 50_000, "{asked}");
}

#[test]
#[ignore = "needs root"]
fn changes_lead_where_a_fresh_start_leads_in_the_kernel() {
    let mut engine = CompiledRows::new(Kernel::open().expect("as root, the programs load"));
    let asked: usize = (1000..1010).map(|seed| moments::check(seed, &mut engine)).sum();
    assert!(asked >= 3000, "{asked}");
}

#[test]
fn what_is_written_down_reads_back_with_the_same_meaning() {
    let asked: usize = (0..120).map(document::check).sum();
    assert!(asked >= 3000, "{asked}");
}

#[test]
fn pods_of_the_host_network_are_their_node() {
    let asked: usize = (0..40).map(host_network::check).sum();
    eprintln!("{asked} pairs with pods of the host network, all as of their nodes");
    assert!(asked >= 1000, "{asked}");
}
