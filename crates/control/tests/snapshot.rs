//! Snapshots along random changes: each agrees with the world that it was taken of, and stays as it is.

use control::fixtures::random_change;
use control::{Change, Snapshot, World};
use policy::generate::Random;
use std::collections::BTreeMap;

const SEEDS: u64 = 20;
const CHANGES: usize = 60;

#[test]
fn a_snapshot_is_the_world_and_stays_as_it_is() {
    let mut applied = 0;
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let mut world = World::new();
        let mut snapshots: Vec<(Snapshot, String)> = Vec::new();
        for _ in 0..CHANGES {
            let changes: Vec<Change> = (0..=random.below(3)).map(|_| random_change(&mut random)).collect();
            world.apply(changes.clone());
            let snapshot = world.snapshot();
            applied += check(&snapshot, &world, &format!("seed {seed}, after {changes:?}"));
            let description = format!("{snapshot:?}");
            snapshots.push((snapshot, description));
        }
        for (snapshot, description) in &snapshots {
            assert_eq!(&format!("{snapshot:?}"), description, "seed {seed}");
        }
    }
    assert!(applied > 1_000, "{applied} policies of workloads are few");
}

/// Compares a snapshot with its world. Returns how many policies apply to workloads.
#[track_caller]
fn check(snapshot: &Snapshot, world: &World, when: &str) -> usize {
    assert_eq!(snapshot.node(), world.node(), "{when}");
    assert!(snapshot.remote_nodes().eq(world.remote_nodes()), "{when}");
    assert_eq!(snapshot.api_servers(), world.api_servers(), "{when}");
    assert!(
        snapshot.identities().iter().map(|(id, labels)| (*id, labels)).eq(world.identities().iter()),
        "{when}"
    );
    assert!(snapshot.policies().iter().eq(world.registry().policies.iter()), "{when}");
    assert!(snapshot.services().services().eq(world.services()), "{when}");
    assert!(snapshot.services().frontends().eq(world.frontends()), "{when}");
    for endpoint in world.endpoints() {
        let (id, workload) = (endpoint.id, &endpoint.workload);
        assert_eq!(snapshot.endpoints().get(&id).map(|known| &**known), Some(endpoint), "{when}");
        assert_eq!(snapshot.endpoint_row(id).copied(), world.endpoint_row(endpoint), "{when}");
        assert_eq!(snapshot.workload_named(&workload.namespace, &workload.name), Some(id), "{when}");
        let (found, wanted) = (snapshot.view(id).unwrap(), world.view(id).unwrap());
        assert_eq!((found.identity, found.labels), (wanted.number, wanted.labels), "{when}");
        assert_eq!(&found.ports, wanted.ports, "{when}");
    }
    for (id, workload) in snapshot.workloads() {
        assert!(
            workload
                .addresses
                .iter()
                .all(|address| snapshot.workload_at(*address) == world.workload_at(*address)),
            "{when}"
        );
        assert_eq!(world.workload(id), Some(workload), "{when}");
    }
    applying(snapshot, world, when)
}

/// Compares the policies that apply to each workload with those that the world's index selects.
#[track_caller]
fn applying(snapshot: &Snapshot, world: &World, when: &str) -> usize {
    let names: BTreeMap<u64, _> =
        snapshot.policies().revisions().map(|(revision, policy)| (revision, &policy.id)).collect();
    let mut count = 0;
    for endpoint in world.endpoints() {
        let selection = snapshot.selection(snapshot.endpoint_row(endpoint.id).unwrap().policy).unwrap();
        let mut found: Vec<_> = selection.revisions().map(|revision| names[&revision]).collect();
        let selection = world.registry().policies.selection(&world.view(endpoint.id).unwrap());
        let mut wanted: Vec<_> = selection.policies().collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{when}");
        count += found.len();
    }
    count
}
