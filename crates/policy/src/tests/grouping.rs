//! A grouping that is extended step by step distinguishes the same peers as one that is built at once.

use super::node::Namespaces;
use crate::endpoint_view::EndpointView;
use crate::generate::{self, GeneratedEnd, Random};
use crate::grouping::{Demand, Grouping};
use crate::registry::Registry;

const WORLDS: u64 = 150;

#[test]
fn a_grouping_extended_in_steps_equals_one_built_at_once() {
    let mut distinguished = 0;
    for seed in 0..WORLDS {
        let world = generate::world(seed);
        let mut random = Random::new(seed);
        let mut registry = Registry::new();
        let workloads: Vec<EndpointView<'_>> =
            (0..world.workloads.len()).map(|index| world.view(GeneratedEnd::Workload(index), 0)).collect();
        let namespaces = Namespaces::of(&workloads);
        namespaces.peers(&workloads).for_each(|peer| _ = namespaces.insert(&peer, &mut registry.directory));
        for policy in &world.policies {
            registry.put(policy.clone());
        }
        let Registry { policies: set, mut directory, .. } = registry;
        let demands: Vec<_> = workloads.iter().map(|one| set.selection(one).demand(&directory)).collect();
        let first = random.below(demands.len());
        let mut steps = Grouping::new(&demands[first], &mut directory);
        for demand in &demands {
            steps.extend(demand, &mut directory);
        }
        let mut all = Demand::default();
        for demand in &demands {
            all.facets.extend(&demand.facets);
            all.names.extend(demand.names.iter().cloned());
        }
        all.facets.sort_unstable();
        all.facets.dedup();
        let whole = Grouping::new(&all, &mut directory);
        for peer in &workloads {
            let known = |grouping: &Grouping| {
                let group = grouping.group_of(peer.number, &directory);
                let profile = grouping.profile(group);
                (profile.kind, grouping.facets_of(group), profile.ports.clone())
            };
            assert_eq!(known(&steps), known(&whole), "seed {seed}: {}", peer.labels);
            distinguished += usize::from(!known(&whole).1.is_empty());
        }
    }
    assert!(distinguished > 300, "{distinguished}");
}
