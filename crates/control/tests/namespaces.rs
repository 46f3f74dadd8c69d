//! Workloads are known by their namespace until they differ from it, and never by mistake in between.

use abi::policy::{GROUP_OF_WORKLOADS, GroupKey};
use abi::row::{MapOp, Row, RowKey};
use control::fixtures::{interface_of, namespace, workload};
use control::{Change, Rows, World, Writes};
use identity::{Operator, Source, Values, key};
use policy::fixtures::{allow, app, app_that, spec};
use policy::rule::Direction::Ingress;
use policy::rule::Traffic;
use std::collections::BTreeMap;

/// Allows all workloads but databases of namespaces of this tier to reach the web.
fn policy(tier: &str) -> Change {
    let not_database = app_that(Operator::NotIn(Values::from(["db".to_owned()])));
    let tier_label = format!("{}tier", key::NAMESPACE_LABELS);
    let peers = not_database.with(Some(Source::K8s), tier_label, Operator::equals(tier));
    let spec = spec(app("web"), [allow(Ingress, peers, Traffic::Any)]);
    Change::Policy(policy::fixtures::policy(tier, [spec]))
}

/// Makes writes one by one, and returns the groups of a workload before, between and after them, without repetition.
fn groups(maps: &mut Rows, writes: &Writes, of: u32) -> Vec<u32> {
    let mut groups = vec![group(maps, of)];
    for write in writes.now.iter().chain(writes.later.iter()).chain(writes.last.iter()) {
        match write {
            MapOp::Put(row) => drop(row.key().map(|key| maps.insert(key, row))),
            MapOp::Delete(key) => drop(maps.remove(&key)),
        }
        groups.push(group(maps, of));
    }
    groups.dedup();
    groups
}

/// The group of a workload in the grouping of the web's policy.
fn group(maps: &Rows, of: u32) -> u32 {
    let web = maps.values().find_map(|row| match row {
        Row::Endpoint(_, info) if info.id == 1 => Some(info.grouping.number()),
        _ => None,
    });
    let peer = maps.values().find_map(|row| match row {
        Row::Address(_, info) if info.interface == interface_of(of) => Some(*info),
        _ => None,
    });
    let (grouping, peer) = (web.unwrap(), peer.unwrap());
    let row = |peer| match maps.get(&RowKey::Group(GroupKey { grouping, peer })) {
        Some(Row::Group(_, group)) => Some(*group),
        _ => None,
    };
    row(peer.peer).or_else(|| row(peer.namespace)).unwrap_or(GROUP_OF_WORKLOADS)
}

#[test]
fn who_differs_from_its_namespace_is_never_known_by_it_when_that_changes() {
    let mut world = World::new();
    world.apply([workload(1, "default", "web"), workload(2, "other", "client"), workload(3, "other", "db")]);
    world.apply([policy("front"), namespace("other", "back")]);
    let mut maps = world.rows();
    let rows = |maps: &Rows| maps.keys().filter(|key| matches!(key, RowKey::Group(_))).count();
    let before = rows(&maps);
    let came = world.apply([namespace("other", "front")]);
    let mut of_client = maps.clone();
    let gained = groups(&mut of_client, &came, 2);
    assert_eq!((gained.len(), gained[0]), (2, GROUP_OF_WORKLOADS), "the client is let in by its namespace");
    assert_eq!(groups(&mut maps, &came, 3), [GROUP_OF_WORKLOADS], "the database never");
    assert_eq!(rows(&maps), before + 2, "one row lets the namespace in, one keeps the database out");
    let went = world.apply([namespace("other", "back")]);
    assert_eq!(groups(&mut of_client, &went, 2), [gained[1], GROUP_OF_WORKLOADS]);
    assert_eq!(groups(&mut maps, &went, 3), [GROUP_OF_WORKLOADS]);
    assert_eq!(maps, world.rows());
}

#[test]
fn a_workload_that_joins_a_changing_namespace_gets_the_new_labels() {
    let mut world = World::new();
    world.apply([workload(1, "default", "web"), workload(2, "other", "client"), policy("front")]);
    let came = [namespace("other", "front"), workload(4, "other", "guest"), workload(5, "other", "db")];
    world.apply(came);
    let maps = world.rows();
    assert_eq!(group(&maps, 4), group(&maps, 2));
    assert_ne!(group(&maps, 4), GROUP_OF_WORKLOADS);
    assert_eq!(group(&maps, 5), GROUP_OF_WORKLOADS);
    // The other way round, and with one that was there before.
    world.apply([namespace("other", "back"), workload(6, "other", "latecomer"), Change::RemoveEndpoint(2)]);
    let maps = world.rows();
    assert_eq!([4, 5, 6].map(|id| group(&maps, id)), [GROUP_OF_WORKLOADS; 3]);
}

#[test]
fn a_workload_that_joins_while_another_changes_is_not_confused_with_it() {
    let mut world = World::new();
    world.apply([workload(1, "default", "web"), workload(2, "other", "db"), policy("front")]);
    world.apply([namespace("other", "front")]);
    // The one that was a database is none any more, and is let in; another comes.
    world.apply([workload(2, "other", "client"), workload(3, "other", "db")]);
    let maps = world.rows();
    assert_ne!(group(&maps, 2), GROUP_OF_WORKLOADS);
    assert_eq!(group(&maps, 3), GROUP_OF_WORKLOADS);
    // The reverse: the workload that joins has the labels of its namespace only.
    world.apply([workload(2, "other", "db"), Change::RemoveEndpoint(3)]);
    world.apply([workload(4, "other", "client")]);
    world.apply([workload(4, "other", "db"), workload(5, "other", "guest")]);
    let maps = world.rows();
    assert_eq!(group(&maps, 4), GROUP_OF_WORKLOADS);
    assert_ne!(group(&maps, 5), GROUP_OF_WORKLOADS);
    world.apply([Change::RemoveEndpoint(2), Change::RemoveEndpoint(5)]);
    world.apply([workload(4, "other", "client"), workload(6, "other", "visitor")]);
    assert_ne!(group(&world.rows(), 6), GROUP_OF_WORKLOADS);
    world.apply([workload(6, "other", "db"), workload(7, "other", "late")]);
    assert_ne!(
        group(&world.rows(), 7),
        GROUP_OF_WORKLOADS,
        "a sole workload that is relabelled keeps its number"
    );
}

#[test]
fn a_namespace_has_the_same_number_after_a_restart() {
    let workloads =
        [workload(1, "default", "web"), workload(2, "other", "client"), workload(3, "third", "db")];
    let mut world = World::new();
    world.apply(workloads.iter().cloned().chain([policy("front"), namespace("other", "front")]));
    let namespaces = |world: &World| -> Vec<u32> {
        let rows = world.rows();
        let addresses = rows.values().filter_map(|row| match row {
            Row::Address(_, info) if info.interface != 0 => Some(info.namespace),
            _ => None,
        });
        addresses.collect()
    };
    let before = namespaces(&world);
    assert!(before.iter().all(|number| *number != 0));
    let mut restarted = World::adopt(world.rows().values().copied(), world.identities().clone());
    // They come in another order.
    restarted.apply(workloads.into_iter().rev().chain([policy("front"), namespace("other", "front")]));
    assert_eq!(namespaces(&restarted), before);
}

#[test]
fn workloads_that_are_relabelled_together_keep_their_number_over_a_restart_too() {
    let mut world = World::new();
    let workloads = || [workload(1, "default", "web"), workload(2, "other", "client")];
    world.apply(workloads().into_iter().chain([policy("front"), namespace("other", "back")]));
    let client = |world: &World| {
        let rows = world.rows();
        let row = rows.values().find_map(|row| match row {
            Row::Address(_, info) if info.interface == 102 => Some((info.peer, info.identity)),
            _ => None,
        });
        row.unwrap()
    };
    let (peer, identity) = client(&world);
    world.apply([namespace("other", "front")]);
    assert_eq!(client(&world).0, peer);
    assert_ne!(client(&world).1, identity, "an identity stands for its labels");
    let mut restarted = World::adopt(world.rows().values().copied(), world.identities().clone());
    restarted.apply(workloads().into_iter().chain([policy("front"), namespace("other", "front")]));
    assert_eq!(client(&restarted), client(&world));
}

#[test]
fn the_cluster_and_the_service_account_are_labels_of_every_workload() {
    let mut world = World::new();
    let labels = |world: &World, id: u32| {
        let endpoint = world.endpoints().find(|endpoint| endpoint.id == id).unwrap();
        let labels = world.view(endpoint.id).unwrap().labels;
        [key::CLUSTER, key::SERVICE_ACCOUNT]
            .map(|name| labels.value(Some(&Source::K8s), name).unwrap().to_owned())
    };
    let Change::Endpoint(reader) = workload(2, "default", "db") else { unreachable!() };
    let own = BTreeMap::from([
        (key::SERVICE_ACCOUNT.to_owned(), "reader".to_owned()),
        (key::CLUSTER.to_owned(), "forged".to_owned()),
    ]);
    let mut reader = *reader;
    reader.workload.labels = own.into();
    let reader = Change::Endpoint(Box::new(reader));
    world.apply([workload(1, "default", "web"), reader]);
    assert_eq!(labels(&world, 1), ["default", "default"]);
    assert_eq!(labels(&world, 2), ["default", "reader"]);
    let west = control::Node { cluster: Some("west".into()), ..control::Node::default() };
    world.apply([Change::Node(Box::new(west))]);
    assert_eq!(labels(&world, 1), ["west", "default"]);
    assert_eq!(labels(&world, 2), ["west", "reader"]);
}
