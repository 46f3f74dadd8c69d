//! The epoch rises with every change of what connection tracking remembers of a flow, after the writes of the change.

use abi::config::{Config, flag};
use abi::row::{MapOp, Row, RowKey};
use control::fixtures::{self, listed, random_change, random_service_change, service, workload};
use control::{Change, Rows, World, Writes};
use identity::Allocator;
use policy::fixtures::{allow, app, policy, policy_id, spec, tcp};
use policy::generate::Random;
use policy::rule::{Direction, Subject};
use service::fixtures::slice;
use std::net::IpAddr;

/// The configuration that the writes put, if they put one; nothing may follow it at once.
#[track_caller]
fn config(writes: &Writes) -> Option<Config> {
    let configs = writes.now.iter().enumerate().filter_map(|(at, write)| match write {
        MapOp::Put(Row::Config(config)) => Some((at + 1, config)),
        _ => None,
    });
    let configs: Vec<_> = configs.collect();
    assert!(configs.len() <= 1 && configs.iter().all(|(at, _)| *at == writes.now.len()), "{configs:?}");
    configs.first().map(|(_, config)| *config)
}

/// The epoch of that configuration.
#[track_caller]
fn epoch(writes: &Writes) -> Option<u32> {
    config(writes).map(|config| config.epoch)
}

/// Whether a write leads packets of established flows elsewhere, or changes their verdicts.
fn concerns_flows(rows: &Rows, write: &MapOp) -> bool {
    match write {
        MapOp::Put(Row::Config(_) | Row::Backend(..))
        | MapOp::Delete(RowKey::Backend(_) | RowKey::Service(_)) => false,
        MapOp::Put(row @ Row::Service(..)) => row.key().is_some_and(|key| !rows.contains_key(&key)),
        _ => true,
    }
}

#[test]
fn no_change_of_ways_or_verdicts_leaves_the_epoch_as_it_is() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut world = World::new();
        let mut last = epoch(&world.apply([])).unwrap_or(0);
        for step in 0..30 {
            let change = match random.below(3) {
                0 => random_service_change(&mut random),
                _ => random_change(&mut random),
            };
            let before = world.rows();
            let writes = world.apply([change.clone()]);
            let concerned = writes.now.iter().find(|write| concerns_flows(&before, write));
            let risen = epoch(&writes).filter(|epoch| *epoch > last);
            assert!(
                concerned.is_none() || risen.is_some(),
                "seed {seed}, step {step}: {change:?} makes {concerned:?}"
            );
            last = risen.unwrap_or(last);
        }
    }
}

#[test]
fn a_workload_at_another_interface_and_another_one_with_its_address_raise_the_epoch() {
    let mut world = World::new();
    let first = epoch(&world.apply([workload(1, "x", "a")])).unwrap();
    let mut moved = fixtures::endpoint(1, "x", "a");
    moved.wire.interface += 1000;
    let second = epoch(&world.apply([Change::Endpoint(Box::new(moved))])).unwrap();
    let mut heir = fixtures::endpoint(2, "x", "a");
    heir.workload.addresses = vec![fixtures::address_of(1)];
    let third = epoch(&world.apply([Change::RemoveEndpoint(1), Change::Endpoint(Box::new(heir))])).unwrap();
    assert!(first < second && second < third);
}

#[test]
fn a_new_frontend_raises_the_epoch_and_another_set_of_backends_does_not() {
    let mut world = World::new();
    world.apply([workload(1, "x", "a")]);
    assert!(epoch(&world.apply([service("x", "web", "a")])).is_some());
    let backends = |last| {
        let addresses = [IpAddr::from([198, 51, 100, last])].into_iter();
        listed("x", "web", "list", slice(addresses, "web", 8080))
    };
    assert_eq!(epoch(&world.apply([backends(1)])), None);
    assert_eq!(epoch(&world.apply([backends(2)])), None);
}

#[test]
fn a_start_raises_the_epoch_for_the_writes_that_may_have_lost_theirs() {
    let mut world = World::new();
    let changes = || [workload(1, "x", "a"), workload(2, "x", "b")];
    let last = epoch(&world.apply(changes())).unwrap();
    let config = abi::config::Config { epoch: last, ..Default::default() };
    let rows = world.rows().into_values().chain([Row::Config(config)]);
    let mut again = World::adopt(rows, Allocator::default());
    let writes = again.apply(changes());
    assert!(epoch(&writes).is_some_and(|epoch| epoch > last), "{:?}", writes.now);
}

#[test]
fn the_configuration_opens_the_node_while_no_policy_is_enforced_for_it() {
    let is_open = |writes: &Writes| config(writes).map(|config| config.flags & flag::NODE_OPEN != 0);
    let mut world = World::new();
    assert_eq!(is_open(&world.apply([workload(1, "x", "a")])), Some(true));
    let rule = allow(Direction::Ingress, app("client"), tcp(22));
    let node = spec(Subject::Nodes(Default::default()), [rule.clone()]);
    let guard = world.apply([Change::Policy(policy("node", [node.clone()]))]);
    assert_eq!(is_open(&guard), Some(false), "after the last row of the policy");
    let other = world.apply([Change::Policy(policy("web", [spec(app("a"), [rule])]))]);
    assert_ne!(is_open(&other), Some(true));
    assert_eq!(is_open(&world.apply([Change::RemovePolicy(policy_id("node"))])), Some(true));
    // A policy that denies nothing by default enforces nothing.
    let lax = policy::rule::Spec { default_deny_ingress: false, rules: Vec::new(), ..node };
    assert_ne!(is_open(&world.apply([Change::Policy(policy("node", [lax]))])), Some(false));
}
