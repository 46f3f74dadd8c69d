//! The model against the rows, walked as the packet path documents it, over random worlds.

use super::answers::{Answers, sides};
use super::domains;
use super::node::{CompilingNode, PeerOrder};
use crate::generate::{self, GeneratedProbe, GeneratedWorld};
use crate::model::Verdict;
use crate::rule::Direction;
use std::collections::BTreeMap;

const WORLDS: u64 = 240;
const PROBES: usize = 100;
/// Set at build time to test this many worlds.
const MORE_WORLDS: Option<&str> = option_env!("NEXIN_WORLDS");

#[test]
fn rows_agree_with_the_model() {
    let (mut asked, mut seen) = (0, BTreeMap::<(Verdict, bool), usize>::new());
    let worlds = MORE_WORLDS.map_or(WORLDS, |worlds| worlds.parse().unwrap());
    for seed in 0..worlds {
        let mut world = generate::world(seed);
        domains::spread(&mut world, seed);
        let names = domains::names(&world, seed);
        let probes = generate::probes(&world, seed, PROBES);
        let node = CompilingNode::new(&world, PeerOrder::of(seed), names.clone());
        for probe in &probes {
            for side in sides(probe) {
                let answers = Answers::of(&node, &world, probe, side);
                asked += 1;
                *seen.entry((answers.model.verdict, answers.model.rule.0 > 1)).or_default() += 1;
                if !answers.agree() {
                    report(&world, probe, side, seed);
                }
            }
        }
    }
    assert!(asked >= 30_000, "{asked}");
    for verdict in [Verdict::Allow, Verdict::Drop, Verdict::DenyRequest] {
        assert!(seen[&(verdict, true)] > 100, "rules decide too seldom: {seen:?}");
    }
}

/// Shrinks the world and panics with what remains.
fn report(world: &GeneratedWorld, probe: &GeneratedProbe, side: Direction, seed: u64) -> ! {
    let node =
        |world: &GeneratedWorld| CompilingNode::new(world, PeerOrder::of(seed), domains::names(world, seed));
    let smallest = generate::shrink(world, |world| !Answers::of(&node(world), world, probe, side).agree());
    let node = node(&smallest);
    let answers = Answers::of(&node, &smallest, probe, side);
    let (from, to) = (smallest.view(probe.from, probe.family), smallest.view(probe.to, probe.family));
    panic!("seed {seed}: the engines differ\n{answers}from {from:?}\nto {to:?}\n{:#?}", smallest.policies);
}
