//! Tests of clients that disconnect, of workloads that are removed, and of a client that uses up its share.

use crate::bed::{Bed, eventually};
use crate::stage::{Manner, PUBLIC, ask, connect, rest, serve};
use api::view::ProxyConnections;
use serde_json::json;
use std::io::Read;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

const GET: &str = "GET /public HTTP/1.1\r\nHost: s\r\n\r\n";
const UPGRADE: &str = "GET /public HTTP/1.1\r\nHost: s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

fn connections(bed: &Bed, wanted: impl Fn(&ProxyConnections) -> bool) -> ProxyConnections {
    let seen = eventually(|| bed.status().proxy_connections.filter(|seen| wanted(seen)));
    seen.unwrap_or_else(|| panic!("{:?}", bed.status().proxy_connections))
}

/// Removes a workload.
fn end(bed: &Bed, name: &str) {
    let request = api::ApiRequest::RemoveWorkload { namespace: "default".into(), name: name.into() };
    let _: serde_json::Value = bed.ask(request);
}

#[test]
#[ignore = "needs root"]
fn abandoned_requests_release_their_connections() {
    let bed = Bed::with("pd", json!({"halfCloseTimeout": 1}));
    let (server, client) = (bed.bare_workload("server"), bed.bare_workload("client"));
    serve(&server, Manner::Hang);
    bed.apply(PUBLIC);
    let open: Vec<_> = (0..50).map(|_| ask(&client, &server, GET)).collect();
    connections(&bed, |seen| seen.in_use == 50);
    drop(open);
    let began = Instant::now();
    connections(&bed, |seen| seen.in_use == 0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let mut half = ask(&client, &server, GET);
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut half), "", "it is not kept waiting");
}

#[test]
#[ignore = "needs root"]
fn connections_end_with_the_workload_at_either_end() {
    let bed = Bed::new("pe");
    let (server, client) = (bed.bare_workload("server"), bed.bare_workload("client"));
    let other = bed.bare_workload("other");
    serve(&server, Manner::Switch);
    bed.apply(PUBLIC);
    let mut kept = ask(&other, &server, UPGRADE);
    let mut open: Vec<_> = (0..20).map(|_| ask(&client, &server, UPGRADE)).collect();
    open.iter_mut().for_each(|stream| stream.read_exact(&mut [0; 12]).unwrap());
    connections(&bed, |seen| seen.in_use == 21);
    // The sockets of the test stay open: only the end of the workload closes the proxy's connections.
    let began = Instant::now();
    end(&bed, "client");
    connections(&bed, |seen| seen.in_use == 1);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    end(&bed, "server");
    connections(&bed, |seen| seen.in_use == 0);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    rest(&mut kept);
}

#[test]
#[ignore = "needs root"]
fn a_silent_workload_does_not_block_others() {
    let bed = Bed::with("pf", json!({"connections": 100, "clientShare": 100, "serverShare": 100}));
    let (server, client, other) =
        (bed.bare_workload("server"), bed.bare_workload("client"), bed.bare_workload("other"));
    serve(&server, Manner::Keep);
    bed.apply(PUBLIC);
    let to = SocketAddr::new(server.addresses[0], 80);
    let _silent: Vec<_> = (0..300).map(|_| connect(&other, to, None).unwrap()).collect();
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(client.fetch(&server, "/public"), Some(200));
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    let seen = connections(&bed, |seen| seen.made_room >= 200);
    assert!(seen.in_use <= 100, "{seen:?}");
    assert_eq!(bed.status().problems, Vec::<String>::new());
}

#[test]
#[ignore = "needs root"]
fn a_client_beyond_its_share_is_refused_and_status_reports_it() {
    let bed = Bed::with("pg", json!({"connections": 40}));
    let (server, client, other) =
        (bed.bare_workload("server"), bed.bare_workload("client"), bed.workload("web"));
    serve(&server, Manner::Hang);
    bed.apply(&PUBLIC.replace("matchLabels: {app: server}", ""));
    let to = SocketAddr::new(server.addresses[0], 80);
    let _busy: Vec<_> = (0..20).map(|_| ask(&client, &server, GET)).collect();
    connections(&bed, |seen| seen.in_use == 20);
    let mut refused = connect(&client, to, None).unwrap();
    assert_eq!(rest(&mut refused), "");
    let seen = connections(&bed, |seen| !seen.refused.is_empty());
    assert_eq!(seen.refused.keys().collect::<Vec<_>>(), ["the client identity's share was taken"]);
    assert!(bed.status().problems[0].starts_with("the proxy refused connections"), "{:?}", bed.status());
    assert_eq!(server.fetch(&other, "/public"), Some(200), "others are served");
}
