//! Random changes, one after the other: the writes must always lead to the rows that the world would have from the
//! start, and undoing a change to as many as before.

mod walk;

use abi::batch::Batch;
use abi::policy::GroupKey;
use abi::row::{MapOp, Row, RowKey};
use control::fixtures::{self, random_change as change};
use control::{Change, Rows, World, Writes};
use policy::generate::Random;
use service::fixtures::slice;
use std::collections::BTreeSet;
use std::mem::discriminant;
use walk::classes_by_pair;

const SEEDS: u64 = 20;
const CHANGES: usize = 60;

#[test]
fn writes_lead_where_a_fresh_start_leads() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let (mut world, mut maps) = (World::new(), Rows::new());
        make(&mut maps, world.apply([]));
        for _ in 0..CHANGES {
            let before = maps.clone();
            let changes: Vec<Change> = (0..=random.below(3)).map(|_| change(&mut random)).collect();
            let writes = world.apply(changes.clone());
            let undo = writes.undo.clone();
            make(&mut maps, writes);
            same(&maps, &world.rows(), &format!("seed {seed}, after {changes:?}"));
            if random.chance(30) {
                make(&mut maps, world.apply(undo));
                same(&maps, &world.rows(), &format!("seed {seed}, after taking back {changes:?}"));
                assert_eq!(sizes(&maps), sizes(&before), "seed {seed}, after taking back {changes:?}");
            }
        }
        let mut restarted = World::adopt(maps.values().copied(), world.identities().clone());
        make(&mut maps, restarted.apply([]));
        same(&maps, &restarted.rows(), &format!("seed {seed}, after a restart"));
    }
}

#[test]
fn a_change_that_failed_half_way_is_taken_back_at_once() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let (mut world, mut maps) = (World::new(), Rows::new());
        make(&mut maps, world.apply([]));
        for _ in 0..CHANGES {
            let changes: Vec<Change> = (0..=random.below(3)).map(|_| change(&mut random)).collect();
            let writes = world.apply(changes.clone());
            if random.chance(60) {
                make(&mut maps, writes);
                continue;
            }
            let all: Vec<MapOp> = writes.now.iter().collect();
            let made = random.below(all.len() + 1);
            make_batch(&mut maps, &all[..made].iter().copied().collect());
            world.adopt_rows(maps.values().copied());
            make_from(State::HalfMade, &mut maps, world.apply(writes.undo));
            same(&maps, &world.rows(), &format!("seed {seed}, after {made} writes of {changes:?}"));
        }
    }
}

#[test]
fn nothing_is_held_for_what_is_gone() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let (mut world, mut maps) = (World::new(), Rows::new());
        make(&mut maps, world.apply([]));
        let nothing = maps.clone();
        for _ in 0..CHANGES {
            make(&mut maps, world.apply([change(&mut random)]));
        }
        let mut going = going(&world);
        while !going.is_empty() {
            let some: Vec<Change> = (0..=random.below(3).min(going.len() - 1))
                .map(|_| going.remove(random.below(going.len())))
                .collect();
            make(&mut maps, world.apply(some));
        }
        same(&maps, &nothing, &format!("seed {seed}"));
        let book = &world.registry().book;
        let held = [book.sets().count(), book.rules().len(), book.class_rows().count(), book.columns()];
        assert_eq!(held, [0; 4], "seed {seed}: rule sets, rules, classes and columns");
        assert_eq!(world.identities().allocated().count(), 0, "seed {seed}");
    }
}

/// The changes by which all goes that [`change`] may have brought.
fn going(world: &World) -> Vec<Change> {
    let mut going: Vec<Change> = world.endpoints().map(|one| Change::RemoveEndpoint(one.id)).collect();
    let policies = world.registry().policies.iter();
    going.extend(policies.map(|one| Change::RemovePolicy(one.id.clone())));
    going.extend(world.remote_workloads().map(|one| {
        let (namespace, name) = (one.workload.namespace.clone(), one.workload.name.clone());
        Change::RemoveRemoteWorkload { namespace, name }
    }));
    going.extend(world.remote_nodes().map(|one| Change::RemoveRemoteNode(one.name.clone())));
    going.extend(["partners", "office"].map(|name| Change::RemoveCidrGroup(name.into())));
    let nameless =
        |address: &str| Change::Names { address: address.parse().unwrap(), names: BTreeSet::new() };
    going.extend(["198.51.100.7", "203.0.113.9"].map(nameless));
    for (namespace, name) in [("x", "a"), ("x", "b"), ("y", "a"), ("y", "b")] {
        going.push(fixtures::remove_service(namespace, name));
        going.push(fixtures::listed(namespace, name, "list", slice([], "web", 8080)));
    }
    going.push(Change::Node(Box::default()));
    going
}

/// What the maps hold before writes are made.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Whole,
    /// What a change left that failed half way.
    HalfMade,
}

/// Makes writes; those that are only made later must not be needed by then.
fn make(maps: &mut Rows, writes: Writes) {
    make_from(State::Whole, maps, writes);
}

fn make_from(state: State, maps: &mut Rows, writes: Writes) {
    let before = maps.clone();
    make_batch(maps, &writes.now);
    // It takes its time: a third of the changes show it.
    if writes.now.len().is_multiple_of(3) {
        never_between(state, before, maps, &writes.now);
    }
    let mut at_once = classes_by_pair(maps);
    make_batch(maps, &writes.later);
    make_batch(maps, &writes.last);
    let later = classes_by_pair(maps);
    // A block that is gone takes its addresses' row along.
    at_once.retain(|key, _| later.contains_key(key));
    assert!(at_once == later, "a row that is removed later changes a verdict");
}

/// Makes writes one by one. After each write, an endpoint and an address that is in the maps before and after must have
/// the classes of before or the classes of after.
///
/// A pair is left out if both its endpoint and its address change, or if the address changes together with the group of
/// its namespace. From a half-made state only pairs count whose endpoint and its policy's columns do not change.
fn never_between(state: State, mut maps: Rows, after: &Rows, writes: &Batch) {
    let stays = |key: &RowKey| maps.get(key) == after.get(key);
    let keeps = |endpoint: &RowKey| stays(endpoint) && columns(&maps, endpoint) == columns(after, endpoint);
    let renamed = writes.iter().filter_map(|write| match write {
        MapOp::Delete(RowKey::Column(key)) => Some(key.cidr),
        MapOp::Put(Row::Column(key, _)) if columns_of(&maps, Some(key.policy)).next().is_some() => {
            Some(key.cidr)
        }
        _ => None,
    });
    let renamed: BTreeSet<u32> = renamed.collect();
    let counts = |pair: &(RowKey, RowKey)| {
        let (endpoint, address) = pair;
        let moves = [&maps, after].iter().any(|rows| !stays_with_namespace(pair, rows, [&maps, after]));
        // A policy and the names of an address may change together: under a number that stays, and under others.
        let at_once = match policy(&maps, endpoint) == policy(after, endpoint) {
            true => switched(&maps, after, endpoint) <= 1,
            false => !renamed.contains(&class(after, address)),
        };
        keeps(endpoint) && (stays(address) || !moves) || state == State::Whole && stays(address) && at_once
    };
    let (was, is) = (classes_by_pair(&maps), classes_by_pair(after));
    let pairs = is.iter().filter(|(pair, _)| was.contains_key(pair) && counts(pair));
    let pairs: Vec<_> = pairs.collect();
    // Only rows of groups, addresses, columns and classes can change the classes of a pair.
    let judges = |write: &MapOp| match write {
        MapOp::Put(Row::Group(..) | Row::Address(..) | Row::Column(..) | Row::Class(..)) => true,
        MapOp::Delete(RowKey::Group(_) | RowKey::Address(_) | RowKey::Column(_) | RowKey::Class(_)) => true,
        MapOp::Put(_) | MapOp::Delete(_) => false,
    };
    for write in writes.iter() {
        make_batch(&mut maps, &[write].into());
        if judges(&write) {
            let now = classes_by_pair(&maps);
            for (pair, wanted) in &pairs {
                let current = now.get(pair);
                assert!(
                    current == Some(wanted) || current == was.get(pair),
                    "{pair:?} has the classes {current:?} after {write:?}; before all writes {:?}, after them {wanted:?}",
                    was.get(pair)
                );
            }
        }
    }
}

/// Whether the namespace of who has an address by these rows is in one group for the endpoint, before and after.
fn stays_with_namespace((endpoint, address): &(RowKey, RowKey), rows: &Rows, states: [&Rows; 2]) -> bool {
    let (Some(Row::Endpoint(_, of)), Some(Row::Address(_, peer))) = (rows.get(endpoint), rows.get(address))
    else {
        return true;
    };
    let row = RowKey::Group(GroupKey { grouping: of.grouping.number(), peer: peer.namespace });
    let [before, after] = states.map(|state| state.get(&row));
    before == after
}

/// In how many columns an endpoint's policy is another one.
fn switched(before: &Rows, after: &Rows, endpoint: &RowKey) -> usize {
    let [was, is] = [before, after].map(|rows| columns(rows, endpoint));
    let others = was.iter().filter(|row| !is.contains(row)).chain(is.iter().filter(|row| !was.contains(row)));
    others.filter_map(Row::key).collect::<BTreeSet<_>>().len()
}

/// The number of an endpoint's policy.
fn policy(maps: &Rows, endpoint: &RowKey) -> Option<u32> {
    match maps.get(endpoint)? {
        Row::Endpoint(_, info) => Some(info.policy),
        _ => None,
    }
}

/// The columns of an endpoint's policy.
fn columns(maps: &Rows, endpoint: &RowKey) -> Vec<Row> {
    columns_of(maps, policy(maps, endpoint)).copied().collect()
}

fn columns_of(maps: &Rows, number: Option<u32>) -> impl Iterator<Item = &Row> {
    maps.values().filter(move |row| matches!(row, Row::Column(key, _) if Some(key.policy) == number))
}

/// The class of blocks that an address lies in.
fn class(maps: &Rows, address: &RowKey) -> u32 {
    match maps.get(address) {
        Some(Row::Address(_, info)) => info.cidr,
        _ => 0,
    }
}

fn make_batch(maps: &mut Rows, writes: &Batch) {
    for write in writes.iter() {
        match write {
            MapOp::Put(row) => drop(row.key().map(|key| maps.insert(key, row))),
            MapOp::Delete(key) => {
                assert!(maps.remove(&key).is_some(), "{key:?} is removed and was not there")
            }
        }
    }
}

#[track_caller]
fn same(maps: &Rows, wanted: &Rows, when: &str) {
    let only = |these: &Rows, those: &Rows| -> Vec<Row> {
        these.iter().filter(|(key, row)| those.get(key) != Some(row)).map(|(_, row)| *row).collect()
    };
    assert!(
        maps == wanted,
        "{when}\nin the maps: {:#?}\nwanted: {:#?}",
        only(maps, wanted),
        only(wanted, maps)
    );
}

/// The number of rows of each map, except for verdicts, classes and groups: a policy keeps the columns of domain names that
/// are gone, and a grouping keeps the facets of policies that are gone.
fn sizes(rows: &Rows) -> Vec<usize> {
    let mut sizes: Vec<(RowKey, usize)> = Vec::new();
    for key in
        rows.keys().filter(|key| !matches!(key, RowKey::Verdict(_) | RowKey::Class(_) | RowKey::Group(_)))
    {
        match sizes.last_mut().filter(|(last, _)| discriminant(last) == discriminant(key)) {
            Some((_, size)) => *size += 1,
            None => sizes.push((*key, 1)),
        }
    }
    sizes.into_iter().map(|(_, size)| size).collect()
}
