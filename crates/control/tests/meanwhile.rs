//! The verdicts of packets between the writes of one step with several changes.

use abi::address::AddressKey;
use abi::endpoint::EndpointKey;
use abi::policy::{VerdictInfo, action};
use abi::protocol;
use abi::row::{MapOp, Row, RowKey};
use control::fixtures::{self, address_of, endpoint, interface_of, namespace, workload};
use control::{Change, RemoteWorkload, Rows, Workload, World, Writes};
use datapath::Maps;
use datapath::native::Tables;
use datapath::policy::{FlowQuery, evaluate};
use identity::{Operator, Selector, Source, key};
use policy::book::RuleId;
use policy::fixtures::{allow, app, app_that, policy, spec};
use policy::rule::Direction::Ingress;
use policy::rule::{Cidr, CidrReach, Entity, Peer, Peers, Subject, Traffic};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

fn in_tier(selector: Selector, tier: &str) -> Selector {
    selector.with(Some(Source::K8s), format!("{}tier", key::NAMESPACE_LABELS), Operator::equals(tier))
}

/// Allows only these peers to connect to an app.
fn let_in(to: &str, from: Vec<Selector>) -> Change {
    Change::Policy(policy(to, [spec(app(to), [allow(Ingress, from, Traffic::Any)])]))
}

fn named(apps: &[&str]) -> Vec<Selector> {
    apps.iter().map(|name| app(name)).collect()
}

/// A world after a change, with the rows before the change and the writes that make it.
struct Moments<'a> {
    world: &'a World,
    before: &'a Rows,
    writes: &'a Writes,
}

/// A verdict on TCP port 80, with what it rests on in words.
#[derive(PartialEq)]
struct Judged {
    is_allowed: bool,
    by: String,
}

impl Moments<'_> {
    /// Asserts whether a workload lets an address in: before the writes, and after each write that changes the answer.
    #[track_caller]
    fn check(&self, from: IpAddr, to: u32, expected: &[bool]) {
        let mut tables = Tables::new();
        tables.apply_all(self.before.values().copied().map(MapOp::Put));
        let mut seen = vec![(self.judge(&tables, from, to), "before".to_owned())];
        for (number, write) in
            (1..).zip(self.writes.now.iter().chain(self.writes.later.iter()).chain(self.writes.last.iter()))
        {
            tables.apply(write);
            let judged = self.judge(&tables, from, to);
            if seen.last().is_none_or(|(last, _)| *last != judged) {
                seen.push((judged, format!("after write {number}, {write:?}")));
            }
        }
        let mut answers: Vec<bool> = seen.iter().map(|(judged, _)| judged.is_allowed).collect();
        answers.dedup();
        let moments = seen.iter().map(|(judged, moment)| format!("\n  {} {moment}", judged.by));
        assert!(
            answers == expected,
            "ingress of workload {to} from {from}, TCP port 80: {expected:?} is expected, and found is{}",
            moments.collect::<String>()
        );
    }

    /// The packet path's own lookup.
    fn judge(&self, tables: &Tables, from: IpAddr, to: u32) -> Judged {
        let endpoint =
            tables.endpoint(&EndpointKey { interface: interface_of(to) }).expect("a workload has a row");
        let peer =
            tables.address(&AddressKey::host(from.into())).expect("each address is in a block with a row");
        let query = FlowQuery { direction: Ingress, protocol: protocol::TCP, port: [0, 80] };
        let VerdictInfo { action, rule, .. } = evaluate(tables, endpoint, peer, query);
        let is_allowed = action == action::ALLOW;
        let verdict = if is_allowed { "allow" } else { "drop" };
        let by = match self.world.registry().book.origin(RuleId(rule)) {
            Some(origin) => format!("{verdict} by {origin}"),
            None if rule == RuleId::DEFAULT.0 => format!("{verdict} by no rule"),
            None => format!("{verdict} by a rule that is no longer in force"),
        };
        Judged { is_allowed, by }
    }
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

/// A workload of another node with one address.
fn remote(address: IpAddr, app: &str) -> Change {
    let workload = Workload {
        namespace: "x".into(),
        name: "remote".into(),
        labels: BTreeMap::from([("app".into(), app.into())]).into(),
        addresses: vec![address],
        named_ports: Arc::default(),
    };
    Change::RemoteWorkload(Box::new(RemoteWorkload { node: "other".into(), workload }))
}

#[test]
fn an_address_that_a_workload_leaves_is_not_judged_by_its_new_labels() {
    let mut world = World::new();
    world.apply([workload(9, "x", "db"), let_in("db", named(&["good"]))]);
    let [left, taken] = [[10, 244, 9, 5], [10, 244, 9, 6]].map(IpAddr::from);
    world.apply([remote(left, "plain")]);
    let maps = world.rows();
    let writes = world.apply([remote(taken, "good")]);
    let moments = Moments { world: &world, before: &maps, writes: &writes };
    moments.check(left, 9, &[false]);
    moments.check(taken, 9, &[false, true]);
}

#[test]
fn who_leaves_a_number_is_not_taken_for_what_it_becomes() {
    let mut world = World::new();
    world.apply([workload(1, "x", "plain"), workload(6, "x", "plain"), workload(9, "x", "db")]);
    world.apply([let_in("db", named(&["good"]))]);
    let maps = world.rows();
    let writes = world.apply([workload(1, "x", "other"), workload(6, "x", "good")]);
    let moments = Moments { world: &world, before: &maps, writes: &writes };
    moments.check(address_of(1), 9, &[false]);
    moments.check(address_of(6), 9, &[false, true]);
}

#[test]
fn who_leaves_a_policy_is_not_judged_by_what_takes_its_place() {
    let mut world = World::new();
    let apps = [(1, "web"), (2, "web"), (3, "attacker"), (4, "client")];
    world.apply(apps.map(|(id, app)| workload(id, "x", app)));
    world.apply([let_in("web", named(&["client"])), let_in("other", named(&["client"]))]);
    let maps = world.rows();
    let writes = world.apply([let_in("web", named(&["client", "attacker"])), workload(1, "x", "other")]);
    let moments = Moments { world: &world, before: &maps, writes: &writes };
    moments.check(address_of(3), 1, &[false]);
    moments.check(address_of(4), 1, &[true]);
    moments.check(address_of(3), 2, &[false, true]);
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
    let moments = Moments { world: &world, before: &maps, writes: &writes };
    moments.check(address_of(5), 9, &[false]);
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
fn a_peer_that_becomes_like_its_namespace_has_no_row_of_its_own() {
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
fn a_peer_that_moves_to_another_namespace_gets_its_number() {
    let mut world = World::new();
    world.apply([workload(1, "x", "web"), workload(2, "y", "web"), workload(3, "x", "other")]);
    let (_, other) = peer_of(&world, 2);
    world.apply([workload(1, "y", "client")]);
    assert_eq!(peer_of(&world, 1).1, other);
}

/// The addresses that are listed for the service of the API servers.
fn api_servers(addresses: &[IpAddr]) -> Change {
    let (namespace, service) = service::API_SERVER;
    let slice = service::EndpointSlice::of(addresses.iter().copied().collect());
    fixtures::listed(namespace, service, "kubernetes", slice)
}

#[test]
fn an_api_server_that_moves_takes_its_peers_along_at_once() {
    let [node, outside, host] = [[192, 0, 2, 10], [198, 51, 100, 6], [192, 0, 2, 1]].map(IpAddr::from);
    let mut world = World::new();
    let labels = BTreeMap::from([("role".to_owned(), "w".to_owned())]);
    let own = control::Node { addresses: vec![host], ..control::Node::default() };
    let other = control::RemoteNode {
        name: "cp".into(),
        labels,
        addresses: vec![node],
        ..control::RemoteNode::default()
    };
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
        let moments = Moments { world: &world, before: &maps, writes: &writes };
        for (at, address) in all.into_iter().enumerate() {
            let mut expected = vec![before[at], after[at]];
            expected.dedup();
            moments.check(address, 9, &expected);
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
