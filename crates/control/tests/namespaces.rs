//! Workloads are known by their namespace until they differ from it, and never by mistake in between.

use abi::policy::{GROUP_OF_WORKLOADS, GroupKey};
use abi::row::{MapOp, Row, RowKey};
use control::{Change, Endpoint, Interface, Rows, World, Writes};
use identity::{Operator, Selector, Source, Values, key};
use policy::rule::{
    Action, Direction, Kind, Peer, Peers, Policy, PolicyId, Rule, Spec, Subject, Tier, Traffic,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

fn endpoint(id: u32, namespace: &str, app: &str) -> Change {
    Change::Endpoint(Box::new(Endpoint {
        id,
        namespace: namespace.into(),
        name: app.into(),
        labels: BTreeMap::from([("app".into(), app.into())]).into(),
        addresses: vec![IpAddr::from([10, 0, 0, id as u8])],
        named_ports: Arc::default(),
        interface: Interface { index: 100 + id, ..Interface::default() },
        audit: false,
    }))
}

fn labelled(namespace: &str, tier: &str) -> Change {
    Change::Namespace { name: namespace.into(), labels: BTreeMap::from([("tier".into(), tier.into())]) }
}

/// Lets everybody but databases of namespaces of this tier come to the web.
fn policy(tier: &str) -> Change {
    let app = |operator| Selector::default().with(Some(Source::K8s), "app", operator);
    let peers = app(Operator::NotIn(Values::from(["db".to_owned()]))).with(
        Some(Source::K8s),
        format!("{}tier", key::NAMESPACE_LABELS),
        Operator::equals(tier),
    );
    let rule = Rule {
        place: "spec.ingress[0]".into(),
        direction: Direction::Ingress,
        priority: 0,
        action: Action::Allow,
        peers: Peers::Of(vec![Peer::Labels(peers)]),
        traffic: Traffic::Any,
    };
    let spec = Spec {
        subject: Subject::Workloads(app(Operator::equals("web"))),
        tier: Tier::Normal,
        log: None,
        default_deny_ingress: true,
        default_deny_egress: false,
        rules: vec![rule],
    };
    let id = PolicyId { kind: Kind::NetworkPolicy, namespace: Some("default".into()), name: tier.into() };
    Change::Policy(Policy { id, specs: vec![spec] })
}

/// Makes writes one by one; the groups in which somebody is meanwhile, each told once.
fn groups(maps: &mut Rows, writes: &Writes, of: u32) -> Vec<u32> {
    let mut groups = vec![group(maps, of)];
    for write in writes.now.iter().chain(writes.later.iter()) {
        match write {
            MapOp::Put(row) => drop(row.key().map(|key| maps.insert(key, row))),
            MapOp::Delete(key) => drop(maps.remove(&key)),
        }
        groups.push(group(maps, of));
    }
    groups.dedup();
    groups
}

/// The group that the web's grouping has somebody in.
fn group(maps: &Rows, of: u32) -> u32 {
    let web = maps.values().find_map(|row| match row {
        Row::Endpoint(_, info) if info.id == 1 => Some(info.grouping.number()),
        _ => None,
    });
    let peer = maps.values().find_map(|row| match row {
        Row::Address(_, info) if info.interface == 100 + of => Some(*info),
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
    world.apply([endpoint(1, "default", "web"), endpoint(2, "other", "client"), endpoint(3, "other", "db")]);
    world.apply([policy("front"), labelled("other", "back")]);
    let mut maps = world.rows();
    let rows = |maps: &Rows| maps.keys().filter(|key| matches!(key, RowKey::Group(_))).count();
    let before = rows(&maps);
    let came = world.apply([labelled("other", "front")]);
    let mut of_client = maps.clone();
    let gained = groups(&mut of_client, &came, 2);
    assert_eq!((gained.len(), gained[0]), (2, GROUP_OF_WORKLOADS), "the client is let in by its namespace");
    assert_eq!(groups(&mut maps, &came, 3), [GROUP_OF_WORKLOADS], "the database never");
    assert_eq!(rows(&maps), before + 2, "one row lets the namespace in, one keeps the database out");
    let went = world.apply([labelled("other", "back")]);
    assert_eq!(groups(&mut of_client, &went, 2), [gained[1], GROUP_OF_WORKLOADS]);
    assert_eq!(groups(&mut maps, &went, 3), [GROUP_OF_WORKLOADS]);
    assert_eq!(maps, world.rows());
}

#[test]
fn whoever_comes_to_a_namespace_while_it_changes_is_what_it_will_be() {
    let mut world = World::new();
    world.apply([endpoint(1, "default", "web"), endpoint(2, "other", "client"), policy("front")]);
    let came = [labelled("other", "front"), endpoint(4, "other", "guest"), endpoint(5, "other", "db")];
    world.apply(came);
    let maps = world.rows();
    assert_eq!(group(&maps, 4), group(&maps, 2));
    assert_ne!(group(&maps, 4), GROUP_OF_WORKLOADS);
    assert_eq!(group(&maps, 5), GROUP_OF_WORKLOADS);
    // The other way round, and with one that was there before.
    world.apply([labelled("other", "back"), endpoint(6, "other", "latecomer"), Change::RemoveEndpoint(2)]);
    let maps = world.rows();
    assert_eq!([4, 5, 6].map(|id| group(&maps, id)), [GROUP_OF_WORKLOADS; 3]);
}

#[test]
fn whoever_comes_while_another_changes_is_not_taken_for_that() {
    let mut world = World::new();
    world.apply([endpoint(1, "default", "web"), endpoint(2, "other", "db"), policy("front")]);
    world.apply([labelled("other", "front")]);
    // The one that was a database is none any more, and is let in; another comes.
    world.apply([endpoint(2, "other", "client"), endpoint(3, "other", "db")]);
    let maps = world.rows();
    assert_ne!(group(&maps, 2), GROUP_OF_WORKLOADS);
    assert_eq!(group(&maps, 3), GROUP_OF_WORKLOADS);
    // The other way round: who comes has nothing beyond the namespace.
    world.apply([endpoint(2, "other", "db"), Change::RemoveEndpoint(3)]);
    world.apply([endpoint(4, "other", "client")]);
    world.apply([endpoint(4, "other", "db"), endpoint(5, "other", "guest")]);
    let maps = world.rows();
    assert_eq!(group(&maps, 4), GROUP_OF_WORKLOADS);
    assert_ne!(group(&maps, 5), GROUP_OF_WORKLOADS);
    world.apply([Change::RemoveEndpoint(2), Change::RemoveEndpoint(5)]);
    world.apply([endpoint(4, "other", "client"), endpoint(6, "other", "visitor")]);
    assert_ne!(group(&world.rows(), 6), GROUP_OF_WORKLOADS);
    world.apply([endpoint(6, "other", "db"), endpoint(7, "other", "stranger")]);
    assert_ne!(
        group(&world.rows(), 7),
        GROUP_OF_WORKLOADS,
        "a sole workload that is relabelled keeps its number"
    );
}

#[test]
fn a_namespace_has_the_same_number_after_a_restart() {
    let workloads =
        [endpoint(1, "default", "web"), endpoint(2, "other", "client"), endpoint(3, "third", "db")];
    let mut world = World::new();
    world.apply(workloads.iter().cloned().chain([policy("front"), labelled("other", "front")]));
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
    restarted.apply(workloads.into_iter().rev().chain([policy("front"), labelled("other", "front")]));
    assert_eq!(namespaces(&restarted), before);
}

#[test]
fn workloads_that_are_relabelled_together_keep_their_number_over_a_restart_too() {
    let mut world = World::new();
    let workloads = || [endpoint(1, "default", "web"), endpoint(2, "other", "client")];
    world.apply(workloads().into_iter().chain([policy("front"), labelled("other", "back")]));
    let client = |world: &World| {
        let rows = world.rows();
        let row = rows.values().find_map(|row| match row {
            Row::Address(_, info) if info.interface == 102 => Some((info.peer, info.identity)),
            _ => None,
        });
        row.unwrap()
    };
    let (peer, identity) = client(&world);
    world.apply([labelled("other", "front")]);
    assert_eq!(client(&world).0, peer);
    assert_ne!(client(&world).1, identity, "an identity stands for its labels");
    let mut restarted = World::adopt(world.rows().values().copied(), world.identities().clone());
    restarted.apply(workloads().into_iter().chain([policy("front"), labelled("other", "front")]));
    assert_eq!(client(&restarted), client(&world));
}

#[test]
fn the_cluster_and_the_service_account_are_labels_of_every_workload() {
    let mut world = World::new();
    let labels = |world: &World, id: u32| {
        let endpoint = world.endpoints().find(|endpoint| endpoint.id == id).unwrap();
        let labels = world.view(endpoint).unwrap().labels;
        [key::CLUSTER, key::SERVICE_ACCOUNT]
            .map(|name| labels.value(Some(&Source::K8s), name).unwrap().to_owned())
    };
    let Change::Endpoint(reader) = endpoint(2, "default", "db") else { unreachable!() };
    let own = BTreeMap::from([
        (key::SERVICE_ACCOUNT.to_owned(), "reader".to_owned()),
        (key::CLUSTER.to_owned(), "forged".to_owned()),
    ]);
    let reader = Change::Endpoint(Box::new(Endpoint { labels: own.into(), ..*reader }));
    world.apply([endpoint(1, "default", "web"), reader]);
    assert_eq!(labels(&world, 1), ["default", "default"]);
    assert_eq!(labels(&world, 2), ["default", "reader"]);
    let west = control::Node { cluster: Some("west".into()), ..control::Node::default() };
    world.apply([Change::Node(Box::new(west))]);
    assert_eq!(labels(&world, 1), ["west", "default"]);
    assert_eq!(labels(&world, 2), ["west", "reader"]);
}
