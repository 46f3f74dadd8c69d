//! Cells that a policy copies from its predecessor must equal computed ones, and columns that it takes over must be in
//! force.

use crate::class::ClassId;
use crate::compile::CompiledPolicy;
use crate::endpoint_view::EndpointView;
use crate::generate::{self, GeneratedEnd, GeneratedWorld, Random};
use crate::grouping::Grouping;
use crate::registry::Registry;
use crate::rule::Policy;
use abi::row::Row;

const WORLDS: u64 = 120;

#[test]
fn copied_cells_equal_computed_cells() {
    let (mut same, mut other, mut shared) = (0, 0, 0);
    for seed in 0..WORLDS {
        let world = generate::world(seed);
        let mut random = Random::new(seed);
        for _ in 0..3 {
            let Outcome { again, anew, before, in_force, is_shared } = compile(&world, &mut random);
            assert_eq!(classes(&again), classes(&anew), "seed {seed}");
            if classes(&anew) == before {
                same += 1
            } else {
                other += 1
            }
            shared += usize::from(is_shared);
            let rows = again.class_rows();
            assert_eq!(rows.filter(|row| !in_force.contains(row)).collect::<Vec<_>>(), [], "seed {seed}");
        }
    }
    assert!(same > 20 && other > 100, "{same} changes changed nothing, {other} something");
    assert!(shared > 20 && shared < same + other, "{shared} took columns over, {other} made others");
}

/// A predecessor, and its replacement compiled with and without it.
struct Outcome {
    again: CompiledPolicy,
    anew: CompiledPolicy,
    /// The cells of the predecessor.
    before: Vec<Vec<(u32, ClassId)>>,
    /// The rows of the predecessor, and the rows that `again` adds.
    in_force: Vec<Row>,
    /// Whether `again` takes over all columns of the predecessor.
    is_shared: bool,
}

/// The classes of a policy's cells. Equal numbers mean equal verdicts, since equal tables share one class.
fn classes(policy: &CompiledPolicy) -> Vec<Vec<(u32, ClassId)>> {
    policy.classes().into_iter().map(<[_]>::to_vec).collect()
}

/// Compiles a policy that replaces another one with the same subject and other rules.
fn compile(world: &GeneratedWorld, random: &mut Random) -> Outcome {
    let mut registry = Registry::new();
    let workloads: Vec<EndpointView<'_>> =
        (0..world.workloads.len()).map(|index| world.view(GeneratedEnd::Workload(index), 0)).collect();
    for peer in &workloads {
        registry.directory.insert(peer.number, peer.labels.clone(), peer.ports.clone());
    }
    for policy in world.policies.iter().filter(|_| random.chance(80)) {
        registry.put(policy.clone());
    }
    let subject = &workloads[random.below(workloads.len())];
    let selection = registry.policies.selection(subject);
    let demand = selection.demand(&registry.directory);
    let mut grouping = Grouping::new(&demand, &mut registry.directory);
    let (mut policy, mut in_force) = CompiledPolicy::new(selection, &demand, &grouping, None, &mut registry);
    let is_about = |policy: &&Policy| {
        policy.specs.iter().any(|spec| spec.subject.selects(subject.number, subject.labels))
    };
    let about: Vec<&Policy> = world.policies.iter().filter(is_about).collect();
    let changed = if about.is_empty() { &world.policies[0] } else { about[random.below(about.len())] };
    if registry.policies.remove(&changed.id).is_none() || random.chance(30) {
        registry.put(changed.clone());
    }
    let selection = registry.policies.selection(subject);
    let demand = selection.demand(&registry.directory);
    grouping.extend(&demand, &mut registry.directory);
    in_force.extend(policy.extend_to(&grouping, &mut registry.book));
    let before = classes(&policy);
    let mut compile =
        |before| CompiledPolicy::new(selection.clone(), &demand, &grouping, before, &mut registry);
    let (again, fresh) = compile(Some(&mut policy));
    let is_shared = fresh.is_empty();
    in_force.extend(fresh);
    let (anew, _) = compile(None);
    Outcome { again, anew, before, in_force, is_shared }
}
