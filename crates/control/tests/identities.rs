//! Identities from a source that answers later than in the step of the request.

use abi::address::AddressKey;
use abi::batch::Batch;
use abi::endpoint::EndpointKey;
use abi::row::{MapOp, Row, RowKey};
use control::fixtures::{address_of, endpoint, interface_of, namespace, workload};
use control::{Change, RemoteNode, Rows, World, Writes};
use identity::Labels;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A source that gives each set of labels the next number.
#[derive(Default)]
struct IdentitySource {
    known: Vec<Arc<Labels>>,
}

impl IdentitySource {
    fn answers(&mut self, writes: &Writes) -> Vec<Change> {
        let number = |labels: &Arc<Labels>| {
            let known = self.known.iter().position(|known| known == labels);
            let at = known.unwrap_or_else(|| {
                self.known.push(labels.clone());
                self.known.len() - 1
            });
            Change::Identity { labels: labels.clone(), number: 1000 + at as u32 }
        };
        writes.identities.wanted.iter().map(number).collect()
    }
}

fn asking() -> World {
    let mut world = World::new();
    world.ask_for_identities();
    world
}

/// The identity in the row of a workload's address.
fn identity(world: &World, id: u32) -> Option<u32> {
    match world.rows().get(&RowKey::Address(AddressKey::host(address_of(id).into())))? {
        Row::Address(_, info) => Some(info.identity),
        _ => None,
    }
}

#[test]
fn a_workload_has_no_rows_until_the_source_answers() {
    let (mut world, mut source) = (asking(), IdentitySource::default());
    let writes = world.apply([workload(1, "x", "web"), workload(2, "x", "web")]);
    assert_eq!(writes.identities.wanted.len(), 1, "both have the same labels");
    let endpoint = RowKey::Endpoint(EndpointKey { interface: interface_of(1) });
    assert_eq!((identity(&world, 1), world.rows().get(&endpoint)), (None, None));
    assert!(
        world.apply([workload(3, "x", "web")]).identities.wanted.is_empty(),
        "the identity was requested before"
    );
    let writes = world.apply(source.answers(&writes));
    assert_eq!([1, 2, 3].map(|id| identity(&world, id)), [Some(1000); 3]);
    assert!(world.rows().contains_key(&endpoint) && writes.identities.wanted.is_empty());
}

#[test]
fn workloads_keep_their_identity_until_new_answers_take_effect_together() {
    let (mut world, mut source) = (asking(), IdentitySource::default());
    let writes = world.apply([workload(1, "x", "web"), workload(2, "x", "db")]);
    world.apply(source.answers(&writes));
    let before = [1, 2].map(|id| identity(&world, id));
    let writes = world.apply([namespace("x", "front")]);
    assert_eq!(writes.identities.wanted.len(), 2);
    assert_eq!([1, 2].map(|id| identity(&world, id)), before);
    assert!(writes.now.is_empty() && writes.later.is_empty());
    let writes = world.apply(source.answers(&writes));
    assert_eq!([1, 2].map(|id| identity(&world, id)), [Some(1002), Some(1003)]);
    let put = |write: MapOp| matches!(write, MapOp::Put(Row::Address(..)));
    assert_eq!(writes.now.iter().filter(|write| put(*write)).count(), 2, "in one step");
    let mut released = writes.identities.released;
    released.sort_unstable();
    assert_eq!(released, [1000, 1001]);
}

#[test]
fn an_answer_that_comes_too_late_is_given_back() {
    let (mut world, mut source) = (asking(), IdentitySource::default());
    let writes = world.apply([workload(1, "x", "web")]);
    world.apply([Change::RemoveEndpoint(1)]);
    let writes = world.apply(source.answers(&writes));
    assert_eq!((identity(&world, 1), writes.identities.released), (None, vec![1000]));
    assert_eq!(world.identities().allocated().count(), 0);
}

#[test]
fn an_answer_that_contradicts_another_changes_nothing() {
    let (mut world, mut source) = (asking(), IdentitySource::default());
    let writes = world.apply([workload(1, "x", "web")]);
    world.apply(source.answers(&writes));
    let writes = world.apply([workload(2, "x", "db")]);
    let [Change::Identity { labels, .. }] = &source.answers(&writes)[..] else { panic!("one answer") };
    world.apply([Change::Identity { labels: labels.clone(), number: 1000 }]);
    assert_eq!([1, 2].map(|id| identity(&world, id)), [Some(1000), None]);
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
fn an_answer_stays_in_force_when_its_writes_fail() {
    let (mut world, mut source) = (asking(), IdentitySource::default());
    world.apply([]);
    let writes = world.apply([workload(1, "x", "web")]);
    let before = world.rows();
    let writes = world.apply(source.answers(&writes));
    assert!(writes.undo.is_empty() && writes.now.len() > 2);
    for made in 0..=writes.now.len() {
        let mut world = world.clone();
        let mut maps = fail(&mut world, &before, &writes, made);
        let again = world.apply(writes.undo.clone());
        [&again.now, &again.later, &again.last].into_iter().for_each(|batch| make(&mut maps, batch));
        assert_eq!(maps, world.rows(), "after {made} writes");
        assert_eq!(identity(&world, 1), Some(1000));
        assert!(again.identities.wanted.is_empty() && again.identities.released.is_empty());
    }
}

#[test]
fn an_answer_for_a_workload_that_is_taken_back_leaves_no_row_and_no_identity() {
    let (mut world, mut source) = (asking(), IdentitySource::default());
    world.apply([]);
    let writes = world.apply([workload(1, "x", "web")]);
    let answers = source.answers(&writes);
    world.apply([Change::RemoveEndpoint(1)]);
    let before = world.rows();
    let writes = world.apply([workload(1, "x", "web")].into_iter().chain(answers));
    for made in 0..=writes.now.len() {
        let mut world = world.clone();
        let mut maps = fail(&mut world, &before, &writes, made);
        let undone = world.apply(writes.undo.clone());
        [&undone.now, &undone.later, &undone.last].into_iter().for_each(|batch| make(&mut maps, batch));
        assert_eq!((&maps, &world.rows()), (&before, &before), "after {made} writes");
        assert_eq!(world.identities().allocated().count(), 0);
        assert_eq!(undone.identities.released, [1000]);
    }
}

#[test]
fn a_removal_that_fails_is_taken_back_with_the_same_identity_and_without_a_request() {
    let (mut world, mut source) = (asking(), IdentitySource::default());
    world.apply([]);
    let writes = world.apply([workload(1, "x", "web")]);
    world.apply(source.answers(&writes));
    let before = world.rows();
    let writes = world.apply([Change::RemoveEndpoint(1)]);
    assert_eq!(writes.identities.released, [1000]);
    fail(&mut world, &before, &writes, 1);
    let undone = world.apply(writes.undo);
    assert_eq!((identity(&world, 1), undone.identities), (Some(1000), Default::default()));
    let writes = world.apply([Change::RemoveEndpoint(1)]);
    assert_eq!(writes.identities.released, [1000], "the removal of the second attempt counts");
}

#[test]
fn a_request_of_a_change_that_fails_is_repeated() {
    let mut world = asking();
    world.apply([]);
    let before = world.rows();
    let writes = world.apply([workload(1, "x", "web")]);
    assert_eq!(writes.identities.wanted.len(), 1);
    fail(&mut world, &before, &writes, 0);
    world.apply(writes.undo);
    let writes = world.apply([workload(1, "x", "web")]);
    assert_eq!(writes.identities.wanted.len(), 1);
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
