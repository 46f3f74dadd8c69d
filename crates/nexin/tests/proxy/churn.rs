//! Tests of many consecutive connections between one client and one server.

use crate::bed::{Bed, Host, eventually};
use crate::stage::{Manner, PUBLIC, dial, number, serve};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CLOSE: &str = "GET /public HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n";
/// A request as probes and ApacheBench send it.
const OLD: &str = "GET /public HTTP/1.0\r\n\r\n";

/// When a client closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// After the server closed.
    Last,
    /// As soon as it has the response.
    First,
}

/// Sends one request on a new connection; the error is the defect of the response.
fn exchange(
    own: &[IpAddr],
    to: SocketAddr,
    port: Option<u16>,
    request: &str,
    ends: Ends,
) -> Result<(), String> {
    let mut stream = dial(own, to, port).map_err(|error| format!("connecting: {error}"))?;
    stream.write_all(request.as_bytes()).map_err(|error| format!("asking: {error}"))?;
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(error) => return Err(format!("reading: {error}")),
        }
        if ends == Ends::First && answer.ends_with(b"ok") {
            break;
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let right = answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok");
    if right { Ok(()) } else { Err(format!("answered {answer:?}")) }
}

/// Runs in the client's namespace.
fn each_manner(name: &str, act: impl Fn(&Host, &Host, Manner, &str, Ends) + Sync) {
    let keep = "GET /public HTTP/1.1\r\nHost: s\r\n\r\n";
    for (manner, request, ends) in [
        (Manner::Old, CLOSE, Ends::Last),
        (Manner::Close, CLOSE, Ends::Last),
        (Manner::Close, CLOSE, Ends::First),
        (Manner::Keep, CLOSE, Ends::Last),
        (Manner::Keep, keep, Ends::First),
        (Manner::Old, OLD, Ends::Last),
        (Manner::Chunks, OLD, Ends::Last),
        (Manner::Keep, OLD, Ends::First),
    ] {
        let bed = Bed::new(name);
        let (server, client) = (bed.bare_workload("server"), bed.bare_workload("client"));
        serve(&server, manner);
        bed.apply(PUBLIC);
        client.enter(|| act(&client, &server, manner, request, ends));
    }
}

#[test]
#[ignore = "needs root"]
fn a_reused_source_port_works_as_without_policy() {
    each_manner("pa", |client, server, manner, request, ends| {
        for address in &server.addresses {
            let to = SocketAddr::new(*address, 80);
            let slowest = (0..200).map(|turn| {
                let began = Instant::now();
                let done = exchange(&client.addresses, to, Some(40_000), request, ends);
                assert_eq!(done, Ok(()), "{manner:?} {ends:?}, time {turn} to {to}");
                began.elapsed()
            });
            let slowest = slowest.max().unwrap();
            println!("{manner:?}, client ends {ends:?}: one port 200 times to {to}, slowest {slowest:?}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn one_client_and_one_server_never_run_out_of_ports() {
    let requests = number("NEXIN_REQUESTS", 1_500);
    each_manner("pb", |client, server, manner, request, ends| {
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40299").unwrap();
        let to = SocketAddr::new(server.addresses[0], 80);
        let (began, mut slowest) = (Instant::now(), Duration::ZERO);
        let mut failed = Vec::new();
        for turn in 0..requests {
            let began = Instant::now();
            // A client that closes first has its own ports in TIME_WAIT; it binds one, as a busy client would.
            let port = (ends == Ends::First).then_some(40_000 + (turn % 300) as u16);
            failed.extend(exchange(&client.addresses, to, port, request, ends).err());
            slowest = slowest.max(began.elapsed());
        }
        let answered = requests - failed.len() as u64;
        let took = began.elapsed();
        println!(
            "{manner:?}, client ends {ends:?}: {answered} of {requests} over 300 ports in {took:?}, slowest {slowest:?}"
        );
        assert!(failed.is_empty(), "{manner:?} {ends:?}: {failed:?}");
    });
}

#[test]
#[ignore = "needs root"]
fn two_thousand_connections_a_second_succeed() {
    open_at_a_rate("pc", CLOSE);
}

#[test]
#[ignore = "needs root"]
fn two_thousand_http10_connections_a_second_succeed() {
    open_at_a_rate("pd", OLD);
}

/// Sends one request on each of many connections, which start at a fixed rate.
fn open_at_a_rate(name: &str, request: &str) {
    let (rate, seconds) = (number("NEXIN_RATE", 400), number("NEXIN_SECONDS", 3));
    let bed = Bed::new(name);
    let (server, client) = (bed.bare_workload("server"), bed.bare_workload("client"));
    serve(&server, Manner::Old);
    bed.apply(PUBLIC);
    let to = SocketAddr::new(server.addresses[0], 80);
    let total = rate * seconds;
    let (next, late) = (AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    // Threads start in the namespace of the thread that spawns them.
    let failed: Vec<String> = client.enter(|| {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..32)
                .map(|_| {
                    scope.spawn(|| {
                        let mut failed = Vec::new();
                        loop {
                            let turn = next.fetch_add(1, Ordering::Relaxed);
                            if turn >= total {
                                return failed;
                            }
                            let due = began + Duration::from_nanos(turn * 1_000_000_000 / rate);
                            thread::sleep(due.saturating_duration_since(Instant::now()));
                            failed.extend(exchange(&client.addresses, to, None, request, Ends::Last).err());
                            late.fetch_max(due.elapsed().as_millis() as u64, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        })
    });
    let (took, late) = (began.elapsed(), late.into_inner());
    let reached = total as f64 / took.as_secs_f64();
    println!(
        "{}: {total} connections in {took:?}, {reached:.0} a second, the last done {late} ms after it was due; {} failed",
        request.lines().next().unwrap_or_default(),
        failed.len()
    );
    assert!(failed.is_empty(), "{:?}", &failed[..failed.len().min(10)]);
}

#[test]
#[ignore = "needs root"]
fn open_connections_get_a_response_to_each_request() {
    let seconds = number("NEXIN_SECONDS", 3).min(10);
    let bed = Bed::new("pj");
    let (server, client) = (bed.bare_workload("server"), bed.bare_workload("client"));
    serve(&server, Manner::Keep);
    bed.apply(PUBLIC);
    let to = SocketAddr::new(server.addresses[0], 80);
    let proxy = bed.status().proxy.unwrap();
    let used = processor_time(proxy);
    let until = Instant::now() + Duration::from_secs(seconds);
    let answered: u64 = client.enter(|| {
        thread::scope(|scope| {
            let asking = || {
                let mut stream = dial(&client.addresses, to, None).unwrap();
                let mut answered = 0;
                while Instant::now() < until {
                    stream.write_all(b"GET /public HTTP/1.1\r\nHost: s\r\n\r\n").unwrap();
                    let mut answer = [0; 40];
                    stream.read_exact(&mut answer).unwrap();
                    assert!(answer.starts_with(b"HTTP/1.1 200"));
                    answered += 1;
                }
                answered
            };
            let clients: Vec<_> = (0..16).map(|_| scope.spawn(asking)).collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        })
    });
    let used = processor_time(proxy) - used;
    let each = used.as_secs_f64() * 1e6 / answered as f64;
    println!(
        "{answered} answered on 16 connections in {seconds} s, {each:.1} us of the proxy's processor time each"
    );
    assert!(answered > 0);
}

/// The CPU time of a process, threads that ended included.
fn processor_time(process: u32) -> Duration {
    let process = nix::unistd::Pid::from_raw(process.cast_signed());
    nix::time::clock_getcpuclockid(process).unwrap().now().unwrap().into()
}

#[test]
#[ignore = "needs root"]
fn common_servers_respond_to_a_reused_source_port() {
    let python = "import http.server as h\n\
        class A(h.BaseHTTPRequestHandler):\n\
        \x20def do_GET(self):\n\
        \x20 self.send_response(200); self.end_headers(); self.wfile.write(b'ok')\n\
        \x20def log_message(self, *_): pass\n\
        h.ThreadingHTTPServer(('', 80), A).serve_forever()";
    let node = "require('http').createServer((_, answer) => answer.end('ok')).listen(80, '0.0.0.0')";
    for (program, flag, script) in [("python3", "-c", python), ("node", "-e", node)] {
        let bed = Bed::new("pk");
        let (server, client) = (bed.bare_workload("server"), bed.bare_workload("client"));
        let started = server.enter(|| Command::new(program).arg(flag).arg(script).spawn());
        let Ok(mut child) = started else {
            println!("{program} is not installed: skipped");
            assert_ne!(program, "python3", "which every machine for development has");
            continue;
        };
        bed.apply(PUBLIC);
        let to = SocketAddr::new(server.addresses[0], 80);
        let ask = |request| exchange(&client.addresses, to, Some(40_000), request, Ends::Last);
        let ready = client.enter(|| eventually(|| ask(CLOSE).ok()));
        let requests = [CLOSE, OLD].into_iter().cycle().take(600);
        let failed: Vec<_> = client.enter(|| requests.filter_map(|request| ask(request).err()).collect());
        // The process was started here, and nothing else waits for it.
        let _ = child.kill();
        let _ = child.wait();
        assert!(ready.is_some() && failed.is_empty(), "{program}: {failed:?}");
    }
}
