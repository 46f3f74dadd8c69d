//! Rows that are written and read back.

use crate::ground::{Pins, loaded, options, possible};
use abi::Address;
use abi::address::{AddressInfo, AddressKey};
use abi::batch::Batch;
use abi::config::Config;
use abi::fixtures::{endpoint, one_row_of_each_map};
use abi::map::{self, MapId};
use abi::policy::ClassKey;
use abi::row::{MapOp, Row, RowKey};
use loader::{ApplyError, Capacities, Loaded, MappedEpoch, Options};
use std::collections::HashSet;
use std::time::Instant;

fn read(loaded: &Loaded) -> HashSet<Row> {
    loaded.rows().unwrap().into_iter().collect()
}

fn class(group: u32) -> Row {
    Row::Class(ClassKey { column: 1, group }, group)
}

#[test]
fn rows_of_every_map_are_read_back_as_written_and_deleted() {
    if !possible() {
        return;
    }
    let loaded = loaded();
    let empty = HashSet::from([Row::Config(Config::default())]);
    assert_eq!(read(&loaded), empty);
    let rows = one_row_of_each_map();
    loaded.apply(&rows.iter().copied().map(MapOp::Put).collect()).unwrap();
    assert_eq!(read(&loaded), rows.iter().copied().collect());
    let deletes: Batch = rows.iter().filter_map(Row::key).map(MapOp::Delete).collect();
    assert_eq!(deletes.len(), rows.len() - 1, "all but the configuration");
    loaded.apply(&deletes).unwrap();
    loaded.apply(&deletes).expect("what is not there is deleted already");
    loaded.apply(&[MapOp::Put(Row::Config(Config::default()))].into()).unwrap();
    assert_eq!(read(&loaded), empty);
}

#[test]
fn the_mapped_epoch_is_the_one_that_was_written() {
    if !possible() {
        return;
    }
    let pins = Pins::new();
    let loaded = Loaded::open(pins.options()).unwrap();
    let epoch = MappedEpoch::open(&pins.0).unwrap();
    assert_eq!(epoch.read(), 0);
    for number in [1, 7, u32::MAX] {
        let config = Config { epoch: number, ..Config::default() };
        loaded.apply(&[MapOp::Put(Row::Config(config))].into()).unwrap();
        assert_eq!(epoch.read(), number);
    }
    // A later agent adopts the map, and writes to the same memory.
    drop(loaded);
    let config = Config { epoch: 8, ..Config::default() };
    Loaded::open(pins.options()).unwrap().apply(&[MapOp::Put(Row::Config(config))].into()).unwrap();
    assert_eq!(epoch.read(), 8);
}

#[test]
fn a_later_write_to_a_key_wins_over_an_earlier_one() {
    if !possible() {
        return;
    }
    let loaded = loaded();
    let key = ClassKey { column: 1, group: 2 };
    let (put, delete) = (|class| MapOp::Put(Row::Class(key, class)), MapOp::Delete(RowKey::Class(key)));
    loaded.apply(&[put(1), put(2)].into()).unwrap();
    assert!(read(&loaded).contains(&Row::Class(key, 2)));
    loaded.apply(&[put(3), delete, put(4), delete].into()).unwrap();
    assert_eq!(read(&loaded).len(), 1, "only the configuration");
}

#[test]
fn the_deletion_of_a_row_that_is_not_there_is_no_failure() {
    if !possible() {
        return;
    }
    let loaded = loaded();
    let keys = (0..100).map(|peer| class(peer).key().unwrap());
    let odd: Batch = (0..100).filter(|peer| peer % 2 == 1).map(class).map(MapOp::Put).collect();
    loaded.apply(&odd).unwrap();
    loaded.apply(&keys.map(MapOp::Delete).collect()).unwrap();
    assert_eq!(read(&loaded).len(), 1, "only the configuration");
}

#[test]
fn all_rows_are_read_where_one_call_does_not_return_them_all() {
    if !possible() {
        return;
    }
    let loaded = loaded();
    let rows: Vec<_> = (0..4000).map(class).collect();
    loaded.apply(&rows.iter().copied().map(MapOp::Put).collect()).unwrap();
    let addresses = (0..4000_u32).map(|number| {
        let key = AddressKey::host(Address::from_v4(number.to_be_bytes()));
        Row::Address(key, AddressInfo { identity: number, ..AddressInfo::default() })
    });
    let addresses: Vec<_> = addresses.collect();
    loaded.apply(&addresses.iter().copied().map(MapOp::Put).collect()).unwrap();
    let read = read(&loaded);
    assert_eq!(read.len(), 8001);
    assert!(rows.iter().chain(&addresses).all(|row| read.contains(row)));
}

#[test]
fn a_full_map_is_named_with_its_capacity_and_what_came_before_is_in_force() {
    if !possible() {
        return;
    }
    let capacities = Capacities::SMALL.with(map::Endpoints, 2).with(map::Addresses, 1);
    let loaded = Loaded::open(Options { capacities, ..options() }).unwrap();
    let rows = [class(1), endpoint(1), endpoint(2), endpoint(3), class(2)];
    let operations = rows.map(MapOp::Put);
    let error = loaded.apply(&operations.into()).unwrap_err();
    assert!(error.to_string().starts_with("map NX_ENDPOINTS is full at its capacity of 2 rows"), "{error}");
    let ApplyError::Full { index, operation, .. } = error else { panic!("{error}") };
    assert_eq!((index, *operation), (3, MapOp::Put(endpoint(3))));
    assert_eq!(read(&loaded).len(), 1 + 1 + 2, "the configuration, a class, two endpoints");
    let usage = loaded.usage().read().unwrap();
    let of = |map| usage.iter().find(|usage| usage.map == map).map(|usage| (usage.rows, usage.capacity));
    assert_eq!((of(MapId::Endpoints), of(MapId::Addresses)), (Some((2, 2)), Some((0, 1))));
    assert_eq!((of(MapId::Config), of(MapId::Conntrack)), (None, None), "these never refuse an entry");

    let address =
        |last| Row::Address(AddressKey::host(Address::from_v4([10, 0, 0, last])), AddressInfo::default());
    let error = loaded.apply(&[MapOp::Put(address(1)), MapOp::Put(address(2))].into()).unwrap_err();
    assert!(
        matches!(error, ApplyError::Full { map: MapId::Addresses, capacity: 1, index: 1, .. }),
        "{error}"
    );
}

#[test]
fn many_rows_are_written_in_microseconds_each() {
    if !possible() {
        return;
    }
    let capacities = Capacities::SMALL.with(map::Classes, 100_000);
    let loaded = Loaded::open(Options { capacities, ..options() }).unwrap();
    let operations: Vec<_> = (0..50_000).map(class).map(MapOp::Put).collect();
    let start = Instant::now();
    loaded.apply(&Batch::from(&operations[..])).unwrap();
    let together = start.elapsed();
    let start = Instant::now();
    for operation in &operations {
        loaded.apply(&[*operation].into()).unwrap();
    }
    let apart = start.elapsed();
    println!("50,000 rows: {together:?} in one list, {apart:?} one by one");
    assert!(together < apart, "a batch saves calls");
}
