//! Tests of two agents on one host and of other programs' interfaces: an agent changes only what it made.

use crate::bed::{Bed, wanted};
use api::ApiRequest;
use serde_json::json;
use workload::{NetworkNamespace, NodeNamespace, Veth};

/// A pair of interfaces of another program in a node's namespace.
fn foreign(bed: &Bed, name: &str) {
    let mut node = NodeNamespace::of(NetworkNamespace::open(&bed.name).unwrap()).unwrap();
    let veth = Veth { name, peer: "foreign", peer_namespace: None, mtu: 1500, index: None };
    node.network().create_veth(&veth).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_second_agent_of_another_instance_in_a_network_namespace_is_refused_and_changes_nothing() {
    let mut bed = Bed::new("na");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(super::REQUESTS);
    assert_eq!(client.reaches(&server, "/public"), Some(200));
    let other = json!({
        "instance": format!("{}x", bed.name), "directory": bed.directory.join("other"), "proxyPort": 10_007,
        "workloadAddresses": ["10.245.0.0/16"], "serviceAddresses": ["10.97.0.0/16"],
    });
    for running in [true, false] {
        if !running {
            bed.kill();
        }
        let (code, said) = bed.try_another(&other);
        assert_eq!(code, Some(1), "running: {running}: {said}");
        assert!(said.contains(&bed.name) && said.contains("network namespace"), "{said}");
        assert_eq!(client.reaches(&server, "/public"), Some(200), "{said}");
        assert_eq!(client.reaches(&server, "/private"), Some(403));
    }
    bed.start();
    let status = bed.status();
    assert_eq!((status.endpoints, status.problems), (2, vec![]));
    assert!(!loader::pin_directory(other["instance"].as_str().unwrap()).exists(), "nothing of it is left");
}

#[test]
#[ignore = "needs root"]
fn a_second_agent_of_the_same_instance_is_refused_wherever_its_files_and_its_network_are() {
    let bed = Bed::new("nb");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(super::REQUESTS);
    let apart = format!("{}apart", bed.name);
    NetworkNamespace::create(&apart).unwrap();
    for namespace in [&bed.name, &apart] {
        let twin = json!({"directory": bed.directory.join("twin"), "networkNamespace": namespace});
        let (code, said) = bed.try_another(&twin);
        assert_eq!(code, Some(1), "{namespace}: {said}");
        assert!(said.contains("another agent"), "{said}");
        assert_eq!(client.reaches(&server, "/public"), Some(200), "{said}");
    }
    NetworkNamespace::delete(&apart).unwrap();
    let status = bed.status();
    assert_eq!((status.endpoints, status.problems), (2, vec![]));
}

#[test]
#[ignore = "needs root"]
fn a_number_whose_names_are_in_use_is_skipped_and_their_interfaces_stay() {
    let bed = Bed::new("nc");
    foreign(&bed, "nx1");
    let taken = format!("nexin-{}-2", bed.name);
    NetworkNamespace::create(&taken).unwrap();
    let made: api::view::EndpointSummary = bed.ask(ApiRequest::CreateWorkload(wanted("a")));
    let next: api::view::EndpointSummary = bed.ask(ApiRequest::CreateWorkload(wanted("b")));
    assert!(bed.links().contains(&"nx1".to_string()), "{:?}", bed.links());
    assert!(bed.namespaces().contains(&taken));
    assert!(made.interface != "nx1" && next.network_namespace != taken && made.id != next.id);
    let mut there = bed.workload("server");
    assert_eq!(bed.workload("client").reaches(&there, "/"), Some(200));
    there.addresses.clear();
    bed.remove("a").unwrap();
    NetworkNamespace::delete(&taken).unwrap();
}

#[test]
#[ignore = "needs root"]
fn interfaces_of_other_programs_stay_when_an_agent_is_removed() {
    let bed = Bed::new("nd");
    bed.workload("a");
    foreign(&bed, "nx77");
    let longer = format!("nexin-{}-x-1", bed.name);
    NetworkNamespace::create(&longer).unwrap();
    let name = bed.name.clone();
    let node = NetworkNamespace::open(&name).unwrap();
    drop(bed);
    let links = NodeNamespace::of(node).unwrap().network().links().unwrap();
    let names: Vec<_> = links.into_iter().map(|link| link.name).collect();
    let kept = NetworkNamespace::names().unwrap().contains(&longer);
    NetworkNamespace::delete(&longer).unwrap();
    assert!(kept, "the namespace of instance {name}-x");
    assert_eq!(names.iter().filter(|name| name.starts_with("nx")).collect::<Vec<_>>(), ["nx77"]);
}
