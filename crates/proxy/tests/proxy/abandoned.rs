//! Vanished clients and servers, and unused connections: their slots become free.

use crate::harness::{Server, Step, World, quick, receive, say};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

const GET: &str = "GET /public HTTP/1.1\r\nHost: svc\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_client_that_closes_while_the_server_hangs_frees_both_sockets() {
    let server = Server::new(vec![vec![receive("\r\n\r\n"), Step::End]]);
    let world = World::new(server.address);
    let mut client = world.connect();
    client.send(GET);
    world.wait_until_taken();
    client.stream.shutdown(Shutdown::Write).expect("connected");
    let took = world.wait_until_free();
    assert!(took >= quick().half_close_timeout - Duration::from_millis(100), "{took:?}");
    assert!(took < quick().stall_timeout / 2, "{took:?}");
    client.rest();
    server.received();
    let event = world.event();
    assert_eq!((event.status, event.reason), (None, "the client closed the connection"));
}

#[test]
fn a_client_that_resets_while_the_server_hangs_frees_both_sockets_at_once() {
    let server = Server::new(vec![vec![receive("\r\n\r\n"), Step::End]]);
    let world = World::new(server.address);
    let mut client = world.connect();
    client.send(GET);
    thread::sleep(Duration::from_millis(50));
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).expect("a socket lingers");
    drop(client);
    assert!(world.wait_until_free() < quick().half_close_timeout);
    server.received();
}

#[test]
fn a_client_that_closes_with_requests_unread_is_noticed() {
    let server = Server::new(vec![vec![receive("\r\n\r\n"), Step::End]]);
    let config = proxy::Config { stall_timeout: Duration::from_secs(60), ..quick() };
    let world = World::with(server.address, config);
    let mut client = world.connect();
    // More bytes than the proxy reads ahead, so that it cannot read the end; not more than the sockets buffer.
    client.send(GET.repeat(2500));
    thread::sleep(Duration::from_millis(100));
    client.stream.shutdown(Shutdown::Write).expect("connected");
    assert!(world.wait_until_free() < Duration::from_secs(4));
    drop(client);
    server.received();
}

#[test]
fn a_half_closed_client_gets_a_response_that_still_arrives() {
    let part = "5\r\nhello\r\n";
    let mut script = vec![receive("\r\n\r\n"), say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")];
    for _ in 0..5 {
        script.extend([Step::Wait(quick().half_close_timeout / 3), say(part)]);
    }
    script.push(say("0\r\n\r\n"));
    let server = Server::new(vec![script]);
    let world = World::new(server.address);
    let mut client = world.connect();
    client.send(GET);
    client.stream.shutdown(Shutdown::Write).expect("connected");
    assert_eq!(client.status(), 200);
    client.expect([&part.repeat(5), "0\r\n\r\n"].concat());
}

#[test]
fn a_connection_that_stays_silent_is_closed_soon() {
    let server = Server::new(vec![]);
    let config = proxy::Config {
        first_byte_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_secs(60),
        ..quick()
    };
    let world = World::with(server.address, config);
    let mut client = world.connect();
    client.expect_end();
    world.wait_until_free();
}

#[test]
fn silent_connections_do_not_block_others() {
    let server = Server::new(vec![vec![receive("\r\n\r\n"), say(OK)]]);
    let patient = Duration::from_secs(60);
    let config = proxy::Config {
        max_connections: 10,
        client_share: 100,
        server_share: 100,
        first_byte_timeout: patient,
        ..quick()
    };
    let world = World::with(server.address, config);
    let _silent: Vec<_> = (0..30).map(|_| world.connect()).collect();
    let mut client = world.connect();
    client.send(GET);
    client.expect(OK);
    let occupancy = world.occupancy();
    assert!(occupancy.in_use <= 10 && occupancy.evicted >= 21, "{occupancy:?}");
}

#[test]
fn a_connection_that_gets_no_slot_is_refused_and_counted() {
    let hanging = || vec![receive("\r\n\r\n"), Step::End];
    let server = Server::new(vec![hanging(), hanging()]);
    let world = World::with(server.address, proxy::Config { max_connections: 4, ..quick() });
    let mut held: Vec<_> = (0..2).map(|_| world.connect()).collect();
    held.iter_mut().for_each(|client| client.send(GET));
    thread::sleep(Duration::from_millis(100));
    let mut refused = world.connect();
    assert!(refused.rest().is_empty());
    assert_eq!(world.occupancy().refused_client, 1, "a half is one identity's");
    drop(held);
    server.received();
}
