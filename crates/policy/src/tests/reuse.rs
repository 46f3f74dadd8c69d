//! What a policy says again of one before it must be what it would find out by itself.

use crate::book::RuleBook;
use crate::compile::Compiled;
use crate::directory::Directory;
use crate::generate::{self, End, Random, World};
use crate::grouping::Grouping;
use crate::party::Party;
use crate::ready::Numbers;
use crate::rule::Policy;
use crate::set::PolicySet;
use abi::row::Row;

const WORLDS: u64 = 120;

#[test]
fn what_is_said_again_is_what_would_be_found_out() {
    let (mut same, mut other) = (0, 0);
    for seed in 0..WORLDS {
        let world = generate::world(seed);
        let mut random = Random::new(seed);
        for _ in 0..3 {
            let (again, anew, before) = compile(&world, &mut random);
            assert_eq!(again, anew, "seed {seed}");
            if anew == before { same += 1 } else { other += 1 }
        }
    }
    assert!(same > 20 && other > 100, "{same} changes changed nothing, {other} something");
}

/// Compiles a policy that takes the place of another, which is about the same subject and other rules: with what that
/// said, and without. Classes are numbered by what they say, so that equal rows mean equal verdicts.
fn compile(world: &World, random: &mut Random) -> (Vec<Row>, Vec<Row>, Vec<Row>) {
    let (mut set, mut directory, mut book) = (PolicySet::new(), Directory::new(), RuleBook::new());
    let workloads: Vec<Party<'_>> =
        (0..world.workloads.len()).map(|index| world.party(End::Workload(index), 0)).collect();
    for peer in &workloads {
        directory.insert(peer.number, peer.labels.clone(), peer.ports.clone());
    }
    let mut numbers = Numbers { directory: &mut directory, book: &mut book };
    for policy in world.policies.iter().filter(|_| random.chance(80)) {
        set.apply(policy.clone(), &mut numbers);
    }
    let subject = &workloads[random.below(workloads.len())];
    let selection = set.selection(subject);
    let demand = selection.demand(&directory);
    let mut grouping = Grouping::new(&demand, &mut directory);
    let before = Compiled::new((selection, &demand), (&grouping, &directory), None, &mut book);
    let is_about = |policy: &&Policy| {
        policy.specs.iter().any(|spec| spec.subject.selects(subject.number, subject.labels))
    };
    let about: Vec<&Policy> = world.policies.iter().filter(is_about).collect();
    let changed = if about.is_empty() { &world.policies[0] } else { about[random.below(about.len())] };
    if set.remove(&changed.id).is_none() || random.chance(30) {
        set.apply(changed.clone(), &mut Numbers { directory: &mut directory, book: &mut book });
    }
    let selection = set.selection(subject);
    let demand = selection.demand(&directory);
    grouping.extend(&demand, &mut directory);
    let mut compile = |before| {
        let compiled =
            Compiled::new((selection.clone(), &demand), (&grouping, &directory), before, &mut book);
        compiled.rows(1).collect::<Vec<Row>>()
    };
    (compile(Some(&before)), compile(None), before.rows(1).collect())
}
