//! Tests of what observers see: every event or its count, the level of aggregation, and what observers cost.

use crate::bed::{Bed, Host, eventually};
use api::{ApiRequest, Client};
use flow::{Flow, FlowVerdict, Layer4, Observed};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A port of the server that policy denies.
const DENIED: u16 = 9;

/// What the agent knows of the last flows that match the filters.
fn observed(bed: &Bed, last: usize, filters: &[&str]) -> Vec<Observed> {
    let filters = filters.iter().map(ToString::to_string).collect();
    let request = ApiRequest::Observe { last, follow: false, filters };
    Client::connect(&bed.socket()).unwrap().follow(request).unwrap().map(Result::unwrap).collect()
}

fn flows(bed: &Bed, filters: &[&str]) -> Vec<Flow> {
    observed(bed, 1000, filters).into_iter().filter_map(Observed::into_flow).collect()
}

/// How many events were seen, and how many were lost, once the sum is as expected: the kernel may still hold packets when their
/// sender has finished.
fn seen_and_lost(bed: &Bed, expected: u64, filters: &[&str]) -> [u64; 2] {
    let mut counts = [0; 2];
    eventually(|| {
        counts = [0; 2];
        for observed in observed(bed, 10 * expected as usize, filters) {
            match observed {
                Observed::Flow(_) => counts[0] += 1,
                Observed::Lost { lost_events, .. } => counts[1] += lost_events.num_events_lost,
            }
        }
        (counts[0] + counts[1] >= expected).then_some(())
    });
    counts
}

/// Sends this many datagrams to a port that policy denies.
fn send_denied(from: &Host, to: &Host, count: usize) {
    let socket = from.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    for _ in 0..count {
        socket.send_to(&[0], (to.addresses[0], DENIED)).unwrap();
    }
}

/// Sends a datagram of each of so many new flows, to ports from the first one on.
fn send_flows(from: &Host, to: &Host, first: usize, count: usize) {
    let socket = from.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    for port in first..first + count {
        // The answer to an earlier datagram may be that no socket has its port.
        let send = || socket.send_to(&[0], (to.addresses[0], u16::try_from(port).unwrap()));
        send().or_else(|_| send()).unwrap();
    }
}

/// Whether the packet ends its direction of a connection.
fn ends(flow: &Flow) -> bool {
    const FIN: u8 = 1;
    matches!(flow.l4, Layer4::Tcp(segment) if segment.flags.0 & FIN != 0)
}

fn signal(bed: &Bed, signal: Signal) {
    kill_process(Pid::from_raw(bed.agent().cast_signed()).unwrap(), signal).unwrap();
}

/// How many threads and descriptors the agent has.
fn threads_and_descriptors(bed: &Bed) -> [usize; 2] {
    ["task", "fd"].map(|list| fs::read_dir(format!("/proc/{}/{list}", bed.agent())).unwrap().count())
}

/// The same once threads and descriptors of clients that have just left are gone.
fn settled(bed: &Bed) -> [usize; 2] {
    let mut latest = threads_and_descriptors(bed);
    let is_settled = || {
        let before = std::mem::replace(&mut latest, threads_and_descriptors(bed));
        sleep(Duration::from_millis(300));
        (before == latest && latest == threads_and_descriptors(bed)).then_some(latest)
    };
    eventually(is_settled).expect("an agent without clients holds as much as before")
}

#[test]
#[ignore = "needs root"]
fn a_socket_that_is_removed_costs_the_agent_no_thread() {
    let bed = Bed::new("vs");
    let before = settled(&bed);
    for _ in 0..3 {
        fs::remove_file(bed.socket()).unwrap();
        assert!(eventually(|| Client::connect(&bed.socket()).ok()).is_some(), "{}", bed.log());
    }
    assert_eq!(settled(&bed), before);
}

/// CPU time that the agent has taken, threads that ended included.
fn cpu_time(bed: &Bed) -> Duration {
    let agent = nix::unistd::Pid::from_raw(bed.agent().cast_signed());
    nix::time::clock_getcpuclockid(agent).unwrap().now().unwrap().into()
}

#[test]
#[ignore = "needs root"]
fn denied_packets_are_seen_or_counted_while_the_agent_is_stopped() {
    const MADE: usize = 12_000;
    let bed = Bed::new("ga");
    let (server, other) = (bed.workload("server"), bed.workload("other"));
    bed.apply(super::CONNECTIONS);
    signal(&bed, Signal::STOP);
    send_denied(&other, &server, MADE);
    signal(&bed, Signal::CONT);
    let [seen, lost] = seen_and_lost(&bed, MADE as u64, &["verdict=dropped", &format!("to-port={DENIED}")]);
    assert!(seen > 0 && lost > 0, "{seen} seen, {lost} lost");
    // The count of what was lost has no ports: a router solicitation of the proxy's interface may be in it, which is sent up to
    // three times.
    let surplus = (seen + lost).checked_sub(MADE as u64);
    assert!(surplus.is_some_and(|surplus| surplus <= 3), "{seen} seen, {lost} lost");
    let status = bed.status();
    assert_eq!(status.lost_events, lost, "{:?}", status.lost_events_by_cause);
    let said = bed.says(&["observe", "--last", "100000"]).1;
    assert!(said.contains(&format!("{lost} events lost (ring full)")), "{}", &said[..500]);
    assert!(bed.says(&["status"]).1.contains(&format!("{lost} (ring full, of denied packets)")));
}

#[test]
#[ignore = "needs root"]
fn new_flows_are_seen_or_counted_while_the_agent_is_stopped() {
    const MANY: usize = 20_000;
    let bed = Bed::new("gd");
    let (server, client) = (bed.bare_workload("server"), bed.bare_workload("client"));
    signal(&bed, Signal::STOP);
    send_flows(&client, &server, 1_000, MANY);
    signal(&bed, Signal::CONT);
    // Each flow is reported at both ends.
    let expected = 2 * MANY as u64;
    let [seen, lost] = seen_and_lost(&bed, expected, &["verdict=forwarded", "protocol=UDP"]);
    assert!(seen > 0 && lost > 0, "{seen} seen, {lost} lost");
    assert_eq!(seen + lost, expected, "{seen} seen, {lost} lost");
    let status = bed.status();
    assert_eq!(status.lost_events, lost, "{:?}", status.lost_events_by_cause);
    assert!(bed.says(&["status"]).1.contains(&format!("events lost  {lost} (ring full)")));
}

#[test]
#[ignore = "needs root"]
fn the_level_of_aggregation_chooses_the_packets_that_are_shown() {
    let bed = Bed::new("gb");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(super::CONNECTIONS);
    // Of a connection with two requests, at the hooks of both workloads.
    let shown = |level: &str| {
        let change = ["config", &format!("MonitorAggregationLevel={level}")];
        assert_eq!(
            bed.says(&change),
            (Some(0), format!("MonitorAggregationLevel={}\n", level.to_lowercase()))
        );
        let mut open = eventually(|| client.connect(&server)).unwrap();
        let port = format!("port={}", open.local_port());
        for _ in 0..2 {
            assert_eq!(open.fetch("/"), Some(200));
        }
        drop(open);
        let filters = [port.as_str()];
        let is_over = || flows(&bed, &filters).iter().any(ends).then_some(());
        if level != "Maximum" {
            assert!(eventually(is_over).is_some(), "{level}");
        }
        flows(&bed, &filters)
    };
    let [none, low, medium, maximum] = ["None", "Low", "Medium", "Maximum"].map(shown);
    let opening = |flows: &[Flow]| flows.iter().filter(|flow| flow.is_policy_verdict()).count();
    for (level, flows) in [("none", &none), ("low", &low), ("medium", &medium), ("maximum", &maximum)] {
        assert_eq!(opening(flows), 2, "{level}: {flows:#?}");
        assert!(flows.iter().all(|flow| flow.verdict == FlowVerdict::Forwarded), "{level}");
    }
    assert!(none.len() > low.len() && low.len() > medium.len(), "{} {}", none.len(), low.len());
    assert_eq!(maximum.len(), 2, "{maximum:#?}");
    assert!(medium.len() > 2 && medium.len() <= 6, "{medium:#?}");
    assert_eq!(bed.says(&["config", "MonitorAggregationLevel=high"]).0, Some(2));
    assert_eq!(bed.says(&["config"]).1, "MonitorAggregationLevel=maximum\n");
}

#[test]
#[ignore = "needs root"]
fn an_observer_sees_a_connection_soon_and_costs_nothing_after_it_left() {
    let bed = Bed::new("gc");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    let work = || {
        let before = cpu_time(&bed);
        (0..300).for_each(|_| assert_eq!(client.fetch(&server, "/"), Some(200)));
        bed.status();
        cpu_time(&bed) - before
    };
    // Of several runs the one that other processes of the machine disturbed least.
    let calm = || (0..3).map(|_| work()).min().unwrap();
    work();
    let alone = calm();
    let held = settled(&bed);
    let observers: Vec<_> = (0..20)
        .map(|_| {
            let request = ApiRequest::Observe { last: 0, follow: true, filters: Vec::new() };
            Client::connect(&bed.socket()).unwrap().follow::<Observed>(request).unwrap()
        })
        .collect();
    let subscribed =
        |more| threads_and_descriptors(&bed).iter().zip(held).all(|(now, then)| *now >= then + more);
    assert!(eventually(|| subscribed(20).then_some(())).is_some());
    let mut observers = observers.into_iter();
    let mut first = observers.next().unwrap();
    let begun = Instant::now();
    assert_eq!(client.fetch(&server, "/"), Some(200));
    assert!(first.next().unwrap().is_ok());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let observed = work();
    drop((first, observers));
    let gone = || (threads_and_descriptors(&bed) == held).then_some(());
    assert!(eventually(gone).is_some(), "{:?} after {held:?}", threads_and_descriptors(&bed));
    let afterwards = calm();
    println!("agent's CPU time: {alone:?} before observers, {observed:?} with 20, {afterwards:?} after");
    assert!(afterwards < observed && afterwards < 3 * alone, "{alone:?} {observed:?} {afterwards:?}");
}
