//! Which rows a change of a policy or of a subject writes.

use abi::endpoint::{EndpointInfo, flag};
use abi::policy::{ColumnKey, WHOLE_INSIDE};
use abi::row::{MapOp, Row, RowKey};
use control::fixtures::{address_of, workload};
use control::{Change, World, Writes};
use identity::{Operator, Selector};
use policy::fixtures::{allow, app, outside, policy, spec};
use policy::rule::Direction::Ingress;
use policy::rule::Traffic;
use std::collections::BTreeMap;

fn endpoint(id: u32, app: &str) -> Change {
    workload(id, "default", app)
}

fn let_in(name: &str, to: &str, from: &str) -> Change {
    Change::Policy(policy(name, [spec(app(to), [allow(Ingress, app(from), Traffic::Any)])]))
}

/// Lets a block of addresses in to all workloads.
fn let_in_block(name: &str, block: &str) -> Change {
    let rule = allow(Ingress, outside(block, &[]), Traffic::Any);
    Change::Policy(policy(name, [spec(Selector::default(), [rule])]))
}

fn info(world: &World, id: u32) -> EndpointInfo {
    world.endpoint_row(world.endpoint_of(id).unwrap()).unwrap()
}

/// How many rows the grouping of this endpoint's policy has.
fn grouped(world: &World, id: u32) -> usize {
    let grouping = info(world, id).grouping.number();
    let of_grouping = |key: &&RowKey| matches!(key, RowKey::Group(key) if key.grouping == grouping);
    world.rows().keys().filter(of_grouping).count()
}

/// The columns of a policy, each by the CIDR class that it is for.
fn columns_of(world: &World, policy: u32) -> BTreeMap<u32, u32> {
    let of_policy = |row: &Row| match row {
        Row::Column(key, column) if key.policy == policy => Some((key.cidr, *column)),
        _ => None,
    };
    world.rows().values().filter_map(of_policy).collect()
}

/// The rows of classes in these columns.
fn classes_in(world: &World, columns: &BTreeMap<u32, u32>) -> Vec<Row> {
    let is_of_one = |row: &Row| match row {
        Row::Class(key, _) => columns.values().any(|column| *column == key.column),
        _ => false,
    };
    world.rows().into_values().filter(is_of_one).collect()
}

#[test]
fn a_policy_switches_its_subject_and_no_other() {
    let mut world = World::new();
    world.apply([endpoint(1, "web"), endpoint(2, "client")]);
    let before = (info(&world, 1), info(&world, 2));
    let writes = world.apply([let_in("a", "web", "client")]);
    assert_ne!(info(&world, 1).policy, before.0.policy);
    assert_eq!(info(&world, 1).flags, flag::ENFORCE_INGRESS);
    assert_eq!(info(&world, 2), before.1);
    let switches = writes.now.iter().filter(|op| matches!(op, MapOp::Put(Row::Endpoint(..)))).count();
    assert_eq!(switches, 1);
    let last = writes.now.iter().last();
    assert!(matches!(last, Some(MapOp::Put(Row::Config(_)))), "flows are checked again: {last:?}");
}

#[test]
fn a_new_peer_adds_rows_under_the_same_policy_number() {
    let mut world = World::new();
    world.apply([endpoint(1, "web"), let_in("a", "web", "client")]);
    let policy = info(&world, 1).policy;
    let before = grouped(&world, 1);
    let writes = world.apply([endpoint(2, "client")]);
    assert_eq!(info(&world, 1).policy, policy);
    assert_eq!(grouped(&world, 1), before + 1);
    assert!(writes.later.is_empty());
    world.apply([Change::RemoveEndpoint(2)]);
    assert_eq!(grouped(&world, 1), before);
}

#[test]
fn workloads_of_one_identity_share_a_policy() {
    let mut world = World::new();
    world.apply([endpoint(1, "web"), endpoint(2, "web"), endpoint(3, "db"), let_in("a", "web", "client")]);
    assert_eq!(info(&world, 1).policy, info(&world, 2).policy);
    assert_ne!(info(&world, 1).policy, info(&world, 3).policy);
}

#[test]
fn what_was_in_the_maps_before_a_restart_is_replaced_under_new_numbers() {
    let mut world = World::new();
    world.apply([endpoint(1, "web"), let_in("a", "web", "client")]);
    let old = info(&world, 1).policy;
    let mut restarted = World::adopt(world.rows().values().copied(), world.identities().clone());
    let writes = restarted.apply([endpoint(1, "web"), let_in("a", "web", "client")]);
    assert!(info(&restarted, 1).policy > old);
    assert!(writes.later.iter().all(|op| matches!(op, MapOp::Delete(_))));
    assert_eq!(columns_of(&restarted, old), BTreeMap::new());
}

#[test]
fn a_policy_keeps_the_columns_that_do_not_change() {
    let mut world = World::new();
    world.apply([endpoint(1, "web"), endpoint(2, "client"), let_in("a", "web", "client")]);
    world.apply([let_in_block("b", "192.0.2.0/24")]);
    let before = columns_of(&world, info(&world, 1).policy);
    let writes = world.apply([let_in_block("c", "198.51.100.0/24")]);
    let after = columns_of(&world, info(&world, 1).policy);
    assert_eq!((before.len(), after.len()), (3, 4));
    assert!(before.iter().all(|(cidr, column)| after.get(cidr) == Some(column)), "{before:?} {after:?}");
    let touched = |op: MapOp| match op {
        MapOp::Put(Row::Class(key, _)) | MapOp::Delete(RowKey::Class(key)) => Some(key.column),
        _ => None,
    };
    let mut touched = writes.now.iter().chain(writes.later.iter()).filter_map(touched);
    assert!(touched.all(|column| before.values().all(|kept| *kept != column)));
}

#[test]
fn a_column_that_is_the_only_one_to_change_is_switched_alone() {
    let mut world = World::new();
    world.apply([endpoint(1, "web"), endpoint(2, "client"), endpoint(3, "other")]);
    world.apply([let_in("a", "web", "client"), let_in_block("b", "192.0.2.0/24")]);
    let before = (info(&world, 1), columns_of(&world, info(&world, 1).policy));
    let writes = world.apply([let_in("c", "web", "other")]);
    let after = (info(&world, 1), columns_of(&world, info(&world, 1).policy));
    assert_eq!(before.0, after.0, "the endpoint's row stays");
    let is_other = |cidr: &&u32| before.1[*cidr] != after.1[*cidr];
    assert_eq!(before.1.keys().filter(is_other).collect::<Vec<_>>(), [&WHOLE_INSIDE]);
    let column =
        Row::Column(ColumnKey { policy: after.0.policy, cidr: WHOLE_INSIDE }, after.1[&WHOLE_INSIDE]);
    let puts: Vec<Row> = writes.now.iter().filter_map(MapOp::put).collect();
    assert!(matches!(puts[..], [.., last, Row::Config(_)] if last == column), "{puts:?}");
    world.apply([Change::RemoveEndpoint(1)]);
    assert_eq!(columns_of(&world, after.0.policy), BTreeMap::new());
}

#[test]
fn a_policy_has_classes_for_new_groups_until_another_policy_replaces_it() {
    let mut world = World::new();
    world.apply([endpoint(1, "web"), endpoint(2, "client"), let_in("a", "web", "client")]);
    let before = columns_of(&world, info(&world, 1).policy);
    let Change::Policy(mut policy) = let_in("b", "web", "") else { unreachable!("it is a policy") };
    let not_other = Selector::default().with(None, "app", Operator::NotIn(["other".to_owned()].into()));
    policy.specs[0].rules[0].peers = not_other.into();
    let puts: Vec<Row> = world.apply([Change::Policy(policy)]).now.iter().filter_map(MapOp::put).collect();
    let is_of_client = |row: &Row| match row {
        Row::Address(key, info) => (key.address == address_of(2).into()).then_some(info.peer),
        _ => None,
    };
    let client = world.rows().values().find_map(is_of_client).unwrap();
    let of_client = |row: &Row| match row {
        Row::Group(key, group) => (key.peer == client).then_some(*group),
        _ => None,
    };
    let (moved, group) = (0..).zip(&puts).find_map(|(at, row)| Some((at, of_client(row)?))).unwrap();
    let is_told = |row: &Row| match row {
        Row::Class(key, _) => key.group == group && before.values().any(|column| *column == key.column),
        _ => false,
    };
    assert!(puts[..moved].iter().any(is_told), "{puts:?}");
}

#[test]
fn a_policy_that_another_subject_joins_keeps_its_columns() {
    let mut world = World::new();
    let [all, web, db] =
        [let_in_block("all", "192.0.2.0/24"), let_in("web", "web", "x"), let_in("db", "db", "y")];
    world.apply([endpoint(1, "plain"), endpoint(2, "db"), all, web, db]);
    let policy = info(&world, 1).policy;
    let before = classes_in(&world, &columns_of(&world, policy));
    // One leaves the policy for another that says the same of the block; the other comes in its place.
    world.apply([endpoint(1, "web"), endpoint(2, "plain")]);
    assert_eq!(info(&world, 2).policy, policy);
    assert_ne!(info(&world, 1).policy, policy);
    world.apply([Change::RemoveEndpoint(1)]);
    assert_eq!(classes_in(&world, &columns_of(&world, policy)), before);
}

#[test]
fn nothing_is_written_for_a_change_that_changes_nothing() {
    let mut world = World::new();
    world.apply([endpoint(1, "web")]);
    assert_eq!(world.apply([endpoint(1, "web")]), Writes::default());
}
