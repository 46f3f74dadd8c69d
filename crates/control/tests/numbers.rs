//! Which numbers peers and groupings have: where it is another than it might be, packets or whole worlds feel it.

use abi::row::Row;
use control::{Change, RemoteNode, World, fixtures};
use policy::fixtures::{allow, app, spec};
use policy::rule::Direction::Ingress;
use policy::rule::{Entity, Traffic};
use std::collections::BTreeMap;
use std::net::IpAddr;

fn endpoint(id: u32, address: &str, app: &str) -> Change {
    let addresses = vec![address.parse().unwrap()];
    let mut endpoint = fixtures::endpoint(id, "default", app);
    endpoint.workload.addresses = addresses;
    Change::Endpoint(Box::new(endpoint))
}

fn node(name: &str, address: &str) -> Change {
    let labels = BTreeMap::from([("name".to_owned(), name.to_owned())]);
    Change::RemoteNode(Box::new(RemoteNode {
        name: name.into(),
        labels,
        addresses: vec![address.parse().unwrap()],
        ..RemoteNode::default()
    }))
}

/// Lets the cluster in.
fn policy(name: &str) -> Change {
    Change::Policy(policy::fixtures::policy(
        name,
        [spec(app(name), [allow(Ingress, Entity::Cluster, Traffic::Any)])],
    ))
}

/// The peer number of an address, as its row says it.
fn peer(world: &World, address: &str) -> u32 {
    let wanted: IpAddr = address.parse().unwrap();
    let rows = world.rows();
    let mut peers = rows.values().filter_map(|row| match row {
        Row::Address(key, info) if IpAddr::from(key.address) == wanted => Some(info.peer),
        _ => None,
    });
    peers.next().expect("a peer has the address")
}

fn restarted(world: &World) -> World {
    World::adopt(world.rows().values().copied(), world.identities().clone())
}

#[test]
fn a_peer_is_found_after_a_restart_by_any_of_its_addresses() {
    let mut world = World::new();
    world.apply([endpoint(2, "10.0.0.2", "web")]);
    // It keeps its number and gets another identity.
    world.apply([endpoint(2, "10.0.0.2", "shop")]);
    let before = peer(&world, "10.0.0.2");
    let mut restarted = restarted(&world);
    // During the restart a workload with equal labels was added.
    restarted.apply([endpoint(1, "10.0.0.1", "shop"), endpoint(2, "10.0.0.2", "shop")]);
    assert_eq!(peer(&restarted, "10.0.0.2"), before, "the policies of before know it by this number");
}

#[test]
fn other_nodes_keep_their_numbers_over_a_restart() {
    let mut world = World::new();
    world.apply([node("one", "192.0.2.1"), node("two", "192.0.2.2")]);
    let before = peer(&world, "192.0.2.2");
    let mut restarted = restarted(&world);
    restarted.apply([node("two", "192.0.2.2")]);
    assert_eq!(peer(&restarted, "192.0.2.2"), before, "the policies of before know it by this number");
}

#[test]
fn workloads_that_part_ways_do_not_tell_peers_apart_together() {
    let mut world = World::new();
    let apps = ["a", "b", "c", "d"];
    world.apply((1..).zip(apps).map(|(id, app)| endpoint(id, &format!("10.0.0.{id}"), app)));
    // All are under the policy that says nothing; each gets one of its own.
    apps.into_iter().for_each(|app| drop(world.apply([policy(app)])));
    let mut groupings: Vec<u32> =
        world.endpoints().map(|one| world.endpoint_row(one).unwrap().grouping.number()).collect();
    groupings.sort_unstable();
    groupings.dedup();
    assert_eq!(
        groupings.len(),
        apps.len(),
        "a grouping of many policies costs each of them the facets of all others"
    );
}
