//! Identities from a source that answers later than in the step of the request.

use abi::address::AddressKey;
use abi::endpoint::EndpointKey;
use abi::row::{MapOp, Row, RowKey};
use control::fixtures::{address_of, interface_of, namespace, workload};
use control::{Change, World, Writes};
use identity::Labels;
use std::sync::Arc;

/// A source that gives each set of labels the next number.
#[derive(Default)]
struct Source {
    known: Vec<Arc<Labels>>,
}

impl Source {
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
    let (mut world, mut source) = (asking(), Source::default());
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
    let (mut world, mut source) = (asking(), Source::default());
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
    let (mut world, mut source) = (asking(), Source::default());
    let writes = world.apply([workload(1, "x", "web")]);
    world.apply([Change::RemoveEndpoint(1)]);
    let writes = world.apply(source.answers(&writes));
    assert_eq!((identity(&world, 1), writes.identities.released), (None, vec![1000]));
    assert_eq!(world.identities().allocated().count(), 0);
}

#[test]
fn an_answer_that_contradicts_another_changes_nothing() {
    let (mut world, mut source) = (asking(), Source::default());
    let writes = world.apply([workload(1, "x", "web")]);
    world.apply(source.answers(&writes));
    let writes = world.apply([workload(2, "x", "db")]);
    let [Change::Identity { labels, .. }] = &source.answers(&writes)[..] else { panic!("one answer") };
    world.apply([Change::Identity { labels: labels.clone(), number: 1000 }]);
    assert_eq!([1, 2].map(|id| identity(&world, id)), [Some(1000), None]);
}
