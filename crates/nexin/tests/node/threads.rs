//! Tests of threads: each CPU has one of the proxy, a proxy of which one hangs is reported and replaced, and an agent whose
//! thread hangs is reported.

use crate::REQUESTS;
use crate::bed::{Bed, SOON, eventually};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// A thread that does not run until this value is dropped.
///
/// A signal would stop the whole process; a debugger stops one thread.
struct Hanging(Pid);

impl Hanging {
    fn thread(thread: i32) -> Self {
        let thread = Pid::from_raw(thread);
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        Self(thread)
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Fails if the thread was killed, as it should be; its process then ends once this process has waited for it.
        let _ = ptrace::detach(self.0, None);
        let _ = waitpid(self.0, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
    }
}

/// The threads of a process: number and name.
fn threads(process: u32) -> Vec<(i32, String)> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let named = tasks.filter_map(|task| {
        let path = task.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // A thread may have ended meanwhile.
        let name = fs::read_to_string(path.join("comm")).ok()?;
        Some((number, name.trim().to_owned()))
    });
    named.collect()
}

/// Expects that the status reports this thread alone in time, and that connections are answered by the next proxy.
fn expect_replacement(bed: &Bed, name: &str, reported: &str) {
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    assert_eq!(client.reaches(&server, "/public"), Some(200));
    let proxy = bed.status().proxy.unwrap();
    let of_process = threads(proxy);
    let found = of_process.iter().find(|(number, found)| {
        if name.is_empty() { u32::try_from(*number) == Ok(proxy) } else { found == name }
    });
    let hanging = Hanging::thread(found.unwrap_or_else(|| panic!("{name:?} of {of_process:?}")).0);
    let began = Instant::now();
    let late = || bed.status().problems.into_iter().find(|one| one.contains("the proxy does not answer"));
    let problem = eventually(late).unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "the status failed after {:?}", began.elapsed());
    assert!(problem.contains(reported) && problem.matches("its ").count() == 1, "{problem}");
    assert_eq!(bed.exit_code(&["status"]), Some(1));
    // The kernel gives some of them to the thread that hangs.
    let mut waiting: Vec<_> = (0..8)
        .map(|_| client.stream_to(SocketAddr::new(server.addresses[0], 80)).expect("a listener is open"))
        .collect();
    for stream in &mut waiting {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"GET /private HTTP/1.1\r\nHost: s\r\n\r\n").unwrap();
    }
    let mut served = 0;
    for stream in &mut waiting {
        let mut answer = [0; 12];
        // A connection that the killed proxy had accepted ends with it.
        match stream.read_exact(&mut answer) {
            Ok(()) => assert!(answer.starts_with(b"HTTP/1.1 403"), "{:?}", String::from_utf8_lossy(&answer)),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}"),
        }
        served += u32::from(answer.starts_with(b"HTTP/1.1 403"));
    }
    assert!(served > 0, "a connection that was waiting is served");
    let replaced = eventually(|| bed.status().proxy.filter(|now| *now != proxy));
    assert!(replaced.is_some(), "{:?}", bed.status());
    assert!(began.elapsed() < Duration::from_secs(7), "a new one serves after {:?}", began.elapsed());
    drop(hanging);
    assert!(eventually(|| bed.status().problems.is_empty().then_some(())).is_some(), "{:?}", bed.status());
    assert_eq!(bed.exit_code(&["status"]), Some(0));
    let note = bed.status().notes.join("; ");
    assert!(note.contains("did not answer 3 checks in a row") && note.contains(reported), "{note}");
    assert_eq!(client.reaches(&server, "/public"), Some(200));
}

/// The workers of a node's proxy, in order.
fn workers(bed: &Bed) -> Vec<(i32, String)> {
    let threads = threads(bed.status().proxy.unwrap()).into_iter();
    let mut workers: Vec<_> = threads.filter(|(_, name)| name.starts_with("worker ")).collect();
    workers.sort_by(|(_, one), (_, other)| one.cmp(other));
    workers
}

/// CPU time that a thread has taken.
fn cpu_time(process: u32, thread: i32) -> Duration {
    let statistics = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")).unwrap();
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}

#[test]
#[ignore = "needs root"]
fn every_cpu_has_a_worker_that_serves() {
    let bed = Bed::new("wc");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    assert_eq!(client.reaches(&server, "/public"), Some(200));
    let proxy = bed.status().proxy.unwrap();
    let (workers, cpus) = (workers(&bed), thread::available_parallelism().unwrap().get());
    assert_eq!(workers.len(), cpus, "{workers:?}");
    let times = || workers.iter().map(|(number, _)| cpu_time(proxy, *number));
    let before: Vec<_> = times().collect();
    // A CPU gives the connections that it receives to its own worker.
    thread::scope(|scope| {
        for cpu in 0..cpus {
            let (client, server) = (&client, &server);
            scope.spawn(move || {
                let mut own = CpuSet::new();
                own.set(cpu);
                // A CPU that this process may not use leaves its connections to the others.
                let _ = sched_setaffinity(None, &own);
                (0..150).for_each(|_| assert_eq!(client.reaches(server, "/public"), Some(200)));
            });
        }
    });
    let spent: Vec<_> = times().zip(before).map(|(now, before)| now - before).collect();
    let all: Duration = spent.iter().sum();
    assert!(spent.iter().all(|one| *one * 10 * cpus as u32 > all), "{spent:?}");
}

#[test]
#[ignore = "needs root"]
fn a_proxy_with_one_hanging_worker_is_reported_and_replaced() {
    let bed = Bed::new("wa");
    let last = workers(&bed).len() - 1;
    expect_replacement(&bed, &format!("worker {last}"), &format!("its worker {last} for "));
}

#[test]
#[ignore = "needs root"]
fn a_proxy_whose_main_thread_hangs_is_reported_and_replaced() {
    expect_replacement(&Bed::new("wb"), "", "its main thread for ");
}

#[test]
#[ignore = "needs root"]
fn an_agent_whose_thread_hangs_is_reported_until_it_goes_on() {
    let bed = Bed::new("wd");
    // The thread that joined the node's network namespace, which has no name of its own.
    let own = |(number, name): &(i32, String)| name == "nexin" && *number != bed.agent().cast_signed();
    let hanging = Hanging::thread(threads(bed.agent()).into_iter().find(own).unwrap().0);
    let began = Instant::now();
    let stuck = || bed.status().problems.into_iter().find(|one| one.contains("changes are not carried out"));
    let problem = eventually(stuck).unwrap_or_else(|| panic!("{:?}", bed.status()));
    assert!(began.elapsed() < Duration::from_secs(7), "the status failed after {:?}", began.elapsed());
    assert!(problem.contains("restart the agent") && problem.contains("(since "), "{problem}");
    assert_eq!(bed.exit_code(&["status"]), Some(1));
    drop(hanging);
    assert!(eventually(|| bed.status().problems.is_empty().then_some(())).is_some(), "{:?}", bed.status());
    // An idle agent takes turns, too.
    thread::sleep(Duration::from_secs(6));
    assert_eq!((bed.status().problems, bed.exit_code(&["status"])), (vec![], Some(0)));
}
