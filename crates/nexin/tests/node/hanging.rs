//! Tests that one hanging thread of the proxy is reported, and that the agent replaces the proxy.

use crate::REQUESTS;
use crate::bed::{Bed, SOON, eventually};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A thread of the proxy that does not run until this value is dropped.
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
    let named = tasks.map(|task| {
        let path = task.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        (number, fs::read_to_string(path.join("comm")).unwrap().trim().to_owned())
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

#[test]
#[ignore = "needs root"]
fn a_proxy_with_one_hanging_worker_is_reported_and_replaced() {
    let bed = Bed::new("wa");
    let workers = threads(bed.status().proxy.unwrap());
    let workers: Vec<_> = workers.into_iter().filter(|(_, name)| name.starts_with("worker ")).collect();
    let last = workers.len() - 1;
    expect_replacement(&bed, &format!("worker {last}"), &format!("its worker {last} for "));
}

#[test]
#[ignore = "needs root"]
fn a_proxy_whose_main_thread_hangs_is_reported_and_replaced() {
    expect_replacement(&Bed::new("wb"), "", "its main thread for ");
}
