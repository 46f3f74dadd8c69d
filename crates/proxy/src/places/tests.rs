//! Who gets a place, without connections.

use super::*;
use std::net::Ipv4Addr;

fn places(limit: usize) -> Arc<Places> {
    Arc::new(Places::new(&Config { max_connections: limit, ..Config::default() }))
}

fn of(identity: u32, client: u8, server: u8) -> Parties {
    let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    Parties { identity, client: address(client), server: address(server) }
}

fn busy(place: &Place) {
    place.seat.note(Use::Busy, Instant::now());
}

fn left(place: &Place) -> bool {
    place.seat.take(Order::Leave)
}

#[test]
fn an_identity_and_a_server_have_half_each() {
    let places = places(10);
    let now = Instant::now();
    let held: Vec<_> = (0..5).map(|_| places.take(of(1, 1, 9), now).unwrap()).collect();
    held.iter().for_each(busy);
    assert_eq!(places.take(of(1, 1, 8), now).unwrap_err(), Full::Client);
    assert_eq!(places.take(of(2, 1, 9), now).unwrap_err(), Full::Server);
    let other = places.take(of(2, 2, 8), now).unwrap();
    assert!(held.iter().all(|place| !left(place)));
    assert_eq!((places.occupancy().in_use, places.occupancy().most_of_a_client), (6, 5));
    drop((held, other));
    assert_eq!(places.occupancy().in_use, 0);
    places.take(of(1, 1, 9), now).unwrap();
}

#[test]
fn the_least_useful_idle_one_of_the_client_with_the_most_makes_room() {
    let places = places(6);
    let now = Instant::now();
    let [silent, idle, other, used] = [(1, 1, 9), (1, 1, 8), (2, 2, 8), (3, 3, 9)]
        .map(|(identity, client, server)| places.take(of(identity, client, server), now).unwrap());
    idle.seat.note(Use::Idle, now);
    busy(&used);
    let more = [(2, 4, 7), (3, 5, 7)].map(|(i, c, s)| places.take(of(i, c, s), now).unwrap());
    more.iter().for_each(busy);
    let _new = places.take(of(4, 6, 6), now).unwrap();
    assert!(left(&silent) || left(&other), "a silent one");
    assert!(![&idle, &used].into_iter().any(left));
    assert_eq!((places.occupancy().in_use, places.occupancy().made_room), (6, 1));
}

#[test]
fn a_client_with_few_gets_the_place_of_an_exchange_of_one_with_many() {
    let places = places(8);
    let now = Instant::now();
    let first: Vec<_> = (0..4).map(|_| places.take(of(1, 1, 7), now).unwrap()).collect();
    let second: Vec<_> = (0..4).map(|_| places.take(of(2, 2, 8), now).unwrap()).collect();
    first.iter().chain(&second).for_each(busy);
    let third: Vec<_> = (0..3).filter_map(|_| places.take(of(3, 3, 9), now).ok().inspect(busy)).collect();
    assert_eq!(third.len(), 2, "until it has as many as the others");
    assert_eq!(places.take(of(3, 3, 9), now).unwrap_err(), Full::All);
    assert_eq!(first.iter().chain(&second).filter(|place| left(place)).count(), 2);
}

#[test]
fn within_an_identity_the_client_with_the_most_makes_room() {
    let places = places(8);
    let now = Instant::now();
    let greedy: Vec<_> = (0..4).map(|_| places.take(of(1, 1, 9), now).unwrap()).collect();
    let _modest = places.take(of(1, 2, 8), now).unwrap();
    assert_eq!(greedy.iter().filter(|place| left(place)).count(), 1);
}

#[test]
fn those_that_wait_are_few() {
    let places = places(1);
    let waiting: Vec<_> = (0..Places::waiting_limit(1)).map(|_| places.wait().unwrap()).collect();
    assert!(places.wait().is_none());
    drop(waiting);
    assert!(places.wait().is_some());
}
