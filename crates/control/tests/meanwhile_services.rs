//! What a packet to a service finds while changes are made, one write after the other: the whole old set of backends or
//! the whole new one.

use abi::row::{MapOp, Row, RowKey};
use abi::service::{BackendKey, ServiceKey};
use control::fixtures::{self, random_service_change, remove_service, service};
use control::{Change, Rows, World, Writes};
use identity::Allocator;
use policy::generate::Random;
use service::fixtures::{http, slice};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

fn workload(id: u32, namespace: &str, app: &str, last: u8) -> Change {
    let mut endpoint = fixtures::endpoint(id, namespace, app);
    endpoint.workload.addresses = vec![IpAddr::from([10, 0, 0, last])];
    endpoint.workload.named_ports = http(8000 + id as u16);
    Change::Endpoint(Box::new(endpoint))
}

/// Addresses of another node's workloads that serve the first port of a service.
fn listed(namespace: &str, service: &str, last: &[u8]) -> Change {
    let addresses = last.iter().map(|last| IpAddr::from([10, 0, 9, *last]));
    fixtures::listed(namespace, service, "list", slice(addresses, "web", 8080))
}

/// The backends of each frontend.
type Frontends = BTreeMap<ServiceKey, Vec<SocketAddr>>;

/// The backends of each frontend as the packet path finds them; each index of a set must have a row.
#[track_caller]
fn lookup(maps: &Rows) -> Frontends {
    let backends = |backends, count| {
        let index = |index| match maps.get(&RowKey::Backend(BackendKey { backends, index })) {
            Some(Row::Backend(_, info)) => {
                SocketAddr::new(info.address.into(), u16::from_be_bytes(info.port))
            }
            other => panic!("index {index} of {count} in set {backends} is {other:?}"),
        };
        (0..count).map(index).collect()
    };
    let frontend = |row: &Row| match row {
        Row::Service(key, info) => Some((*key, backends(info.backends, info.count))),
        _ => None,
    };
    maps.values().filter_map(frontend).collect()
}

/// Makes the writes one by one, and checks that each frontend goes from what it was to what the world has for it by one
/// write at most.
#[track_caller]
fn check(maps: &mut Rows, writes: &Writes, world: &World) {
    let before = lookup(maps);
    let after = lookup(&world.rows());
    // A packet may have looked its frontend up just before the first write.
    let is_backend = |write: &MapOp| matches!(write, MapOp::Delete(RowKey::Backend(_)));
    assert!(!writes.now.iter().any(|write| is_backend(&write)), "{:?}", writes.now);
    let mut seen = before.clone();
    for write in writes.now.iter().chain(writes.later.iter()).chain(writes.last.iter()) {
        match write {
            MapOp::Put(row) => _ = row.key().map(|key| maps.insert(key, row)),
            MapOp::Delete(key) => _ = maps.remove(&key),
        }
        let now = lookup(maps);
        for frontend in before.keys().chain(after.keys()) {
            let [was, is] = [seen.get(frontend), now.get(frontend)];
            let is_switched = before.get(frontend) == was && after.get(frontend) == is;
            assert!(was == is || is_switched, "{frontend:?} goes from {was:?} to {is:?} by {write:?}");
        }
        seen = now;
    }
    assert_eq!(seen, after);
    let expected = world.frontends().map(|(key, backends)| {
        let socket = |one: &abi::service::BackendInfo| {
            SocketAddr::new(one.address.into(), u16::from_be_bytes(one.port))
        };
        (*key, backends.iter().map(socket).collect())
    });
    assert_eq!(seen, expected.collect::<Frontends>());
    let rows = |rows: &Rows| {
        let is_of_services = |key: &&RowKey| matches!(key, RowKey::Service(_) | RowKey::Backend(_));
        rows.keys().filter(is_of_services).copied().collect::<Vec<_>>()
    };
    assert_eq!(rows(maps), rows(&world.rows()), "no row is left over");
}

/// Applies each list of changes, and checks the writes and the writes that undo them.
#[track_caller]
fn check_all(steps: Vec<Vec<Change>>) {
    let (mut world, mut maps) = (World::new(), Rows::new());
    for step in steps {
        let mut undone = world.clone();
        let mut undone_maps = maps.clone();
        let writes = undone.apply(step.clone());
        check(&mut undone_maps, &writes, &undone);
        let undo = undone.apply(writes.undo);
        check(&mut undone_maps, &undo, &undone);
        assert_eq!(lookup(&undone_maps), lookup(&maps), "taken back: {step:?}");
        let writes = world.apply(step);
        check(&mut maps, &writes, &world);
    }
}

#[test]
fn a_selected_workload_comes_moves_and_goes() {
    check_all(vec![
        vec![service("x", "web", "web")],
        vec![workload(1, "x", "web", 1), workload(2, "x", "web", 2)],
        vec![workload(1, "x", "web", 11)],
        vec![workload(1, "x", "db", 11), workload(3, "x", "web", 3)],
        vec![workload(2, "y", "web", 2)],
        vec![Change::RemoveEndpoint(3)],
    ]);
}

#[test]
fn selected_workloads_take_the_place_of_listed_addresses() {
    check_all(vec![
        vec![service("x", "web", "web"), listed("x", "web", &[1, 2])],
        vec![workload(1, "x", "web", 1)],
        vec![listed("x", "web", &[2, 3])],
        vec![Change::RemoveEndpoint(1)],
        vec![service("x", "web", "")],
        vec![listed("x", "web", &[])],
    ]);
}

#[test]
fn a_frontend_goes_to_another_service() {
    check_all(vec![
        vec![workload(1, "x", "web", 1), workload(2, "y", "web", 2), workload(3, "x", "db", 3)],
        vec![service("y", "b", "web")],
        vec![service("x", "b", "web")],
        vec![service("x", "a", "db"), workload(3, "x", "db", 4)],
        vec![remove_service("x", "a")],
        vec![remove_service("x", "b"), workload(2, "y", "web", 5)],
        vec![remove_service("y", "b"), service("x", "a", "web")],
        vec![remove_service("x", "a")],
    ]);
}

/// A change of a small world in which services, workloads and lists get into each other's way.
fn random_change(random: &mut Random) -> Change {
    let (id, last) = (1 + random.below(4) as u32, 1 + random.below(6) as u8);
    match random.below(10) {
        0..5 => random_service_change(random),
        5 => Change::RemoveEndpoint(id),
        _ => workload(id, random.pick(&["x", "y"]), random.pick(&["web", "db", ""]), last),
    }
}

#[test]
fn random_changes_switch_whole_sets() {
    for seed in 0..30 {
        let random = &mut Random::new(seed);
        let step = |random: &mut Random| (0..1 + random.below(3)).map(|_| random_change(random)).collect();
        check_all((0..12).map(|_| step(random)).collect());
    }
}

#[test]
fn a_restart_switches_whole_sets() {
    for seed in 0..30 {
        let random = &mut Random::new(seed);
        let mut step = |count| (0..count).map(|_| random_change(random)).collect::<Vec<_>>();
        let mut before = World::new();
        before.apply(step(10));
        let mut maps = before.rows();
        let mut world = World::adopt(maps.values().copied(), Allocator::new());
        let writes = world.apply(step(10));
        check(&mut maps, &writes, &world);
    }
}
