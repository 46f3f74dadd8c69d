//! Tests of the effect of policy changes on open exchanges and on others beside them.

use crate::bed::{Bed, Host, eventually};
use crate::stage::{Manner, PUBLIC, ask, name_of_servers, number, rest, serve};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const DOWNLOAD: &str = "GET /public HTTP/1.1\r\nHost: s\r\n\r\n";
const UPLOAD: &str = "POST /public HTTP/1.1\r\nHost: s\r\nContent-Length: 1000000000\r\n\r\nhalf";
const UPGRADE: &str = "GET /public HTTP/1.1\r\nHost: s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
/// The limits of an exchange's duration during changes, without waits for a busy processor: for 99 of a
/// hundred, and for the slowest.
const BESIDE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(30));
/// How soon after a change the connections that it denies are closed, by the proxy's report of each second: a client
/// that does not close has one more second for its last response.
const SOON: Duration = Duration::from_secs(4);

#[test]
#[ignore = "needs root"]
fn allowed_connections_end_once_they_are_denied() {
    let without_rule = PUBLIC.replace("/public.*", "/other");
    let without_port = PUBLIC.replace("port: \"80\"", "port: \"81\"");
    let with_another = PUBLIC.replace("[{path: \"/public.*\"}]", "[{method: PUT}, {path: /other}]");
    for (manner, request) in [(Manner::Drip, DOWNLOAD), (Manner::Hang, UPLOAD), (Manner::Switch, UPGRADE)] {
        for change in [&without_rule, &without_port, &with_another] {
            let bed = Bed::new("ph");
            let (server, client) = (bed.bare_workload("server"), bed.bare_workload("client"));
            serve(&server, manner);
            bed.apply(PUBLIC);
            let mut open = ask(&client, &server, request);
            thread::sleep(Duration::from_millis(200));
            // A further rule that allows the request changes nothing.
            bed.apply(&PUBLIC.replace("/public.*", "/pub.*"));
            thread::sleep(Duration::from_millis(1_300));
            let in_use = eventually(|| bed.status().proxy_connections).map(|seen| seen.in_use);
            assert_eq!(in_use, Some(1), "{manner:?} is cut though it is allowed");
            let began = Instant::now();
            bed.apply(change);
            let gone = eventually(|| bed.status().proxy_connections.filter(|seen| seen.in_use == 0));
            assert!(gone.is_some() && began.elapsed() < SOON, "{manner:?} continues under {change}");
            // Without an allowed connection, nothing reaches the client either.
            if *change != without_port {
                rest(&mut open);
            }
        }
    }
}

/// A policy of many different rules.
fn many_rules(count: u64, turn: u64) -> String {
    let mut rules = String::new();
    for rule in 0..count {
        write!(rules, "{{method: GET, path: /service-{rule}/version-{turn}}},").unwrap();
    }
    PUBLIC
        .replace("name: requests", "name: many")
        .replace("app: server", "app: many")
        .replace("{path: \"/public.*\"}", &format!("{{path: /public}},{rules}"))
}

/// The memory of a process by the kernel's count, in kilobytes.
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The files with the times that threads of a process, by a prefix of their names, waited for a processor.
fn waits_of(process: u32, name: &str) -> Vec<PathBuf> {
    let threads =
        fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten().map(|thread| thread.path());
    let is_named =
        |thread: &PathBuf| fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.starts_with(name));
    threads.filter(is_named).map(|thread| thread.join("schedstat")).collect()
}

/// The sum of these waiting times.
fn waited(files: &[PathBuf]) -> Duration {
    let waits = files.iter().filter_map(|file| {
        let told = fs::read_to_string(file).ok()?;
        told.split(' ').nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waits.sum())
}

/// The median, the 99th percentile and the maximum.
fn spread(times: &mut [Duration]) -> (Duration, Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1])
}

/// Sends requests until stopped: the duration of each exchange, and the duration without waits for a processor.
fn ask_beside(client: &Host, server: &Host, proxy: u32, stop: &AtomicBool) -> [Vec<Duration>; 2] {
    let (mut all, mut running) = (Vec::new(), Vec::new());
    let mut stream = ask(client, server, "");
    let mut files = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let before = waited(&files);
        let began = Instant::now();
        stream.write_all(DOWNLOAD.as_bytes()).unwrap();
        let mut answer = [0; 40];
        stream.read_exact(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
        let took = began.elapsed();
        if files.is_empty() {
            // All threads that take part in exchanges exist after the first.
            files = waits_of(proxy, "worker");
            files.extend(waits_of(std::process::id(), &name_of_servers(server)));
            files.push("/proc/thread-self/schedstat".into());
        } else {
            all.push(took);
            running.push(took.saturating_sub(waited(&files).saturating_sub(before)));
        }
        thread::sleep(Duration::from_millis(1));
    }
    [all, running]
}

#[test]
#[ignore = "needs root"]
fn changes_leak_no_memory_and_delay_no_exchange() {
    let (changes, rules) = (number("NEXIN_CHANGES", 8), number("NEXIN_RULES", 500));
    let bed = Bed::new("pi");
    let (server, client) = (bed.bare_workload("server"), bed.bare_workload("client"));
    let many = bed.bare_workload("many");
    serve(&server, Manner::Keep);
    serve(&many, Manner::Keep);
    bed.apply(PUBLIC);
    let proxy = bed.status().proxy.unwrap();
    let stop = AtomicBool::new(false);
    let ([mut all, mut running], sizes) = thread::scope(|scope| {
        let beside = scope.spawn(|| ask_beside(&client, &server, proxy, &stop));
        let mut sizes = Vec::new();
        // A connection that stays open is judged under each policy in turn.
        let mut open = client.connect(&many).unwrap();
        for turn in 0..changes {
            bed.apply(&many_rules(rules, turn));
            let fetched = eventually(|| {
                open.fetch("/public").or_else(|| {
                    open = client.connect(&many)?;
                    None
                })
            });
            assert_eq!(fetched, Some(200));
            thread::sleep(Duration::from_millis(700));
            sizes.push(memory(proxy));
        }
        stop.store(true, Ordering::Relaxed);
        (beside.join().unwrap(), sizes)
    });
    println!("memory after each change, kB: {sizes:?}");
    let (count, all, running) = (all.len(), spread(&mut all), spread(&mut running));
    println!("{count} exchanges beside {changes} changes of {rules} rules: median, p99, slowest {all:?}");
    println!("without waits for a processor: {running:?}");
    assert!(running.1 < BESIDE.0 && running.2 < BESIDE.1, "{running:?}");
    // The first changes fill caches.
    let (early, last) = (sizes[sizes.len() / 3], sizes[sizes.len() - 1]);
    assert!(last < early + early / 4, "{early} kB became {last} kB");
}
