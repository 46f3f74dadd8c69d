//! The cost of one workload's change among many services and workloads of one namespace.

use abi::row::{MapOp, Row, RowKey};
use abi::service::{BackendInfo, ServiceKey};
use control::fixtures;
use control::{Change, Endpoint, Wire, World, Writes};
use service::fixtures::tcp;
use service::{Candidate, Service, frontends_among};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

const SERVICES: u32 = 1_000;
const WORKLOADS: u32 = 10_000;
/// So many changes are timed.
const CHANGES: u32 = 20;

/// The label by which a service selects its workloads.
fn app(number: u32) -> String {
    format!("app{}", number % SERVICES)
}

fn service(number: u32) -> Service {
    let [_, _, high, low] = number.to_be_bytes();
    Service {
        selector: BTreeMap::from([("app".to_owned(), app(number))]),
        addresses: vec![IpAddr::from([10, 96, high, low])],
        ..service::fixtures::service("x", &format!("service{number}"), [tcp(80, 8080)])
    }
}

/// A workload behind the service of `of`, at an address that tells `place`.
fn workload(id: u32, of: u32, place: u32) -> Endpoint {
    let [_, high, middle, low] = place.to_be_bytes();
    let mut endpoint = fixtures::endpoint(1, "x", &app(of));
    endpoint.workload.addresses = vec![IpAddr::from([10, high, middle, low])];
    let wire = Wire { interface: fixtures::interface_of(id), ..Wire::default() };
    Endpoint { id, wire, ..endpoint }
}

fn everything() -> World {
    let mut world = World::new();
    let services = (0..SERVICES).map(|number| Change::Service(service(number).into()));
    let workloads = (1..=WORKLOADS).map(|id| Change::Endpoint(workload(id, id, id).into()));
    world.apply(services.chain(workloads));
    world
}

/// The frontends of all services, each looked at with all workloads.
fn from_all_workloads(world: &World) -> BTreeMap<ServiceKey, Vec<BackendInfo>> {
    let candidate = |endpoint: &Endpoint| Candidate {
        namespace: endpoint.workload.namespace.clone(),
        labels: endpoint.workload.labels.clone(),
        addresses: endpoint.workload.addresses.clone(),
        named_ports: endpoint.workload.named_ports.clone(),
    };
    let candidates: Vec<Candidate> = world.endpoints().map(candidate).collect();
    let frontends = world.services().flat_map(|service| frontends_among(service, &candidates, &[]));
    frontends.map(|frontend| (frontend.key, frontend.backends)).collect()
}

/// The frontends that writes switch, and how many backends they write.
fn written(writes: &Writes) -> (BTreeSet<IpAddr>, usize) {
    let puts = || writes.now.iter().filter_map(MapOp::put);
    let frontend = |row| match row {
        Row::Service(key, _) => Some(key.address.into()),
        _ => None,
    };
    let backends = puts().filter(|row| matches!(row.key(), Some(RowKey::Backend(_)))).count();
    (puts().filter_map(frontend).collect(), backends)
}

#[test]
fn one_workload_among_many_costs_what_its_own_services_cost() {
    let mut world = everything();
    let frontends = |world: &World| -> BTreeMap<ServiceKey, Vec<BackendInfo>> {
        world.frontends().map(|(key, backends)| (*key, backends.to_vec())).collect()
    };
    let address = |number| service(number).addresses[0];
    let per_service = (WORKLOADS / SERVICES) as usize;
    let mut taken = Duration::ZERO;
    for change in 1..=CHANGES {
        let moved = workload(change, change, WORKLOADS + change);
        let start = Instant::now();
        let writes = world.apply([Change::Endpoint(moved.into())]);
        taken += start.elapsed();
        assert_eq!(written(&writes), ([address(change)].into(), per_service), "another address");
    }
    let relabelled = workload(1, 2, WORKLOADS + 1);
    let writes = world.apply([Change::Endpoint(relabelled.into())]);
    assert_eq!(written(&writes), ([address(1), address(2)].into(), 2 * per_service), "other labels");
    let writes = world.apply([Change::RemoveEndpoint(1)]);
    assert_eq!(written(&writes), ([address(2)].into(), per_service), "gone");

    let start = Instant::now();
    let expected = from_all_workloads(&world);
    let all = start.elapsed();
    assert_eq!(frontends(&world), expected);
    let one = taken / CHANGES;
    eprintln!("{SERVICES} services, {WORKLOADS} workloads: a change takes {one:?}, all services {all:?}");
    assert!(one * 20 < all, "a change looks at more than its own services: {one:?} of {all:?}");
}
