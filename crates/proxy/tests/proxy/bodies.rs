//! Bodies in both directions, with every framing.

use crate::harness::{ScriptStep, Server, TestProxy, connected, receive, say};

#[test]
fn bodies_with_a_length_pass() {
    let answer = "HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nworld";
    let (server, _proxy, mut client) =
        connected(vec![vec![receive("hello"), say(answer), receive("again"), say(answer)]]);
    let request = "POST /public HTTP/1.1\r\nHost: svc\r\nContent-Length: 5\r\n\r\n";
    client.send(request);
    client.send("hel");
    client.send("lo");
    client.expect(answer);
    client.send(format!("{request}again"));
    client.expect(answer);
    assert_eq!(server.received(), [format!("{request}hello{request}again")]);
}

#[test]
fn large_bodies_stream_both_ways_at_once() {
    const SIZE: usize = 20_000_000;
    let body: Vec<u8> = (0..SIZE).map(|index| (index % 251) as u8).collect();
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").into_bytes();
    answer.extend_from_slice(&body);
    let end = answer.split_off(SIZE / 2);
    // The response starts before the end of the request, and ends after it.
    let script = vec![
        receive("\r\n\r\n"),
        ScriptStep::Swallow(1000),
        say(&answer),
        ScriptStep::Swallow(SIZE - 1000),
        say(&end),
    ];
    let (server, _proxy, mut client) = connected(vec![script]);
    client.send(format!("POST /public HTTP/1.1\r\nHost: svc\r\nContent-Length: {SIZE}\r\n\r\n"));
    let mut writer = client.stream.try_clone().expect("a second handle");
    let sent = body.clone();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &sent));
    client.expect(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\nConnection: close\r\n\r\n");
    let mut found = vec![0; SIZE];
    std::io::Read::read_exact(&mut client.stream, &mut found).expect("the whole body");
    assert!(found == body, "the body was changed");
    writing.join().expect("no panic").expect("the server reads all");
    server.received();
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    let none = "HTTP/1.1 204 No Content\r\n\r\n";
    let same = "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n";
    let script =
        [head, none, same].into_iter().flat_map(|answer| [receive("\r\n\r\n"), say(answer)]).collect();
    let (server, _proxy, mut client) = connected(vec![script]);
    for (method, answer) in [("HEAD", head), ("GET", none), ("GET", same)] {
        client.send(format!("{method} /public HTTP/1.1\r\nHost: svc\r\n\r\n"));
        client.expect(answer);
    }
    server.received();
}

#[test]
fn a_response_until_close_ends_the_connection() {
    let server =
        Server::new(vec![vec![receive("\r\n\r\n"), say("HTTP/1.0 200 OK\r\n\r\nall "), say("there is")]]);
    let proxy = TestProxy::new(server.address);
    let mut client = proxy.connect();
    client.send("GET /public HTTP/1.1\r\nHost: svc\r\n\r\n");
    client.expect("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall there is");
    client.expect_end();
}

#[test]
fn the_servers_100_continue_reaches_the_client() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let script = vec![receive("\r\n\r\n"), say("HTTP/1.1 100 Continue\r\n\r\n"), receive("abc"), say(answer)];
    let (server, proxy, mut client) = connected(vec![script]);
    let request = "POST /public HTTP/1.1\r\nHost: svc\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    client.send(request);
    client.expect("HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    client.expect(answer);
    assert_eq!(server.received(), [format!("{request}abc")]);
    let event = proxy.event();
    assert_eq!(event.status, Some(200));
    proxy.no_event();
}

#[test]
fn a_denied_request_with_expect_closes_the_connection() {
    let (server, _proxy, mut client) = connected(vec![]);
    client.send("POST /private HTTP/1.1\r\nHost: svc\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.status(), 403);
    client.expect("Access denied\r\n");
    client.expect_end();
    assert!(server.received().is_empty());
}

#[test]
fn a_websocket_is_a_tunnel_once_the_server_agrees() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let (server, proxy, mut client) = connected(vec![vec![
        receive("\r\n\r\n"),
        say([switching, "\0frame"].concat()),
        receive("GET /private"),
        say("\0more"),
    ]]);
    let request = "GET /public HTTP/1.1\r\nHost: svc\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    client.send(request);
    client.expect([switching, "\0frame"].concat());
    // Bytes in the tunnel are not parsed as requests.
    client.send("GET /private");
    client.expect("\0more");
    client.expect_end();
    drop(client);
    assert_eq!(server.received(), [[request, "GET /private"].concat()]);
    assert_eq!(proxy.event().status, Some(101));
}

#[test]
fn no_tunnel_opens_unless_the_server_agrees() {
    let refused = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let (server, _proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(refused)]]);
    let request = "GET /public HTTP/1.1\r\nHost: svc\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    // The client sent the next bytes for a tunnel; without one, they are judged as a request.
    client.send([request, "GET /private HTTP/1.1\r\nHost: svc\r\n\r\n"].concat());
    client.expect(refused);
    assert_eq!(client.status(), 403);
    assert_eq!(server.received(), [request]);
}

#[test]
fn an_unrequested_switch_of_protocols_is_refused() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let (server, _proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(switching)]]);
    client.send("GET /public HTTP/1.1\r\nHost: svc\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!(client.status(), 502);
    client.rest();
    assert_eq!(server.received(), ["GET /public HTTP/1.1\r\nHost: svc\r\n\r\n"]);
}
