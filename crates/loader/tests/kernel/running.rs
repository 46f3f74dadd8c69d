//! Programs that are run on frames, and what they report.

use crate::ground::{loaded, possible};
use abi::Hook;
use abi::event::{DropReason, PacketVerdict};
use abi::policy::Direction;
use loader::inspect::{RunStatistics, programs};
use loader::{Baseline, PacketContext, ProgramAction, TestRunError};
use std::time::{Duration, Instant};

/// A TCP segment with SYN from 10.0.0.1:1024 to 10.0.0.2:80.
fn frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([4, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

#[test]
fn a_packet_of_an_unknown_workload_is_dropped_reported_and_counted() {
    if !possible() {
        return;
    }
    let loaded = loaded();
    let mut events = loaded.events().unwrap();
    let signal = events.signal().unwrap();
    assert_eq!(events.batch().next(), None);
    let run = loaded.test_run(Hook::FromWorkload, &frame(), 0, 0).unwrap();
    assert_eq!(run.action, ProgramAction::Drop);
    assert_eq!(run.frame, frame());
    let begun = Instant::now();
    signal.wait(Some(Duration::from_secs(10))).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "an event wakes the reader");
    let event = events.batch().next().unwrap();
    assert_eq!((event.verdict, event.reason), (PacketVerdict::Drop as u8, DropReason::UnknownEndpoint as u8));
    assert_eq!(events.batch().next(), None);
    let counters = loaded.counters().read().unwrap();
    let [row] = counters[..] else { panic!("{counters:?}") };
    assert_eq!((row.reason, row.direction), (Some(DropReason::UnknownEndpoint), Direction::Egress));
    assert_eq!((row.counter.packets, row.counter.bytes), (1, frame().len() as u64));
}

#[test]
fn a_frame_without_a_header_and_an_interface_that_is_not_there_are_refused() {
    if !possible() {
        return;
    }
    let loaded = loaded();
    let error = loaded.test_run(Hook::FromWorkload, &[0; 13], 0, 0).unwrap_err();
    assert!(matches!(error, TestRunError::Short(13)), "{error}");
    let error = loaded.test_run(Hook::ToWorkload, &frame(), 0, 999_999).unwrap_err();
    assert!(error.to_string().contains("interface 999999"), "{error}");
}

#[test]
fn many_runs_tell_the_time_of_one_and_the_kernel_counts_them() {
    if !possible() {
        return;
    }
    let loaded = loaded();
    let statistics = RunStatistics::start().unwrap();
    let time = loaded.run(Hook::FromWorkload, &frame(), PacketContext::default(), 10_000).unwrap().duration;
    drop(statistics);
    let nothing = Baseline::load().unwrap().measure(&frame(), 10_000).unwrap();
    println!("a packet of an unknown workload: {time:?}; a program that does nothing: {nothing:?}");
    assert!(nothing < time);
    assert!(time > Duration::ZERO && time < Duration::from_micros(100), "{time:?}");
    let counted =
        programs().unwrap().into_iter().any(|program| program.name == "from_workload" && program.runs >= 1);
    assert!(counted, "run-time statistics were on");
}
