//! Tests of clients that stay, leave or are too many, and of an agent without free file descriptors.

use crate::bed::{Bed, eventually, wanted};
use api::{ApiRequest, Client};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The number of file descriptors of a process.
fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Subscribes to flows of which there are none.
fn follow_nothing(bed: &Bed) -> UnixStream {
    let mut stream = UnixStream::connect(bed.socket()).unwrap();
    let request = r#"{"version":1,"ask":"observe","last":0,"follow":true,"filters":["to-port=9"]}"#;
    writeln!(stream, "{request}").unwrap();
    stream
}

/// Limits the file descriptors of a running process; returns the limit before.
fn limit(process: u32, current: Option<u64>) -> Rlimit {
    let process = Pid::from_raw(process.cast_signed());
    let Rlimit { maximum, .. } = prlimit(
        process,
        Resource::Nofile,
        Rlimit { current: maximum_of(process), maximum: maximum_of(process) },
    )
    .unwrap();
    prlimit(process, Resource::Nofile, Rlimit { current: current.or(maximum), maximum }).unwrap()
}

fn maximum_of(process: Option<Pid>) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", Pid::as_raw(process))).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(4).unwrap().parse().ok()
}

#[test]
#[ignore = "needs root"]
fn disconnected_observers_are_noticed_without_flows() {
    let bed = Bed::new("oa");
    bed.status();
    let before = descriptors(bed.agent());
    let followers: Vec<_> = (0..60).map(|_| follow_nothing(&bed)).collect();
    assert!(eventually(|| (descriptors(bed.agent()) >= before + 55).then_some(())).is_some());
    drop(followers);
    let left = Instant::now();
    assert!(eventually(|| (descriptors(bed.agent()) <= before + 2).then_some(())).is_some());
    assert!(left.elapsed() < Duration::from_secs(3), "{:?}", left.elapsed());
}

#[test]
#[ignore = "needs root"]
fn an_observer_that_only_stopped_sending_still_receives() {
    let bed = Bed::new("ob");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    let mut stream = UnixStream::connect(bed.socket()).unwrap();
    writeln!(stream, r#"{{"version":1,"ask":"observe","last":0,"follow":true,"filters":[]}}"#).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    sleep(Duration::from_millis(300));
    assert_eq!(client.reaches(&server, "/"), Some(200));
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.starts_with(r#"{"ok":"#), "{line}");
}

#[test]
#[ignore = "needs root"]
fn an_agent_without_free_descriptors_keeps_policies_and_continues_afterwards() {
    let bed = Bed::new("oc");
    let owned = api::WorkloadSpec { owner: Some(std::process::id()), ..wanted("owned") };
    let _: api::view::EndpointSummary = bed.ask(ApiRequest::CreateWorkload(owned));
    let mut known = Client::connect(&bed.socket()).unwrap();
    let status = |known: &mut Client| known.call::<api::view::Status>(ApiRequest::Status).unwrap();
    let proxy = status(&mut known).proxy;
    limit(bed.agent(), Some(3));
    let said = bed.log().len();
    let waiting: Vec<_> = (0..5).map(|_| UnixStream::connect(bed.socket()).unwrap()).collect();
    bed.write_policy("a.yaml", super::CONNECTIONS);
    sleep(Duration::from_secs(2));
    let now = status(&mut known);
    assert_eq!((now.endpoints, now.proxy, now.policies), (1, proxy, 0));
    let log = bed.log()[said..].to_owned();
    assert!(log.lines().count() < 20, "{} lines, such as {:?}", log.lines().count(), log.lines().last());
    drop(waiting);
    limit(bed.agent(), None);
    let read = eventually(|| (status(&mut known).policies == 1).then_some(()));
    assert!(read.is_some(), "{:?}", status(&mut known));
    assert!(eventually(|| status(&mut known).problems.is_empty().then_some(())).is_some());
    assert_eq!((status(&mut known).endpoints, bed.status().proxy), (1, proxy));
    // The agent expedites grace periods of the kernel for a moment, and then needs no free descriptor to reset that.
    let is_reset = || (!bed.directory.join("run/hurry").exists()).then_some(());
    assert!(eventually(is_reset).is_some());
}

#[test]
#[ignore = "needs root"]
fn a_client_beyond_the_limit_is_refused_with_a_reason_and_the_limit_is_raised() {
    let mut bed = Bed::idle("od", &serde_json::json!({}));
    bed.shell("ulimit -Sn 100; ulimit -Hn 400");
    bed.start();
    assert_eq!(maximum_of(Pid::from_raw(bed.agent().cast_signed())), Some(400));
    let limits = fs::read_to_string(format!("/proc/{}/limits", bed.agent())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("400"), "{line}");
    let mut clients: Vec<_> = (0..100).map(|_| follow_nothing(&bed)).collect();
    assert_eq!(bed.status().endpoints, 0, "more than the soft limit is served");
    clients.extend((0..400).map(|_| UnixStream::connect(bed.socket()).unwrap()));
    let refused = eventually(|| {
        Client::connect(&bed.socket()).unwrap().call::<api::view::Status>(ApiRequest::Status).err()
    });
    let refused = refused.expect("one of so many is refused").to_string();
    assert!(refused.contains("too many") && refused.contains("clients"), "{refused}");
    bed.write_policy("a.yaml", super::CONNECTIONS);
    drop(clients);
    assert!(
        eventually(|| {
            let status =
                Client::connect(&bed.socket()).ok()?.call::<api::view::Status>(ApiRequest::Status).ok()?;
            (status.policies == 1).then_some(())
        })
        .is_some()
    );
    assert!(bed.log().lines().count() < 40, "{}", bed.log());
}

#[test]
#[ignore = "needs root"]
fn silent_clients_leave_the_agent_the_descriptors_that_it_needs() {
    let mut bed = Bed::idle("oe", &serde_json::json!({}));
    bed.shell("ulimit -n 128");
    bed.start();
    let (server, other) = (bed.workload("server"), bed.workload("other"));
    (0..7).for_each(|number| drop(bed.bare_workload(&format!("more{number}"))));
    assert_eq!(other.fetch(&server, "/"), Some(200));
    let proxy = bed.status().proxy.unwrap();
    let clients: Vec<_> = (0..100).map(|_| UnixStream::connect(bed.socket()).unwrap()).collect();
    sleep(Duration::from_secs(1));
    bed.write_policy("a.yaml", super::CONNECTIONS);
    let refused = eventually(|| other.fetch(&server, "/").is_none().then_some(()));
    assert!(refused.is_some(), "a policy is in force while clients take what they can");
    super::end(proxy);
    let record = || fs::read_to_string(bed.path("run/proxy.json")).unwrap();
    let before = record();
    assert!(eventually(|| (record() != before).then_some(())).is_some(), "the proxy is started again");
    drop(clients);
    assert!(eventually(|| bed.try_apply(super::REQUESTS).ok()).is_some());
    assert!(eventually(|| bed.status().problems.is_empty().then_some(())).is_some());
}
