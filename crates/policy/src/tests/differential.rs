//! The model against the rows, walked as the packet path documents it, over random worlds.

use super::domains;
use super::node::{Arrival, Node};
use crate::generate::{self, GeneratedEnd, GeneratedProbe, GeneratedWorld};
use crate::model::Verdict;
use crate::rule::Direction;
use std::collections::BTreeMap;

const WORLDS: u64 = 240;
const PROBES: usize = 100;
/// Set while building to ask about so many worlds.
const MORE_WORLDS: Option<&str> = option_env!("NEXIN_WORLDS");

#[test]
fn rows_say_what_the_model_says() {
    let (mut asked, mut seen) = (0, BTreeMap::<(Verdict, bool), usize>::new());
    let worlds = MORE_WORLDS.map_or(WORLDS, |worlds| worlds.parse().unwrap());
    for seed in 0..worlds {
        let mut world = generate::world(seed);
        domains::spread(&mut world, seed);
        let names = domains::names(&world, seed);
        let probes = generate::probes(&world, seed, PROBES);
        let node = Node::new(&world, Arrival::of(seed), names.clone());
        for probe in &probes {
            for subject in subjects(probe) {
                let (wanted, got) = node.ask(&world, probe, subject);
                asked += 1;
                *seen.entry((wanted.verdict, wanted.rule.0 > 1)).or_default() += 1;
                if wanted != got {
                    report(&world, probe, subject, seed);
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
fn report(world: &GeneratedWorld, probe: &GeneratedProbe, subject: Direction, seed: u64) -> ! {
    let node = |world: &GeneratedWorld| Node::new(world, Arrival::of(seed), domains::names(world, seed));
    let ask = |world: &GeneratedWorld| node(world).ask(world, probe, subject);
    let smallest = generate::shrink(world, |world| {
        let (wanted, got) = ask(world);
        wanted != got
    });
    let (wanted, got) = ask(&smallest);
    let (from, to) = (smallest.view(probe.from, probe.family), smallest.view(probe.to, probe.family));
    panic!(
        "{subject:?} of {probe:#?}\nfrom {from:?}\nto {to:?}\nmodel: {wanted:?}\nrows: {got:?}\n{:#?}",
        smallest.policies
    );
}

/// The directions in which a workload's policies are asked about the probe.
fn subjects(probe: &GeneratedProbe) -> impl Iterator<Item = Direction> {
    let is_subject = |end| matches!(end, GeneratedEnd::Workload(_));
    let egress = is_subject(probe.from).then_some(Direction::Egress);
    let ingress = is_subject(probe.to).then_some(Direction::Ingress);
    egress.into_iter().chain(ingress)
}
