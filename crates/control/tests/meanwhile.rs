//! What packets meet while changes that come together are made, one write after the other.

mod walk;

use abi::address::AddressKey;
use abi::endpoint::EndpointKey;
use abi::row::{MapOp, Row, RowKey};
use control::fixtures::{address_of, endpoint, interface_of, namespace, workload};
use control::{Change, Rows, World, Writes};
use identity::{Operator, Selector, Source, key};
use policy::fixtures::{allow, app, app_that, policy, spec};
use policy::rule::Direction::Ingress;
use policy::rule::{Cidr, CidrReach, Entity, Peer, Peers, Subject, Traffic};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

fn in_tier(selector: Selector, tier: &str) -> Selector {
    selector.with(Some(Source::K8s), format!("{}tier", key::NAMESPACE_LABELS), Operator::equals(tier))
}

/// Lets these come to an app, and nobody else.
fn let_in(to: &str, from: Vec<Selector>) -> Change {
    Change::Policy(policy(to, [spec(app(to), [allow(Ingress, from, Traffic::Any)])]))
}

fn named(apps: &[&str]) -> Vec<Selector> {
    apps.iter().map(|name| app(name)).collect()
}

/// Whether one workload lets another in: before the writes, and after each that changes it.
fn admissions(maps: Rows, writes: &Writes, [to, from]: [u32; 2]) -> Vec<bool> {
    admissions_from(maps, writes, to, address_of(from))
}

/// The same of an address that has a row of its own.
fn admissions_from(mut maps: Rows, writes: &Writes, to: u32, from: IpAddr) -> Vec<bool> {
    let endpoint = RowKey::Endpoint(EndpointKey { interface: interface_of(to) });
    let address = RowKey::Address(AddressKey::host(from.into()));
    let admits = |maps: &Rows| !walk::heard(maps)[&(endpoint, address)].is_empty();
    let mut seen = vec![admits(&maps)];
    for write in writes.now.iter().chain(writes.later.iter()) {
        match write {
            MapOp::Put(row) => _ = row.key().map(|key| maps.insert(key, row)),
            MapOp::Delete(key) => _ = maps.remove(&key),
        }
        seen.push(admits(&maps));
    }
    seen.dedup();
    seen
}

/// The peer number and the namespace of a workload, as its address tells them.
fn peer_of(world: &World, id: u32) -> (u32, u32) {
    let address = RowKey::Address(AddressKey::host(address_of(id).into()));
    match world.rows()[&address] {
        Row::Address(_, info) => (info.peer, info.namespace),
        _ => unreachable!("it is an address"),
    }
}

/// How many groupings have a row of a peer.
fn rows_of(world: &World, peer: u32) -> usize {
    world.rows().keys().filter(|key| matches!(key, RowKey::Group(key) if key.peer == peer)).count()
}

#[test]
fn who_leaves_a_number_is_not_taken_for_what_it_becomes() {
    let mut world = World::new();
    world.apply([workload(1, "x", "plain"), workload(6, "x", "plain"), workload(9, "x", "db")]);
    world.apply([let_in("db", named(&["good"]))]);
    let maps = world.rows();
    let writes = world.apply([workload(1, "x", "other"), workload(6, "x", "good")]);
    assert_eq!(admissions(maps.clone(), &writes, [9, 1]), [false]);
    assert_eq!(admissions(maps, &writes, [9, 6]), [false, true]);
}

#[test]
fn who_leaves_a_policy_is_not_judged_by_what_takes_its_place() {
    let mut world = World::new();
    let apps = [(1, "web"), (2, "web"), (3, "attacker"), (4, "client")];
    world.apply(apps.map(|(id, app)| workload(id, "x", app)));
    world.apply([let_in("web", named(&["client"])), let_in("other", named(&["client"]))]);
    let maps = world.rows();
    let writes = world.apply([let_in("web", named(&["client", "attacker"])), workload(1, "x", "other")]);
    assert_eq!(admissions(maps.clone(), &writes, [1, 3]), [false]);
    assert_eq!(admissions(maps.clone(), &writes, [1, 4]), [true]);
    assert_eq!(admissions(maps, &writes, [2, 3]), [false, true]);
}

#[test]
fn a_newcomer_is_not_taken_for_what_its_namespace_was() {
    let mut world = World::new();
    let not_refused = app_that(Operator::NotIn(["refused".to_owned()].into()));
    let apps = [workload(5, "x", "refused"), workload(6, "x", "refused"), workload(9, "z", "db")];
    world.apply(apps.into_iter().chain([namespace("x", "front")]));
    world.apply([let_in("db", vec![in_tier(not_refused, "front")])]);
    let maps = world.rows();
    let writes = world.apply([namespace("x", "back"), workload(5, "x", "plain")]);
    assert_eq!(admissions(maps, &writes, [9, 5]), [false]);
}

#[test]
fn a_number_that_goes_while_its_namespace_changes_leaves_no_row() {
    let mut world = World::new();
    let not_web = app_that(Operator::NotIn(["web".to_owned()].into()));
    world.apply([workload(9, "z", "db"), let_in("db", vec![in_tier(not_web, "front")])]);
    world.apply([namespace("x", "front"), workload(1, "x", "web"), workload(3, "x", "other")]);
    let (peer, _) = peer_of(&world, 1);
    assert_eq!(rows_of(&world, peer), 1, "it differs from its namespace");
    let mut with_port = Box::new(endpoint(1, "x", "web"));
    with_port.workload.named_ports = Arc::new(BTreeMap::from([(("http".to_owned(), 6), 80)]));
    world.apply([namespace("x", "back"), Change::Endpoint(with_port)]);
    assert_ne!(peer_of(&world, 1).0, peer);
    assert_eq!(rows_of(&world, peer), 0);
}

#[test]
fn who_comes_to_be_like_its_namespace_has_no_row_of_its_own() {
    let mut world = World::new();
    let forged = BTreeMap::from([(format!("{}tier", key::NAMESPACE_LABELS), "back".to_owned())]);
    let mut forger = endpoint(1, "x", "");
    forger.workload.labels = forged.into();
    world.apply([Change::Endpoint(forger.into()), workload(9, "z", "db")]);
    world.apply([let_in("db", vec![in_tier(Selector::default(), "back")])]);
    let (peer, around) = peer_of(&world, 1);
    assert_eq!((rows_of(&world, peer), rows_of(&world, around)), (1, 0));
    world.apply([namespace("x", "back")]);
    let (peer, around) = peer_of(&world, 1);
    assert_eq!((rows_of(&world, peer), rows_of(&world, around)), (0, 1));
}

#[test]
fn who_goes_to_another_namespace_is_known_by_that() {
    let mut world = World::new();
    world.apply([workload(1, "x", "web"), workload(2, "y", "web"), workload(3, "x", "other")]);
    let (_, other) = peer_of(&world, 2);
    world.apply([workload(1, "y", "client")]);
    assert_eq!(peer_of(&world, 1).1, other);
}

/// The addresses that are listed for the service of the API servers.
fn api_servers(addresses: &[IpAddr]) -> Change {
    let slice = service::EndpointSlice::of(addresses.iter().copied().collect());
    let (namespace, service) = (service::API_SERVER.0.to_owned(), service::API_SERVER.1.to_owned());
    Change::EndpointSlices { namespace, service, list: "kubernetes".into(), slices: vec![slice] }
}

#[test]
fn an_api_server_that_moves_takes_its_peers_along_at_once() {
    let [node, outside, host] = [[192, 0, 2, 10], [198, 51, 100, 6], [192, 0, 2, 1]].map(IpAddr::from);
    let mut world = World::new();
    let labels = BTreeMap::from([("role".to_owned(), "w".to_owned())]);
    let own = control::Node { addresses: vec![host], ..control::Node::default() };
    let other = control::RemoteNode { name: "cp".into(), labels, addresses: vec![node] };
    world.apply([Change::Node(own.into()), Change::RemoteNode(other.into()), workload(9, "x", "db")]);
    let Change::Policy(mut policy) = let_in("db", Vec::new()) else { unreachable!("it is a policy") };
    let mut far = policy.clone();
    policy.specs[0].rules[0].peers = Peers::Of(vec![Peer::Entity(Entity::KubeApiserver)]);
    // Its block gives the address outside a row of its own, and allows nothing.
    far.id.name = "far".into();
    let block = Peer::Cidr { block: Cidr::host(outside), except: Vec::new(), reach: CidrReach::World };
    far.specs[0].subject = Subject::Workloads(app("other"));
    far.specs[0].rules[0].peers = Peers::Of(vec![block]);
    world.apply([Change::Policy(policy), Change::Policy(far), workload(8, "x", "other")]);
    let all = [node, outside];
    let empty = world.rows();
    for (listed, before, after) in [
        (&all[..1], [false, false], [true, false]),
        (&all[1..], [true, false], [false, true]),
        (&all[..], [false, true], [true, true]),
        (&[], [true, true], [false, false]),
    ] {
        let maps = world.rows();
        let writes = world.apply([api_servers(listed)]);
        for (at, address) in all.into_iter().enumerate() {
            let mut expected = vec![before[at], after[at]];
            expected.dedup();
            assert_eq!(admissions_from(maps.clone(), &writes, 9, address), expected, "{listed:?} {address}");
        }
        let mut undone = world.clone();
        let undo = undone.apply(writes.undo);
        undo.now.iter().chain(undo.later.iter()).for_each(drop);
        assert_eq!(undone.api_servers().len(), before.iter().filter(|was| **was).count());
    }
    let addresses =
        |rows: Rows| rows.into_iter().filter(|(key, _)| matches!(key, RowKey::Address(_))).collect::<Rows>();
    assert_eq!(addresses(world.rows()), addresses(empty), "nothing is left of it");
}
