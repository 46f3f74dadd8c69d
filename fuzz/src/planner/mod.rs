//! The order of writes: between any two writes a packet gets its old or its new verdict, and the rows after each step are
//! those that the world computes from scratch.

mod reader;

use abi::batch::Batch;
use abi::row::{MapOp, Row};
use control::fixtures::random_change;
use control::{Change, Rows, World, Writes};
use datapath::native::Tables;
use policy::generate::Random;
use reader::{Packet, Promise, answer, promise};

/// Limit on the steps of one input.
const STEPS: usize = 10;
/// Limit on the packets that are evaluated after each write of a step.
const PACKETS: usize = 24;

/// Applies the steps of an input to a world.
pub fn check(data: &[u8]) {
    let mut random = Random::from_bytes(data);
    let (mut world, mut rows) = (World::new(), Rows::new());
    write(&mut rows, world.apply([]), &world);
    for _ in 0..STEPS {
        if random.is_spent() {
            break;
        }
        let changes: Vec<Change> = (0..=random.below(3)).map(|_| random_change(&mut random)).collect();
        let writes = world.apply(changes);
        let undo = writes.undo.clone();
        if random.below(8) == 0 {
            fail(&mut rows, &writes, &mut random);
            world.adopt_rows(rows.values().copied());
            repair(&mut rows, world.apply(undo), &world);
            continue;
        }
        write(&mut rows, writes, &world);
        match random.below(8) {
            0 => write(&mut rows, world.apply(undo), &world),
            1 => {
                world = World::adopt(rows.values().copied(), world.identities().clone());
                write(&mut rows, world.apply([]), &world);
            }
            _ => {}
        }
    }
}

/// Makes only the first writes of a step, as if the next one failed.
fn fail(rows: &mut Rows, writes: &Writes, random: &mut Random) {
    let mut maps = tables(rows);
    let made = random.below(writes.now.len() + 1);
    writes.now.iter().take(made).for_each(|write| follow(rows, &mut maps, write));
}

/// Makes the writes that undo a failed step.
fn repair(rows: &mut Rows, writes: Writes, world: &World) {
    let mut maps = tables(rows);
    writes.now.iter().chain(writes.later.iter()).for_each(|write| follow(rows, &mut maps, write));
    check_rows(rows, &world.rows());
}

/// Makes the writes of a step, and evaluates packets after each.
fn write(rows: &mut Rows, writes: Writes, world: &World) {
    let wanted = world.rows();
    let (before, mut maps) = (tables(rows), tables(rows));
    let after = tables(&wanted);
    let puts = writes.now.iter().filter(|write| matches!(write, MapOp::Put(_)));
    let mut all = tables(rows);
    all.apply_all(puts.chain(wanted.values().map(|row| MapOp::Put(*row))));
    let promises = promises(rows, &wanted, [&before, &after, &all]);
    for write in writes.now.iter() {
        follow(rows, &mut maps, write);
        for (packet, promise) in &promises {
            let seen = answer(&maps, packet).0;
            assert!(
                promise.holds(&seen),
                "{packet:?} gets {seen:?} after {write:?}, not {promise:?}\n{:#?}",
                writes.now
            );
        }
    }
    check_switched(&promises, &maps, &after, &writes.later);
    writes.later.iter().for_each(|write| follow(rows, &mut maps, write));
    check_rows(rows, &wanted);
}

fn check_rows(rows: &Rows, wanted: &Rows) {
    let differing = |one: &Rows, other: &Rows| -> Vec<Row> {
        one.iter().filter(|(key, row)| other.get(key) != Some(row)).map(|(_, row)| *row).collect()
    };
    let [more, less] = [differing(rows, wanted), differing(wanted, rows)];
    assert!(more.is_empty() && less.is_empty(), "in the maps only: {more:#?}\nmissing: {less:#?}");
}

/// After the immediate writes each packet gets its new verdict; the later removals make no difference.
fn check_switched(promises: &[(Packet, Promise)], maps: &Tables, after: &Tables, later: &Batch) {
    for (packet, _) in promises {
        let [seen, wanted] = [maps, after].map(|tables| answer(tables, packet).0);
        assert_eq!(seen, wanted, "{packet:?} before {later:#?}");
    }
}

fn follow(rows: &mut Rows, maps: &mut Tables, write: MapOp) {
    match write {
        MapOp::Put(row) => drop(row.key().map(|key| rows.insert(key, row))),
        MapOp::Delete(key) => assert!(rows.remove(&key).is_some(), "{key:?} is removed and was not there"),
    }
    maps.apply(write);
}

fn tables(rows: &Rows) -> Tables {
    let mut tables = Tables::new();
    tables.apply_all(rows.values().map(|row| MapOp::Put(*row)));
    tables
}

/// Packets between endpoints and addresses that exist before and after the step, with the verdicts that they may get.
fn promises(old: &Rows, new: &Rows, states: [&Tables; 3]) -> Vec<(Packet, Promise)> {
    let kept = || old.iter().filter(|(key, _)| new.contains_key(key)).map(|(_, row)| row);
    let endpoints = kept().filter_map(|row| if let Row::Endpoint(key, _) = row { Some(*key) } else { None });
    let addresses: Vec<_> = kept()
        .filter_map(|row| if let Row::Address(key, _) = row { Some(key.address) } else { None })
        .collect();
    let packets = endpoints.flat_map(|endpoint| addresses.iter().map(move |address| (endpoint, *address)));
    let packets: Vec<_> =
        packets.flat_map(|(endpoint, address)| Packet::both_ways(endpoint, address)).collect();
    let stride = packets.len().div_ceil(PACKETS).max(1);
    let some = packets.into_iter().step_by(stride);
    some.filter_map(|packet| Some((packet, promise(states, &packet)?))).collect()
}
