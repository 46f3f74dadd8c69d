//! Worlds that change: policies, labels, ports, addresses and workloads are added, replaced and removed.

use crate::case::{self, Case, difference, differs};
use crate::document;
use datapath::native::Tables;
use policy::generate::{self, Random};
use testbed::{CompiledRows, Engine, Model};

/// How many changes a world goes through.
const MOMENTS: usize = 12;
/// How many probes follow each.
const PROBES: usize = 40;

/// Takes an engine through the moments of one world. At each moment the engine must agree with the model, and at the last
/// with an engine from a fresh start. Returns the number of compared crossings.
pub(crate) fn check(seed: u64, engine: &mut dyn Engine) -> usize {
    let mut random = Random::new(seed ^ 0x6d6f_6d65_6e74);
    let mut case = Case::of(generate::world(seed));
    let mut asked = 0;
    for moment in 0..MOMENTS {
        for _ in 0..=random.below(3) {
            change(&mut case, &mut random);
        }
        asked += ask(&case, seed + moment as u64, engine, moment + 1 == MOMENTS);
    }
    asked
}

fn ask(case: &Case, seed: u64, engine: &mut dyn Engine, is_last: bool) -> usize {
    let state = case.state();
    let (mut model, mut fresh) = (Model::default(), CompiledRows::new(Tables::new()));
    model.prepare(&state).unwrap();
    engine.prepare(&state).unwrap();
    if is_last {
        fresh.prepare(&state).unwrap();
    }
    let mut asked = 0;
    for probe in case::probes(&case.world, seed, PROBES) {
        // A workload that does not exist has no address.
        let Ok(crossings) = state.crossings(&probe) else { continue };
        for crossing in crossings {
            let (wanted, got) = (case::wanted(&mut model, &crossing), engine.ask(&crossing).unwrap());
            asked += 1;
            if differs(&wanted, &got) {
                eprintln!("after changes: {}", difference(&crossing, &wanted, (engine.name(), &got)));
                document::fail(case, &probe, engine.name());
            }
            if is_last {
                let anew = fresh.ask(&crossing).unwrap();
                assert!(anew == got, "{crossing}\n  from a fresh start: {anew}\n  after changes: {got}");
            }
        }
    }
    asked
}

fn change(case: &mut Case, random: &mut Random) {
    let other = generate::world(random.below(100_000) as u64);
    let (workloads, policies) = (&mut case.world.workloads, &mut case.world.policies);
    let at = random.below(workloads.len());
    match random.below(8) {
        0 if !policies.is_empty() => drop(policies.remove(random.below(policies.len()))),
        0..3 => {
            // A policy of the same name is replaced.
            let added = other.policies[random.below(other.policies.len())].clone();
            policies.retain(|policy| policy.id != added.id);
            policies.push(added);
            policies.sort_by(|left, right| left.id.cmp(&right.id));
        }
        3 => workloads[at].own.clone_from(&other.workloads[at].own),
        4 => workloads[at].ports.clone_from(&other.workloads[at].ports),
        5 => {
            let second = random.below(workloads.len());
            let addresses = workloads[at].addresses;
            workloads[at].addresses = workloads[second].addresses;
            workloads[second].addresses = addresses;
        }
        6 => case.present[at] = !case.present[at],
        _ => {
            let namespace = workloads[at].namespace.clone();
            let tier = random.pick(&["front", "back", "side"]);
            case.world.namespaces.insert(namespace, vec![("tier".into(), tier.into())]);
        }
    }
}
