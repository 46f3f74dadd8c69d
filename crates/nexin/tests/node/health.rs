//! Tests that the status reports a proxy that does not serve, and that the agent replaces it.

use crate::bed::{Bed, SOON, eventually};
use crate::{CONNECTIONS, REQUESTS};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// Sends a signal to a process or to one of its threads.
fn signal(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process.cast_signed()).unwrap(), signal).unwrap();
}

/// Waits until the status has a problem that contains the text: the exit code of `nexin status`, and what it prints.
fn expect_problem(bed: &Bed, text: &str) -> (Option<i32>, String) {
    let found = eventually(|| bed.status().problems.into_iter().find(|problem| problem.contains(text)));
    assert!(found.is_some(), "no {text:?} in {:?}", bed.status().problems);
    bed.says(&["status"])
}

#[test]
#[ignore = "needs root"]
fn a_proxy_that_is_stopped_is_reported_and_replaced() {
    let bed = Bed::new("ha");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    assert_eq!(client.reaches(&server, "/public"), Some(200));
    let proxy = bed.status().proxy.unwrap();
    let began = Instant::now();
    signal(proxy, Signal::STOP);
    let (code, said) = expect_problem(&bed, "the proxy does not answer");
    assert!(began.elapsed() < Duration::from_secs(3), "the status failed after {:?}", began.elapsed());
    assert!(code == Some(1) && said.contains("its worker 0"), "{said}");
    // A connection that is opened meanwhile waits for the next proxy.
    let mut waiting = client.stream_to(SocketAddr::new(server.addresses[0], 80)).unwrap();
    waiting.set_read_timeout(Some(SOON)).unwrap();
    waiting.write_all(b"GET /public HTTP/1.1\r\nHost: s\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut waiting, &mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
    assert!(began.elapsed() < Duration::from_secs(6), "a new one serves after {:?}", began.elapsed());
    let after = eventually(|| bed.status().proxy.filter(|now| *now != proxy));
    assert!(after.is_some(), "{:?}", bed.status());
    assert!(eventually(|| bed.status().problems.is_empty().then_some(())).is_some(), "{:?}", bed.status());
    let notes = bed.status().notes;
    assert!(
        notes.iter().any(|note| note.contains("was started again") && note.contains("did not answer")),
        "{notes:?}"
    );
    assert!(bed.log().contains("it is killed and started again"), "{}", bed.log());
}

#[test]
#[ignore = "needs root"]
fn the_next_proxy_serves_at_once_and_connections_wait_for_it() {
    let bed = Bed::new("hb");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    assert_eq!(client.reaches(&server, "/public"), Some(200));
    let mut times = Vec::new();
    for _ in 0..5 {
        let proxy = bed.status().proxy.unwrap();
        let began = Instant::now();
        crate::end(proxy);
        // No second attempt: the connection waits in the backlog.
        assert_eq!(client.fetch(&server, "/public"), Some(200), "{:?}", bed.log());
        times.push(began.elapsed());
        assert!(eventually(|| bed.status().proxy.filter(|now| *now != proxy)).is_some());
        std::thread::sleep(Duration::from_millis(1_100));
    }
    times.sort();
    // A retransmitted SYN would add a second.
    assert!(times[2] < Duration::from_millis(500), "{times:?}");
}

#[test]
#[ignore = "needs root"]
fn the_status_fails_while_another_program_has_the_proxy_s_port() {
    let mut bed = Bed::idle("hc", &serde_json::json!({}));
    let other = bed.node().enter(|| {
        // The loopback of a new namespace is down until the agent starts.
        TcpListener::bind("0.0.0.0:10000").unwrap()
    });
    bed.start();
    let (code, said) = expect_problem(&bed, "the proxy does not run");
    assert!(code == Some(1) && said.contains("127.0.0.1:10000") && said.contains("proxyPort"), "{said}");
    let (code, said) = bed.says(&["status", "--wait", "--wait-duration", "1s"]);
    assert!(code == Some(1) && said.contains("there are still problems after 1s"), "{said}");
    let wait = || bed.says(&["status", "--wait", "--wait-duration", "30s"]);
    let (code, said) = std::thread::scope(|scope| {
        let waiting = scope.spawn(wait);
        std::thread::sleep(Duration::from_millis(300));
        drop(other);
        waiting.join().unwrap()
    });
    assert!(code == Some(0) && said.contains("waiting (0s of 30s): the proxy does not run"), "{said}");
    assert_eq!(bed.status().problems, Vec::<String>::new());
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    assert_eq!(client.reaches(&server, "/public"), Some(200));
}

#[test]
#[ignore = "needs root"]
fn an_agent_that_starts_replaces_a_stopped_proxy() {
    let mut bed = Bed::new("hd");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    assert_eq!(client.reaches(&server, "/public"), Some(200));
    let proxy = bed.status().proxy.unwrap();
    bed.kill();
    signal(proxy, Signal::STOP);
    bed.start();
    assert_eq!(client.reaches(&server, "/public"), Some(200));
    assert_ne!(bed.status().proxy, Some(proxy));
}

/// Waits until the status mentions a repair.
fn expect_repair(bed: &Bed, text: &str) {
    let found = eventually(|| bed.status().notes.into_iter().find(|note| note.contains(text)));
    assert!(found.is_some(), "no {text:?} in {:?} {:?}", bed.status().notes, bed.status().problems);
    assert!(bed.log().contains(text), "{}", bed.log());
}

#[test]
#[ignore = "needs root"]
fn a_node_whose_pins_were_removed_is_closed_when_its_agent_is_killed() {
    let mut bed = Bed::new("he");
    let (server, client, other) = (bed.workload("server"), bed.workload("client"), bed.workload("other"));
    bed.apply(CONNECTIONS);
    assert_eq!((client.reaches(&server, "/"), other.fetch(&server, "/")), (Some(200), None));
    let pins = loader::pin_directory(&bed.name);
    let count = |directory: &str| fs::read_dir(pins.join(directory)).unwrap().count();
    let layout = format!("v{}", abi::LAYOUT);
    let before = (count("links"), count(&layout));
    fs::remove_dir_all(&pins).unwrap();
    expect_repair(&bed, "pins under");
    assert_eq!((count("links"), count(&layout)), before);
    assert_eq!((bed.status().problems, bed.exit_code(&["status"])), (vec![], Some(0)));
    bed.kill();
    assert_eq!((client.fetch(&server, "/"), other.fetch(&server, "/")), (Some(200), None), "no agent runs");
    bed.start();
    assert_eq!(
        (client.reaches(&server, "/"), other.fetch(&server, "/")),
        (Some(200), None),
        "another agent runs"
    );
    assert_eq!(bed.status().endpoints, 3);
}

#[test]
#[ignore = "needs root"]
fn programs_that_were_detached_are_attached_again() {
    let mut bed = Bed::new("hf");
    let (server, client, other) = (bed.workload("server"), bed.workload("client"), bed.workload("other"));
    bed.apply(REQUESTS);
    assert_eq!((client.reaches(&server, "/public"), other.fetch(&server, "/public")), (Some(200), None));
    // Detaches the links, and removes all pins.
    loader::remove_pins(&loader::pin_directory(&bed.name)).unwrap();
    expect_repair(&bed, "was detached, and is attached again; packets were not checked there");
    assert_eq!((client.reaches(&server, "/public"), other.fetch(&server, "/public")), (Some(200), None));
    assert_eq!(client.reaches(&server, "/private"), Some(403));
    assert_eq!((bed.status().problems, bed.exit_code(&["status"])), (vec![], Some(0)));
    bed.kill();
    assert_eq!(other.fetch(&server, "/public"), None, "no agent runs");
}

#[test]
#[ignore = "needs root"]
fn an_agent_that_is_stopped_logs_no_problem() {
    let mut bed = Bed::new("hi");
    bed.workload("server");
    bed.apply(CONNECTIONS);
    for stop in [Signal::TERM, Signal::INT] {
        bed.try_start();
        signal(bed.agent(), stop);
        bed.expect_end();
        assert!(!bed.socket().exists());
    }
    assert!(!bed.log().contains("error:"), "{}", bed.log());
}

#[test]
#[ignore = "needs root"]
fn filters_that_were_detached_are_attached_again() {
    let mut bed = Bed::idle("hh", &serde_json::json!({"attach": "clsact"}));
    bed.start();
    assert_eq!(bed.status().attach, "clsact");
    let (server, client, other) = (bed.workload("server"), bed.workload("client"), bed.workload("other"));
    bed.apply(REQUESTS);
    assert_eq!((client.reaches(&server, "/public"), other.fetch(&server, "/public")), (Some(200), None));
    bed.node().enter(|| loader::detach_filters(&loader::pin_directory(&bed.name))).unwrap();
    assert_eq!(other.reaches(&server, "/public"), Some(200), "policy is not enforced");
    // Filters are checked every 30 s.
    let text = "was detached, and is attached again; packets were not checked there";
    let until = Instant::now() + Duration::from_secs(40);
    while !bed.status().notes.iter().any(|note| note.contains(text)) {
        assert!(Instant::now() < until, "{:?}", bed.status());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((client.reaches(&server, "/public"), other.fetch(&server, "/public")), (Some(200), None));
    assert_eq!(client.reaches(&server, "/private"), Some(403));
    assert_eq!((bed.status().problems, bed.exit_code(&["status"])), (vec![], Some(0)));
}

#[test]
#[ignore = "needs root"]
fn the_status_fails_while_events_of_the_proxy_are_lost() {
    let mut bed = Bed::idle("hg", &serde_json::json!({}));
    let socket = bed.path("run/requests.sock");
    fs::create_dir_all(&socket).unwrap();
    bed.start();
    let (code, said) = expect_problem(&bed, "events of the proxy cannot be received and are lost");
    assert!(code == Some(1) && said.contains("remove what is there"), "{said}");
    fs::remove_dir(&socket).unwrap();
    assert!(eventually(|| bed.status().problems.is_empty().then_some(())).is_some(), "{:?}", bed.status());
}
