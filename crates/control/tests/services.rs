//! Frontends and their backends, as services and what is listed for them come, change and go.

use control::fixtures;
use control::{Change, World};
use service::Service;
use service::fixtures::{labels, slice, tcp};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A service without a selector, of which a test has one in each namespace.
fn service(namespace: &str, port: u16) -> Change {
    selecting(namespace, port, &[])
}

/// A service with this selector.
fn selecting(namespace: &str, port: u16, selector: &[(&str, &str)]) -> Change {
    let service = service::fixtures::service(namespace, "old", [tcp(port, 80)]);
    Change::Service(Box::new(Service { selector: labels(selector), ..service }))
}

fn workload(id: u32, own: &[(&str, &str)], last: u8) -> Change {
    let (labels, addresses) = (Arc::new(labels(own)), vec![IpAddr::from([10, 0, 0, last])]);
    let mut endpoint = fixtures::endpoint(id, "x", "");
    (endpoint.workload.labels, endpoint.workload.addresses) = (labels, addresses);
    Change::Endpoint(Box::new(endpoint))
}

fn gone(namespace: &str) -> Change {
    fixtures::remove_service(namespace, "old")
}

fn listed(namespace: &str, list: &str, last: &[u8]) -> Change {
    let addresses = last.iter().map(|last| IpAddr::from([198, 51, 100, *last]));
    fixtures::listed(namespace, "old", list, slice(addresses, "", 5433))
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
    check(&world, &[("10.96.0.1:5432", &["198.51.100.1:5433"])]);
    world.apply([listed("x", "b", &[2, 1]), listed("x", "a", &[1, 3])]);
    let all = ["198.51.100.1:5433", "198.51.100.2:5433", "198.51.100.3:5433"];
    check(&world, &[("10.96.0.1:5432", &all)]);
    let undo = world.apply([listed("x", "a", &[]), listed("x", "b", &[])]).undo;
    check(&world, &[("10.96.0.1:5432", &[])]);
    world.apply(undo);
    check(&world, &[("10.96.0.1:5432", &all)]);
}

#[test]
fn an_address_that_goes_to_a_service_of_another_namespace_stays_in_the_maps() {
    for [from, to] in [["x", "y"], ["y", "x"]] {
        let mut world = World::new();
        world.apply([service(from, 80), listed(from, "a", &[1]), listed(to, "a", &[2])]);
        let (found, mut maps) = (world.apply([gone(from), service(to, 80)]), world.clone());
        check(&world, &[("10.96.0.1:80", &["198.51.100.2:5433"])]);
        let put = found.now.iter().filter_map(abi::row::MapOp::put);
        let put = put.filter(|row| matches!(row, abi::row::Row::Service(..))).count();
        assert_eq!(put, 1, "from {from} to {to}");
        maps.apply(found.undo);
        check(&maps, &[("10.96.0.1:80", &["198.51.100.1:5433"])]);
    }
}

#[test]
fn an_address_that_two_namespaces_claim_is_the_first_ones_as_long_as_that_is_there() {
    let mut world = World::new();
    world.apply([service("y", 80), listed("y", "a", &[2])]);
    world.apply([service("x", 80), listed("x", "a", &[1])]);
    check(&world, &[("10.96.0.1:80", &["198.51.100.1:5433"])]);
    world.apply([service("x", 81)]);
    check(&world, &[("10.96.0.1:80", &["198.51.100.2:5433"]), ("10.96.0.1:81", &["198.51.100.1:5433"])]);
    world.apply([gone("x")]);
    check(&world, &[("10.96.0.1:80", &["198.51.100.2:5433"])]);
}

#[test]
fn selected_workloads_are_backends_as_long_as_they_have_the_labels() {
    const FRONTEND: &str = "10.96.0.1:80";
    let mut world = World::new();
    let web = [("app", "web"), ("env", "prod")];
    world.apply([
        workload(1, &web, 1),
        selecting("x", 80, &web),
        workload(2, &web, 2),
        workload(3, &web[..1], 3),
    ]);
    check(&world, &[(FRONTEND, &["10.0.0.1:80", "10.0.0.2:80"])]);
    // A new address, other labels, and a workload that is not selected.
    world.apply([workload(1, &web, 11), workload(2, &web[1..], 2), workload(3, &web[..1], 13)]);
    check(&world, &[(FRONTEND, &["10.0.0.11:80"])]);
    let undo = world.apply([selecting("x", 80, &web[..1]), Change::RemoveEndpoint(1)]).undo;
    check(&world, &[(FRONTEND, &["10.0.0.13:80"])]);
    world.apply(undo);
    check(&world, &[(FRONTEND, &["10.0.0.11:80"])]);
    world.apply([selecting("y", 80, &web), gone("x")]);
    check(&world, &[(FRONTEND, &[])]);
}

#[test]
fn slices_of_other_nodes_workloads_count_where_no_workload_of_this_node_is_selected() {
    const FRONTEND: &str = "10.96.0.1:80";
    let mut world = World::new();
    world.apply([
        selecting("x", 80, &[("app", "web")]),
        listed("x", "web-1", &[1]),
        listed("x", "web-2", &[2]),
    ]);
    check(&world, &[(FRONTEND, &["198.51.100.1:5433", "198.51.100.2:5433"])]);
    world.apply([workload(1, &[("app", "web")], 1)]);
    check(&world, &[(FRONTEND, &["10.0.0.1:80"])]);
    world.apply([listed("x", "web-1", &[])]);
    check(&world, &[(FRONTEND, &["10.0.0.1:80"])]);
    world.apply([workload(1, &[("app", "db")], 1)]);
    check(&world, &[(FRONTEND, &["198.51.100.2:5433"])]);
}
