//! Vanished clients and servers, and unused connections: their slots become free.

use crate::harness::{ScriptStep, Server, TestProxy, connected, quick, receive, say};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

const GET: &str = "GET /public HTTP/1.1\r\nHost: svc\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_client_that_closes_while_the_server_hangs_frees_both_sockets() {
    let (server, proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), ScriptStep::End]]);
    client.send(GET);
    proxy.wait_until_taken();
    client.stream.shutdown(Shutdown::Write).expect("connected");
    let took = proxy.wait_until_free();
    assert!(took >= quick().half_close_timeout - Duration::from_millis(100), "{took:?}");
    assert!(took < quick().stall_timeout / 2, "{took:?}");
    client.rest();
    server.received();
    let event = proxy.event();
    assert_eq!((event.status, event.reason), (None, "the client closed the connection"));
}

#[test]
fn a_client_that_resets_while_the_server_hangs_frees_both_sockets_at_once() {
    let (server, proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), ScriptStep::End]]);
    client.send(GET);
    thread::sleep(Duration::from_millis(50));
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).expect("a socket lingers");
    drop(client);
    assert!(proxy.wait_until_free() < quick().half_close_timeout);
    server.received();
}

#[test]
fn a_client_that_closes_with_requests_unread_is_noticed() {
    let server = Server::new(vec![vec![receive("\r\n\r\n"), ScriptStep::End]]);
    let config = proxy::ProxyConfig { stall_timeout: Duration::from_secs(60), ..quick() };
    let proxy = TestProxy::with(server.address, config);
    let mut client = proxy.connect();
    // More bytes than the proxy reads ahead, so that it cannot read the end; not more than the sockets buffer.
    client.send(GET.repeat(2500));
    thread::sleep(Duration::from_millis(100));
    client.stream.shutdown(Shutdown::Write).expect("connected");
    assert!(proxy.wait_until_free() < Duration::from_secs(4));
    drop(client);
    server.received();
}

#[test]
fn a_half_closed_client_gets_a_response_that_still_arrives() {
    let part = "5\r\nhello\r\n";
    let mut script = vec![receive("\r\n\r\n"), say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")];
    for _ in 0..5 {
        script.extend([ScriptStep::Wait(quick().half_close_timeout / 3), say(part)]);
    }
    script.push(say("0\r\n\r\n"));
    let (_server, _proxy, mut client) = connected(vec![script]);
    client.send(GET);
    client.stream.shutdown(Shutdown::Write).expect("connected");
    assert_eq!(client.status(), 200);
    client.expect([&part.repeat(5), "0\r\n\r\n"].concat());
}

#[test]
fn a_connection_that_stays_silent_is_closed_soon() {
    let server = Server::new(vec![]);
    let config = proxy::ProxyConfig {
        first_byte_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_secs(60),
        ..quick()
    };
    let proxy = TestProxy::with(server.address, config);
    let mut client = proxy.connect();
    client.expect_end();
    proxy.wait_until_free();
}

#[test]
fn silent_connections_do_not_block_others() {
    let server = Server::new(vec![vec![receive("\r\n\r\n"), say(OK)]]);
    let patient = Duration::from_secs(60);
    let config = proxy::ProxyConfig {
        max_connections: 10,
        client_share: 100,
        server_share: 100,
        first_byte_timeout: patient,
        ..quick()
    };
    let proxy = TestProxy::with(server.address, config);
    let _silent: Vec<_> = (0..30).map(|_| proxy.connect()).collect();
    let mut client = proxy.connect();
    client.send(GET);
    client.expect(OK);
    let occupancy = proxy.occupancy();
    assert!(occupancy.in_use <= 10 && occupancy.evicted >= 21, "{occupancy:?}");
}

#[test]
fn a_connection_that_gets_no_slot_is_refused_and_counted() {
    let hanging = || vec![receive("\r\n\r\n"), ScriptStep::End];
    let server = Server::new(vec![hanging(), hanging()]);
    let proxy = TestProxy::with(server.address, proxy::ProxyConfig { max_connections: 4, ..quick() });
    let mut held: Vec<_> = (0..2).map(|_| proxy.connect()).collect();
    held.iter_mut().for_each(|client| client.send(GET));
    thread::sleep(Duration::from_millis(100));
    let mut refused = proxy.connect();
    assert!(refused.rest().is_empty());
    assert_eq!(proxy.occupancy().refused_client, 1, "a half is one identity's");
    drop(held);
    server.received();
}
