//! Workloads of other nodes: policies know them by their labels, and they are attached nowhere.

mod walk;

use abi::address::AddressKey;
use abi::endpoint::EndpointKey;
use abi::identity::{FIRST_ALLOCATED, UNKNOWN, WORLD};
use abi::row::{Row, RowKey};
use control::fixtures::{endpoint, interface_of, workload};
use control::{Change, Node, RemoteNode, RemoteWorkload, World};
use policy::cidr::address_key;
use policy::fixtures::{allow, app, policy, spec};
use policy::rule::Direction::Ingress;
use policy::rule::{Cidr, CidrReach, Peer, Traffic};
use std::net::IpAddr;

/// A workload of another node, with an address of its own.
fn remote(number: u8, app: &str) -> Change {
    let mut workload = endpoint(u32::from(number), "default", app).workload;
    workload.name = format!("remote-{number}");
    workload.addresses = vec![address(number)];
    Change::RemoteWorkload(Box::new(RemoteWorkload { node: "other".into(), workload }))
}

fn remote_goes(number: u8) -> Change {
    Change::RemoveRemoteWorkload { namespace: "default".into(), name: format!("remote-{number}") }
}

fn address(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 1, number])
}

/// Allows clients to connect to databases.
fn clients_to_databases() -> Change {
    Change::Policy(policy("db", [spec(app("db"), [allow(Ingress, app("client"), Traffic::Any)])]))
}

/// The row of an address.
fn row(world: &World, address: IpAddr) -> Option<Row> {
    world.rows().get(&RowKey::Address(AddressKey::host(address.into()))).copied()
}

#[track_caller]
fn check(world: &World, from: u8, is_allowed: bool) {
    let endpoint = RowKey::Endpoint(EndpointKey { interface: interface_of(1) });
    let peer = RowKey::Address(AddressKey::host(address(from).into()));
    assert_eq!(!walk::classes_by_pair(&world.rows())[&(endpoint, peer)].is_empty(), is_allowed);
}

#[test]
fn policy_follows_the_labels_of_a_remote_workload() {
    let mut world = World::new();
    world.apply([workload(1, "default", "db"), clients_to_databases()]);
    assert_eq!(row(&world, address(2)), None);
    world.apply([remote(2, "client"), remote(3, "other")]);
    check(&world, 2, true);
    check(&world, 3, false);
    world.apply([remote(2, "other"), remote(3, "client")]);
    check(&world, 2, false);
    check(&world, 3, true);
    let Some(Row::Address(_, info)) = row(&world, address(3)) else { panic!("no row") };
    assert_eq!((info.interface, info.mac), (0, [0; 6]), "it is attached nowhere here");
    let writes = world.apply([remote_goes(2), remote_goes(3)]);
    assert_eq!([2, 3].map(|number| row(&world, address(number))), [None; 2]);
    world.apply(writes.undo);
    check(&world, 3, true);
}

/// The node of the remote workloads.
fn other_node(pods: &str) -> Change {
    let (addresses, pod_blocks) = (vec![[192, 0, 2, 2].into()], vec![block_of(pods)]);
    let node = RemoteNode { name: "other".into(), addresses, pod_blocks, ..RemoteNode::default() };
    Change::RemoteNode(Box::new(node))
}

#[test]
fn an_address_of_pods_that_no_workload_has_is_neither_known_nor_the_worlds() {
    let block =
        |block: &str| Peer::Cidr { block: block_of(block), except: Vec::new(), reach: CidrReach::Everything };
    let rules =
        ["10.0.0.0/8", "10.0.1.0/25", "10.0.1.7/32"].map(|text| allow(Ingress, block(text), Traffic::Any));
    let mut world = World::new();
    let found =
        |world: &World, text: &str| match world.rows().get(&RowKey::Address(address_key(&block_of(text)))) {
            Some(Row::Address(_, info)) => Some((info.identity, info.cidr != 0)),
            _ => None,
        };
    world.apply([workload(1, "default", "db"), Change::Policy(policy("db", [spec(app("db"), rules)]))]);
    assert_eq!(found(&world, "10.0.1.0/25"), Some((WORLD, true)));
    world.apply([other_node("10.0.1.0/24"), remote(2, "client")]);
    for inside in ["10.0.1.0/24", "10.0.1.0/25", "10.0.1.7/32"] {
        assert_eq!(found(&world, inside), Some((UNKNOWN, false)), "{inside}");
    }
    assert_eq!(found(&world, "10.0.0.0/8"), Some((WORLD, true)), "the block around it");
    assert!(found(&world, "10.0.1.2/32").unwrap().0 >= FIRST_ALLOCATED, "the workload's own address");
    world.apply([remote_goes(2)]);
    assert_eq!(found(&world, "10.0.1.2/32"), None, "unknown again, by the block around it");
    // The blocks of pods move to another place.
    world.apply([other_node("10.0.2.0/24")]);
    assert_eq!(found(&world, "10.0.1.0/24"), None);
    assert_eq!(found(&world, "10.0.1.7/32"), Some((WORLD, true)));
    assert_eq!(found(&world, "10.0.2.0/24"), Some((UNKNOWN, false)));
    world.apply([Change::RemoveRemoteNode("other".into())]);
    assert_eq!(found(&world, "10.0.2.0/24"), None);
}

#[test]
fn the_blocks_of_pods_of_this_node_and_of_the_configuration_count_too() {
    let mut world = World::new();
    let block = |text: &str| vec![block_of(text)];
    let own = Node { name: "own".into(), cluster_blocks: block("10.0.0.0/15"), ..Node::default() };
    world.apply([Change::Node(Box::new(own))]);
    let object = RemoteNode { name: "own".into(), pod_blocks: block("10.2.0.0/24"), ..RemoteNode::default() };
    let writes = world.apply([Change::RemoteNode(Box::new(object))]);
    let is_known =
        |world: &World, text: &str| world.rows().contains_key(&RowKey::Address(address_key(&block_of(text))));
    assert!(is_known(&world, "10.0.0.0/15") && is_known(&world, "10.2.0.0/24"));
    world.apply(writes.undo);
    assert!(is_known(&world, "10.0.0.0/15") && !is_known(&world, "10.2.0.0/24"));
    assert_eq!(world.remote_nodes().count(), 0);
}

fn block_of(text: &str) -> Cidr {
    let (address, length) = text.split_once('/').unwrap();
    Cidr::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

#[test]
fn no_policy_is_compiled_for_a_remote_workload() {
    let mut world = World::new();
    let of_endpoints =
        |world: &World| world.rows().into_keys().filter(|key| matches!(key, RowKey::Column(_))).count();
    world.apply([clients_to_databases()]);
    let before = of_endpoints(&world);
    world.apply([remote(2, "db")]);
    assert_eq!(of_endpoints(&world), before);
    // One of the same identity comes to this node, and leaves it again.
    world.apply([workload(1, "default", "db")]);
    assert!(of_endpoints(&world) > before);
    world.apply([Change::RemoveEndpoint(1)]);
    assert_eq!(of_endpoints(&world), before);
    assert_eq!(world.registry().book.columns(), 0);
}

#[test]
fn a_workload_that_moves_here_is_one_of_this_node() {
    let mut world = World::new();
    world.apply([workload(1, "default", "db"), clients_to_databases(), remote(2, "client")]);
    let mut moved = endpoint(2, "default", "client");
    moved.workload.addresses = vec![address(2)];
    world.apply([Change::Endpoint(Box::new(moved))]);
    let interface = |world: &World| match row(world, address(2)) {
        Some(Row::Address(_, info)) => info.interface,
        _ => panic!("no row"),
    };
    assert_eq!(interface(&world), interface_of(2), "this node's own workload counts first");
    world.apply([remote_goes(2)]);
    assert_eq!(interface(&world), interface_of(2));
    check(&world, 2, true);
    assert_eq!(world.remote_workloads().count(), 0);
}
