//! Slots and evictions, without connections.

use super::*;
use std::net::Ipv4Addr;

fn slots(limit: usize) -> Arc<Slots> {
    Arc::new(Slots::new(&ProxyConfig { max_connections: limit, ..ProxyConfig::default() }))
}

fn of(identity: u32, client: u8, server: u8) -> ConnectionKey {
    let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    ConnectionKey { identity, client: address(client), server: address(server) }
}

fn busy(slot: &Slot) {
    slot.handle.set_activity(Activity::Busy, Instant::now());
}

fn left(slot: &Slot) -> bool {
    slot.handle.take(Command::Close)
}

#[test]
fn an_identity_and_a_server_may_use_half_of_the_slots_each() {
    let slots = slots(10);
    let now = Instant::now();
    let held: Vec<_> = (0..5).map(|_| slots.take(of(1, 1, 9), now).unwrap()).collect();
    held.iter().for_each(busy);
    assert_eq!(slots.take(of(1, 1, 8), now).unwrap_err(), LimitReached::Client);
    assert_eq!(slots.take(of(2, 1, 9), now).unwrap_err(), LimitReached::Server);
    let other = slots.take(of(2, 2, 8), now).unwrap();
    assert!(held.iter().all(|slot| !left(slot)));
    assert_eq!((slots.occupancy().in_use, slots.occupancy().largest_client), (6, 5));
    drop((held, other));
    assert_eq!(slots.occupancy().in_use, 0);
    slots.take(of(1, 1, 9), now).unwrap();
}

#[test]
fn the_least_useful_idle_one_of_the_client_with_the_most_makes_room() {
    let slots = slots(6);
    let now = Instant::now();
    let [silent, idle, other, used] = [(1, 1, 9), (1, 1, 8), (2, 2, 8), (3, 3, 9)]
        .map(|(identity, client, server)| slots.take(of(identity, client, server), now).unwrap());
    idle.handle.set_activity(Activity::Idle, now);
    busy(&used);
    let more = [(2, 4, 7), (3, 5, 7)].map(|(i, c, s)| slots.take(of(i, c, s), now).unwrap());
    more.iter().for_each(busy);
    let _new = slots.take(of(4, 6, 6), now).unwrap();
    assert!(left(&silent) || left(&other), "a silent one");
    assert!(![&idle, &used].into_iter().any(left));
    assert_eq!((slots.occupancy().in_use, slots.occupancy().evicted), (6, 1));
}

#[test]
fn a_client_with_few_gets_the_place_of_an_exchange_of_one_with_many() {
    let slots = slots(8);
    let now = Instant::now();
    let first: Vec<_> = (0..4).map(|_| slots.take(of(1, 1, 7), now).unwrap()).collect();
    let second: Vec<_> = (0..4).map(|_| slots.take(of(2, 2, 8), now).unwrap()).collect();
    first.iter().chain(&second).for_each(busy);
    let third: Vec<_> = (0..3).filter_map(|_| slots.take(of(3, 3, 9), now).ok().inspect(busy)).collect();
    assert_eq!(third.len(), 2, "until it has as many as the others");
    assert_eq!(slots.take(of(3, 3, 9), now).unwrap_err(), LimitReached::Total);
    assert_eq!(first.iter().chain(&second).filter(|slot| left(slot)).count(), 2);
}

#[test]
fn within_an_identity_the_client_with_the_most_makes_room() {
    let slots = slots(8);
    let now = Instant::now();
    let greedy: Vec<_> = (0..4).map(|_| slots.take(of(1, 1, 9), now).unwrap()).collect();
    let _modest = slots.take(of(1, 2, 8), now).unwrap();
    assert_eq!(greedy.iter().filter(|slot| left(slot)).count(), 1);
}

#[test]
fn the_number_of_waiting_connections_is_limited() {
    let slots = slots(1);
    let waiting: Vec<_> = (0..Slots::waiting_limit(1)).map(|_| slots.wait().unwrap()).collect();
    assert!(slots.wait().is_none());
    drop(waiting);
    assert!(slots.wait().is_some());
}
