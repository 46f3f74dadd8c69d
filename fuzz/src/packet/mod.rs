//! The packet path: at every hook, a malformed packet is dropped, and each drop has a reason that is reported.

pub mod arrivals;
mod node;
mod reading;

use abi::{DropReason, Hook, mark};
use arrivals::Arrived;
use datapath::native::{Arrival, Outcome, Tables};
use datapath::{Delivery, craft};
use std::cell::RefCell;

thread_local! {
    /// The node's tables; the entries that packets wrote are removed before each input.
    static TABLES: RefCell<Tables> = RefCell::new(node::tables());
}

/// Runs the packets of an input one after the other.
pub fn check(data: &[u8]) {
    TABLES.with_borrow_mut(|tables| {
        tables.forget();
        for arrived in arrivals::read(data) {
            tables.set_proxy_sockets(arrived.sockets);
            let before = drops(tables);
            let arrival = Arrival { frame: &arrived.frame, ..arrived.arrival };
            let outcome = tables.run(arrived.hook, arrival);
            check_verdict(&arrived, &outcome);
            check_report(tables, before, &outcome);
            check_delivered(&arrived, &outcome);
        }
    });
}

/// How many packets were counted as dropped.
fn drops(tables: &Tables) -> u64 {
    let forwards = [abi::policy::Direction::Ingress, abi::policy::Direction::Egress]
        .map(|direction| abi::event::counter_index(0, direction));
    tables
        .counters()
        .iter()
        .filter(|(index, _)| !forwards.contains(index))
        .map(|(_, counter)| counter.packets)
        .sum()
}

/// A malformed packet is dropped, and so is a packet with a spoofed source.
fn check_verdict(arrived: &Arrived, outcome: &Outcome) {
    let is_at_workload = matches!(arrived.hook, Hook::FromWorkload | Hook::ToWorkload);
    // The ARP packets that reach a workload are the node's own, and pass unread.
    let is_of_node = arrived.hook == Hook::ToWorkload && reading::is_arp(&arrived.frame);
    if is_at_workload && !is_of_node && reading::is_malformed(&arrived.frame) {
        assert!(outcome.verdict.is_err(), "{arrived:?} is malformed: {outcome:?}");
    }
    if is_at_workload && node::WORKLOADS.iter().all(|(_, interface)| *interface != arrived.arrival.interface)
    {
        assert_eq!(outcome.verdict, Err(DropReason::UnknownEndpoint));
    }
    if arrived.hook == Hook::FromWorkload && outcome.verdict.is_ok() {
        let is_own = node::WORKLOADS
            .iter()
            .enumerate()
            .filter(|(_, (_, interface))| *interface == arrived.arrival.interface)
            .any(|(at, _)| reading::may_send(&arrived.frame, node::addresses(at)));
        assert!(is_own, "{arrived:?} has a spoofed source: {outcome:?}");
    }
    if arrived.hook == Hook::ToProxy && arrived.arrival.mark & mark::MASK != mark::TO_PROXY {
        assert_eq!(outcome.verdict, Err(DropReason::NotForProxy));
    }
}

/// A drop is counted and reported with its reason.
fn check_report(tables: &Tables, before: u64, outcome: &Outcome) {
    let Err(reason) = outcome.verdict else { return };
    assert!(drops(tables) > before, "{reason:?} was not counted");
    let is_reported = outcome.events.iter().any(|event| event.reason == reason as u8);
    assert!(is_reported, "{reason:?} was not reported: {:?}", outcome.events);
}

/// A delivered packet has valid checksums if it arrived with valid ones, and the same length unless it is an ARP or neighbour
/// discovery response.
fn check_delivered(arrived: &Arrived, outcome: &Outcome) {
    let Ok(delivery) = outcome.verdict else { return };
    let is_answer =
        delivery == Delivery::Egress(arrived.arrival.interface) && arrived.hook == Hook::FromWorkload;
    if !is_answer {
        assert_eq!(outcome.frame.len(), arrived.frame.len());
    }
    if reading::is_whole(&arrived.frame) && craft::check(&arrived.frame).is_ok() {
        assert_eq!(craft::check(&outcome.frame), Ok(()), "{arrived:?}\n{outcome:?}");
    }
    if delivery == Delivery::Pass && arrived.hook == Hook::FromWorkload {
        assert_ne!(outcome.mark & mark::MASK, mark::TO_PROXY, "{arrived:?}\n{outcome:?}");
    }
}
