//! Identities that the cluster assigns: workloads get its numbers, and nothing else of them changes.

use abi::address::AddressKey;
use abi::batch::Batch;
use abi::identity::FIRST_UNASSIGNED;
use abi::row::{MapOp, Row, RowKey};
use control::fixtures::{address_of, endpoint, namespace, random_change, workload};
use control::{Change, RemoteNode, RemoteWorkload, Rows, Workload, World, Writes};
use identity::{Allocator, Labels};
use policy::generate::Random;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node of a cluster.
fn in_cluster() -> World {
    let mut world = World::adopt([], Allocator::in_cluster());
    world.apply([]);
    world
}

fn labels(app: &str) -> Arc<Labels> {
    Arc::new(Labels::of_workload("x", [], [("app", app)]))
}

fn assigned(number: u32, app: &str) -> Change {
    Change::Identity { number, labels: labels(app) }
}

/// The identity in the row of a workload's address.
fn identity(world: &World, id: u32) -> Option<u32> {
    match world.rows().get(&RowKey::Address(AddressKey::host(address_of(id).into())))? {
        Row::Address(_, info) => Some(info.identity),
        _ => None,
    }
}

/// All rows, without the identities of workloads: what verdicts depend on.
fn verdicts(world: &World) -> Rows {
    let without = |row| match row {
        Row::Address(key, info) => Row::Address(key, abi::address::AddressInfo { identity: 0, ..info }),
        Row::Endpoint(key, info) => Row::Endpoint(key, abi::endpoint::EndpointInfo { identity: 0, ..info }),
        other => other,
    };
    world.rows().into_iter().map(|(key, row)| (key, without(row))).collect()
}

#[test]
fn workloads_get_the_clusters_number_in_one_step_and_keep_everything_else() {
    let mut world = in_cluster();
    world.apply([workload(1, "x", "web"), workload(2, "x", "web"), workload(3, "x", "db")]);
    assert_eq!(
        [1, 2, 3].map(|id| identity(&world, id)),
        [FIRST_UNASSIGNED, FIRST_UNASSIGNED, FIRST_UNASSIGNED + 1].map(Some)
    );
    let before = verdicts(&world);
    let writes = world.apply([assigned(700, "web")]);
    assert_eq!([1, 2, 3].map(|id| identity(&world, id)), [700, 700, FIRST_UNASSIGNED + 1].map(Some));
    assert_eq!(verdicts(&world), before);
    let put =
        |write: &MapOp| matches!(write, MapOp::Put(Row::Address(..) | Row::Endpoint(..) | Row::Config(_)));
    assert!(writes.now.iter().all(|write| put(&write)), "{:?}", writes.now);
    assert_eq!((writes.later.is_empty(), writes.last.is_empty()), (true, true));
    assert_eq!(Vec::from_iter(writes.renamed.workloads), [1, 2]);
}

#[test]
fn a_workload_has_the_clusters_number_from_the_start_if_it_is_known() {
    let mut world = in_cluster();
    world.apply([assigned(700, "web")]);
    let own = |app: &str| BTreeMap::from([("app".to_owned(), app.to_owned())]);
    assert_eq!(world.assigned_identity("x", &own("web")), Some(700));
    assert_eq!(world.assigned_identity("x", &own("db")), None);
    let of_other_node = RemoteWorkload {
        node: "other".into(),
        workload: Workload {
            namespace: "x".into(),
            name: "remote".into(),
            labels: Arc::new(own("web")),
            addresses: vec![address_of(9)],
            ..Workload::default()
        },
    };
    world.apply([workload(1, "x", "web"), Change::RemoteWorkload(Box::new(of_other_node))]);
    assert_eq!([1, 9].map(|id| identity(&world, id)), [Some(700); 2]);
}

#[test]
fn a_number_that_the_cluster_withdraws_stays_with_the_workloads_that_have_it() {
    let mut world = in_cluster();
    world.apply([assigned(700, "web"), workload(1, "x", "web")]);
    let before = world.rows();
    let writes = world.apply([Change::RemoveIdentity(700)]);
    assert_eq!((world.rows(), writes.now.is_empty()), (before, true));
    world.apply([workload(2, "x", "web")]);
    assert_eq!(identity(&world, 2), Some(700));
    world.apply([assigned(800, "web")]);
    assert_eq!([1, 2].map(|id| identity(&world, id)), [Some(800); 2]);
}

#[test]
fn workloads_whose_numbers_are_exchanged_keep_their_policies_and_groups() {
    let mut world = in_cluster();
    world.apply([assigned(700, "web"), assigned(701, "db"), workload(1, "x", "web"), workload(2, "x", "db")]);
    let before = verdicts(&world);
    world.apply([assigned(700, "db"), assigned(701, "web")]);
    assert_eq!([1, 2].map(|id| identity(&world, id)), [Some(701), Some(700)]);
    assert_eq!(verdicts(&world), before);
    // Both end in the step in which the cluster gives their numbers back.
    world.apply([
        assigned(700, "web"),
        Change::RemoveEndpoint(1),
        assigned(701, "db"),
        Change::RemoveEndpoint(2),
    ]);
    assert_eq!(world.identities().allocated().count(), 0);
}

#[test]
fn a_node_keeps_the_clusters_numbers_over_a_restart() {
    let mut world = in_cluster();
    world.apply([assigned(700, "web"), workload(1, "x", "web"), workload(2, "x", "db")]);
    let mut restarted = World::adopt(world.rows().into_values(), world.identities().clone());
    let writes = restarted.apply([workload(1, "x", "web"), workload(2, "x", "db")]);
    let addresses = |world: &World| -> Rows {
        world.rows().into_iter().filter(|(key, _)| matches!(key, RowKey::Address(_))).collect()
    };
    assert_eq!(addresses(&restarted), addresses(&world));
    let put = |write: &MapOp| matches!(write, MapOp::Put(Row::Address(..)));
    assert!(!writes.now.iter().any(|write| put(&write)));
}

#[test]
fn a_number_of_the_cluster_stays_when_its_writes_fail() {
    let mut world = in_cluster();
    world.apply([workload(1, "x", "web"), namespace("y", "front")]);
    let before = world.rows();
    let writes = world.apply([assigned(700, "web")]);
    assert!(writes.now.len() > 2);
    for made in 0..=writes.now.len() {
        let mut world = world.clone();
        let mut maps = fail(&mut world, &before, &writes, made);
        let again = world.apply(writes.undo.clone());
        [&again.now, &again.later, &again.last].into_iter().for_each(|batch| make(&mut maps, batch));
        assert_eq!(maps, world.rows(), "after {made} writes");
        assert_eq!(identity(&world, 1), Some(700));
        assert!(world.apply([assigned(700, "web")]).now.is_empty());
    }
}

#[test]
fn a_removal_that_fails_is_taken_back_with_the_same_identity() {
    let mut world = in_cluster();
    world.apply([assigned(700, "web"), workload(1, "x", "web")]);
    world.apply([Change::RemoveIdentity(700)]);
    let before = world.rows();
    let writes = world.apply([Change::RemoveEndpoint(1)]);
    fail(&mut world, &before, &writes, 1);
    world.apply(writes.undo);
    assert_eq!(identity(&world, 1), Some(700));
    world.apply([Change::RemoveEndpoint(1)]);
    assert_eq!(world.identities().allocated().count(), 0);
}

/// The writes of the last change fail after some of them: the maps then hold these rows.
fn fail(world: &mut World, before: &Rows, writes: &Writes, made: usize) -> Rows {
    let mut maps = before.clone();
    make(&mut maps, &writes.now.iter().take(made).collect());
    world.adopt_rows(maps.values().copied());
    maps
}

fn make(maps: &mut Rows, batch: &Batch) {
    for write in batch.iter() {
        match write {
            MapOp::Put(row) => _ = row.key().map(|key| maps.insert(key, row)),
            MapOp::Delete(key) => _ = maps.remove(&key),
        }
    }
}

#[test]
fn what_comes_back_after_a_failure_has_its_numbers() {
    let mut world = World::new();
    world.apply([]);
    let mut with_port = endpoint(2, "x", "web");
    with_port.workload.named_ports = Arc::new(BTreeMap::from([(("http".to_owned(), 6), 80)]));
    let node = RemoteNode { labels: [("role".to_owned(), "w".to_owned())].into(), ..remote_node() };
    world.apply([
        workload(1, "x", "web"),
        Change::Endpoint(with_port.into()),
        Change::RemoteNode(node.into()),
    ]);
    let addresses = |world: &World| -> Rows {
        world.rows().into_iter().filter(|(key, _)| matches!(key, RowKey::Address(_))).collect()
    };
    let (before, wanted) = (world.rows(), addresses(&world));
    let last = |id| Change::RemoveEndpoint(id);
    for changes in [vec![last(2)], vec![last(1), last(2), Change::RemoveRemoteNode("other".into())]] {
        let writes = world.apply(changes);
        fail(&mut world, &before, &writes, 0);
        world.apply(writes.undo);
        assert_eq!(addresses(&world), wanted, "identities, peer numbers and numbers of namespaces");
    }
}

fn remote_node() -> RemoteNode {
    RemoteNode { name: "other".into(), addresses: vec![[192, 0, 2, 10].into()], ..RemoteNode::default() }
}

/// The cluster assigns a number of a few to labels that random workloads may have, or withdraws it.
fn random_assignment(random: &mut Random) -> Change {
    let number = 300 + random.below(8) as u32;
    if random.chance(25) {
        return Change::RemoveIdentity(number);
    }
    let (namespaces, apps) = (["x", "y", "z"], ["a", "b", "web", "db"]);
    let own = [("app", random.pick(&apps)), ("tier", random.pick(&["front", "back"]))];
    let own = own.into_iter().take(random.below(3));
    let labels = Labels::of_workload(random.pick(&namespaces), [], own);
    Change::Identity { number, labels: Arc::new(labels) }
}

#[test]
fn assignments_change_no_row_that_a_verdict_depends_on_whatever_else_happened() {
    let mut renumbered = 0;
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut world = in_cluster();
        let mut maps = world.rows();
        for step in 0..60 {
            // Labels that workloads have are assigned often.
            let used: Vec<Arc<Labels>> =
                world.identities().allocated().map(|(_, labels)| labels.clone()).collect();
            let mut assignment = random_assignment(&mut random);
            if let (Change::Identity { labels, .. }, true) = (&mut assignment, !used.is_empty()) {
                *labels = used[random.below(used.len())].clone();
            }
            let (before, identities) = (verdicts(&world), world.rows());
            let writes = world.apply([assignment.clone()]);
            renumbered += usize::from(world.rows() != identities);
            assert_eq!(verdicts(&world), before, "seed {seed}, step {step}: {assignment:?}");
            for batch in [&writes.now, &writes.later, &writes.last] {
                make(&mut maps, batch);
            }
            let changes: Vec<Change> =
                [random_change(&mut random)].into_iter().chain([random_assignment(&mut random)]).collect();
            let writes = world.apply(changes.clone());
            for batch in [&writes.now, &writes.later, &writes.last] {
                make(&mut maps, batch);
            }
            assert_eq!(maps, world.rows(), "seed {seed}, step {step}: {changes:?}");
        }
        let going: Vec<Change> = world.endpoints().map(|one| Change::RemoveEndpoint(one.id)).collect();
        world.apply(going);
        let going = world.remote_workloads().map(|RemoteWorkload { workload, .. }| {
            let (namespace, name) = (workload.namespace.clone(), workload.name.clone());
            Change::RemoveRemoteWorkload { namespace, name }
        });
        let going: Vec<Change> = going.collect();
        world.apply(going);
        assert_eq!(world.identities().allocated().count(), 0, "seed {seed}");
    }
    assert!(renumbered > 100, "{renumbered} renumbered identities are few");
}
