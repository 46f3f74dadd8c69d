//! Frontends and their backends, as services and what is listed for them come, change and go.

use control::{Change, World};
use service::{EndpointPort, EndpointSlice, Protocol, Service, ServicePort, TargetPort};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

fn service(namespace: &str, port: u16) -> Change {
    let port =
        ServicePort { name: String::new(), protocol: Protocol::Tcp, port, target: TargetPort::Number(80) };
    Change::Service(Box::new(Service {
        namespace: namespace.into(),
        name: "old".into(),
        labels: BTreeMap::new(),
        selector: BTreeMap::new(),
        addresses: vec![IpAddr::from([10, 96, 0, 9])],
        headless: false,
        external_name: None,
        ports: vec![port],
    }))
}

fn gone(namespace: &str) -> Change {
    Change::RemoveService { namespace: namespace.into(), name: "old".into() }
}

fn listed(namespace: &str, list: &str, last: &[u8]) -> Change {
    let addresses = last.iter().map(|last| IpAddr::from([198, 51, 100, *last])).collect();
    let ports = vec![EndpointPort::named("", Protocol::Tcp, 5433)];
    let (namespace, service) = (namespace.to_owned(), "old".to_owned());
    Change::EndpointSlices {
        namespace,
        service,
        list: list.into(),
        slices: vec![EndpointSlice { addresses, ports }],
    }
}

/// The backends of each frontend; what the writes led to is what is there from a fresh start.
fn frontends(world: &World) -> Vec<(String, Vec<String>)> {
    let socket = |address, port| SocketAddr::new(IpAddr::from(address), u16::from_be_bytes(port)).to_string();
    let found = world.frontends().map(|(key, backends)| {
        let backends = backends.iter().map(|backend| socket(backend.address, backend.port)).collect();
        (socket(key.address, key.port), backends)
    });
    found.collect()
}

fn check(world: &World, expected: &[(&str, &[&str])]) {
    let expected = expected.iter().map(|(frontend, backends)| {
        (frontend.to_string(), backends.iter().map(ToString::to_string).collect::<Vec<_>>())
    });
    assert_eq!(frontends(world), expected.collect::<Vec<_>>());
    let services = world.rows().values().filter(|row| matches!(row, abi::row::Row::Service(..))).count();
    assert_eq!(services, frontends(world).len());
}

#[test]
fn what_is_listed_makes_backends_whichever_comes_first() {
    let mut world = World::new();
    world.apply([listed("x", "a", &[1])]);
    check(&world, &[]);
    world.apply([service("x", 5432)]);
    check(&world, &[("10.96.0.9:5432", &["198.51.100.1:5433"])]);
    world.apply([listed("x", "b", &[2, 1]), listed("x", "a", &[1, 3])]);
    let all = ["198.51.100.1:5433", "198.51.100.2:5433", "198.51.100.3:5433"];
    check(&world, &[("10.96.0.9:5432", &all)]);
    let undo = world.apply([listed("x", "a", &[]), listed("x", "b", &[])]).undo;
    check(&world, &[("10.96.0.9:5432", &[])]);
    world.apply(undo);
    check(&world, &[("10.96.0.9:5432", &all)]);
}

#[test]
fn an_address_that_goes_to_a_service_of_another_namespace_stays_in_the_maps() {
    for [from, to] in [["x", "y"], ["y", "x"]] {
        let mut world = World::new();
        world.apply([service(from, 80), listed(from, "a", &[1]), listed(to, "a", &[2])]);
        let (found, mut maps) = (world.apply([gone(from), service(to, 80)]), world.clone());
        check(&world, &[("10.96.0.9:80", &["198.51.100.2:5433"])]);
        let put = found.now.iter().filter_map(abi::row::MapOp::put);
        let put = put.filter(|row| matches!(row, abi::row::Row::Service(..))).count();
        assert_eq!(put, 1, "from {from} to {to}");
        maps.apply(found.undo);
        check(&maps, &[("10.96.0.9:80", &["198.51.100.1:5433"])]);
    }
}

#[test]
fn an_address_that_two_namespaces_claim_is_the_first_ones_as_long_as_that_is_there() {
    let mut world = World::new();
    world.apply([service("y", 80), listed("y", "a", &[2])]);
    world.apply([service("x", 80), listed("x", "a", &[1])]);
    check(&world, &[("10.96.0.9:80", &["198.51.100.1:5433"])]);
    world.apply([service("x", 81)]);
    check(&world, &[("10.96.0.9:80", &["198.51.100.2:5433"]), ("10.96.0.9:81", &["198.51.100.1:5433"])]);
    world.apply([gone("x")]);
    check(&world, &[("10.96.0.9:80", &["198.51.100.2:5433"])]);
}
