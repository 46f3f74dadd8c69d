//! Random worlds: pods, namespaces, endpoints and identities change, events and writes are late or lost, and operators
//! follow one another.

mod cluster;

use cluster::Cluster;
use identity::Labels;
use operator::{IdentityAllocation, IdentityWrite, ListedKind};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(60);

fn own(app: &str) -> Option<BTreeMap<String, String>> {
    Some([("app".to_owned(), app.to_owned())].into())
}

fn labels(namespace: &str, app: &str) -> Labels {
    Labels::of_workload(namespace, [], [("app", app)])
}

/// An allocation that knows the namespace `x` and has all lists.
fn listed() -> IdentityAllocation {
    let mut identities = IdentityAllocation::new("default", GRACE);
    identities.namespace("x", Some(&BTreeMap::new()));
    for kind in [ListedKind::Namespaces, ListedKind::Pods, ListedKind::Identities, ListedKind::Endpoints] {
        identities.listed(kind);
    }
    identities
}

fn pod(name: &str) -> (String, String) {
    ("x".to_owned(), name.to_owned())
}

fn creation(write: &[IdentityWrite]) -> (u32, Labels) {
    match write {
        [IdentityWrite::Create { number, labels }] => (*number, (**labels).clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn replicas_share_an_identity_and_nothing_is_written_twice() {
    let mut identities = listed();
    identities.pod(pod("a"), own("web"));
    let mut replica = own("web").unwrap();
    replica.insert("pod-template-hash".into(), "1".into());
    identities.pod(pod("b"), Some(replica));
    assert_eq!(creation(&identities.settle(Duration::ZERO)), (256, labels("x", "web")));
    assert_eq!(identities.settle(Duration::from_secs(1)), []);
    identities.identity(256, Some(labels("x", "web")));
    assert_eq!(identities.settle(Duration::from_secs(100)), []);
    assert_eq!((identities.count(), identities.missing()), ((1, 0), 0));
}

#[test]
fn nothing_is_written_before_all_lists_are_complete() {
    let mut identities = IdentityAllocation::new("default", GRACE);
    identities.namespace("x", Some(&BTreeMap::new()));
    identities.pod(pod("a"), own("web"));
    for kind in [ListedKind::Pods, ListedKind::Identities, ListedKind::Endpoints] {
        identities.listed(kind);
        assert_eq!(identities.settle(Duration::ZERO), []);
    }
    identities.listed(ListedKind::Namespaces);
    assert_eq!(identities.settle(Duration::ZERO).len(), 1);
}

#[test]
fn a_pod_waits_for_its_namespace_and_follows_its_labels() {
    let mut identities = listed();
    let of_y = ("y".to_owned(), "a".to_owned());
    identities.pod(of_y, own("web"));
    assert_eq!(identities.settle(Duration::ZERO), []);
    identities.namespace("y", Some(&BTreeMap::new()));
    let first = creation(&identities.settle(Duration::ZERO));
    assert_eq!(first, (256, labels("y", "web")));
    identities.identity(first.0, Some(first.1));
    identities.namespace("y", Some(&[("team".to_owned(), "a".to_owned())].into()));
    let second = creation(&identities.settle(Duration::ZERO));
    assert_eq!(second, (257, Labels::of_workload("y", [("team", "a")], [("app", "web")])));
}

#[test]
fn an_identity_is_deleted_after_the_grace_time_only() {
    let mut identities = listed();
    let at = Duration::from_secs;
    identities.pod(pod("a"), own("web"));
    let (number, labels) = creation(&identities.settle(at(0)));
    identities.identity(number, Some(labels.clone()));
    identities.endpoint(pod("a"), Some((number, labels.clone())));
    identities.pod(pod("a"), None);
    // The agent still has the endpoint.
    assert_eq!(identities.settle(at(100)), []);
    identities.endpoint(pod("a"), None);
    assert_eq!(identities.settle(at(200)), []);
    assert_eq!(identities.settle(at(259)), []);
    identities.pod(pod("b"), own("web"));
    assert_eq!(identities.settle(at(260)), []);
    identities.pod(pod("b"), None);
    assert_eq!(identities.settle(at(261)), []);
    assert_eq!(identities.settle(at(321)), [IdentityWrite::Delete { number }]);
    // The answer was lost, and the object is there still.
    assert_eq!(identities.settle(at(326)), [IdentityWrite::Delete { number }]);
    identities.identity(number, None);
    identities.pod(pod("c"), own("web"));
    // The number does not come back.
    assert_eq!(creation(&identities.settle(at(327))), (number + 1, labels));
}

#[test]
fn a_number_that_another_writer_took_is_not_used() {
    let mut identities = listed();
    identities.pod(pod("a"), own("web"));
    assert_eq!(creation(&identities.settle(Duration::ZERO)).0, 256);
    identities.taken(256);
    identities.identity(256, Some(labels("x", "db")));
    assert_eq!(creation(&identities.settle(Duration::ZERO)), (257, labels("x", "web")));
}

#[test]
fn an_identity_that_endpoints_use_is_created_again_with_its_number() {
    let mut identities = listed();
    identities.pod(pod("a"), own("web"));
    identities.endpoint(pod("a"), Some((300, labels("x", "web"))));
    // Another number that is in use, of labels that no pod has.
    identities.endpoint(pod("b"), Some((256, labels("x", "old"))));
    identities.pod(pod("c"), own("db"));
    let writes = identities.settle(Duration::ZERO);
    let created: BTreeSet<u32> = writes.iter().map(|write| creation(std::slice::from_ref(write)).0).collect();
    assert_eq!(created, [257, 300].into());
}

#[test]
fn random_worlds_settle() {
    for seed in 1..=60 {
        let mut cluster = Cluster::new(seed);
        for _ in 0..200 {
            cluster.step(true);
        }
        // The changes end; what is late arrives, and the grace time passes twice.
        for _ in 0..200 {
            cluster.step(false);
        }
        cluster.check_settled();
    }
}
