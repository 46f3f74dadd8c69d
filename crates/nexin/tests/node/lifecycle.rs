//! Tests of workloads that come and go together: nothing waits for them, and nothing of them is left.

use crate::bed::{Bed, eventually, wanted};
use api::view::Explanation;
use api::{ApiRequest, Client, ExplainProbe};
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use workload::{NetworkNamespace, NodeNamespace};

/// A process that owns a workload; killed when dropped.
struct Owner(Child);

impl Owner {
    fn new() -> Self {
        Self(Command::new("sleep").arg("300").stdin(Stdio::null()).spawn().unwrap())
    }

    /// Creates a workload of this owner.
    fn create(&self, bed: &Bed, name: &str) -> Result<api::view::EndpointSummary, api::CallError> {
        let wanted = api::WorkloadSpec { owner: Some(self.0.id()), ..wanted(name) };
        Client::connect(&bed.socket())?.call(ApiRequest::CreateWorkload(wanted))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Fails if the process has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long it takes until the node has no workloads.
fn until_empty(bed: &Bed) -> Duration {
    let begun = Instant::now();
    while bed.status().endpoints > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", bed.status().problems);
        thread::sleep(Duration::from_millis(2));
    }
    begun.elapsed()
}

fn expect_nothing_left(bed: &Bed) {
    let left = || {
        (bed.namespaces(), bed.links().into_iter().filter(|link| is_of_workload(link)).collect::<Vec<_>>())
    };
    let gone = eventually(|| (left() == (vec![], vec![])).then_some(()));
    assert!(gone.is_some(), "{:?}", left());
}

fn is_of_workload(link: &str) -> bool {
    link.strip_prefix("nx").is_some_and(|number| number.parse::<u32>().is_ok())
}

#[test]
#[ignore = "needs root"]
fn the_end_of_an_owner_is_noticed_at_once() {
    const ROUNDS: usize = 7;
    let bed = Bed::new("ya");
    let mut took: Vec<Duration> = (0..ROUNDS)
        .map(|round| {
            let owner = Owner::new();
            owner.create(&bed, &format!("w{round}")).unwrap();
            // Not at a fixed distance to an earlier event.
            thread::sleep(Duration::from_millis(71 * round as u64));
            drop(owner);
            until_empty(&bed)
        })
        .collect();
    took.sort();
    assert!(took[ROUNDS / 2] < Duration::from_millis(100), "{took:?}");
    expect_nothing_left(&bed);
}

#[test]
#[ignore = "needs root"]
fn owners_that_end_together_leave_no_map_entries_long_before_their_remains_are_gone() {
    const COUNT: usize = 60;
    let bed = Bed::new("yb");
    let owners: Vec<Owner> = (0..COUNT).map(|_| Owner::new()).collect();
    thread::scope(|scope| {
        for (number, owner) in owners.iter().enumerate() {
            let bed = &bed;
            scope.spawn(move || owner.create(bed, &format!("w{number}")).unwrap());
        }
    });
    assert_eq!(bed.status().endpoints, COUNT);
    drop(owners);
    let took = until_empty(&bed);
    assert!(took < Duration::from_millis(500), "{took:?}");
    expect_nothing_left(&bed);
    assert_eq!(bed.status().problems, Vec::<String>::new());
}

#[test]
#[ignore = "needs root"]
fn a_workload_whose_removal_fails_has_no_map_entries_and_is_removed_later() {
    let bed = Bed::new("yc");
    let owner = Owner::new();
    let endpoint = owner.create(&bed, "a").unwrap();
    let name = format!("/run/netns/{}", endpoint.network_namespace);
    // A mount over the name, which the agent does not expect, stays after the agent has removed the first.
    for _ in 0..2 {
        assert!(Command::new("mount").args(["--bind", &name, &name]).status().unwrap().success());
    }
    drop(owner);
    let problem = eventually(|| bed.status().problems.first().cloned()).unwrap();
    assert!(problem.contains("a workload that ended cannot be removed"), "{problem}");
    assert_eq!(bed.status().endpoints, 0);
    let again = Owner::new().create(&bed, "a").unwrap_err();
    assert!(again.to_string().contains("is there already"), "{again}");
    expect_nothing_left(&bed);
    assert!(eventually(|| bed.status().problems.is_empty().then_some(())).is_some());
    bed.workload("a");
}

#[test]
#[ignore = "needs root"]
fn the_creation_of_many_workloads_delays_no_other_request() {
    const COUNT: usize = 40;
    let bed = Bed::new("yd");
    let mut took = Vec::new();
    thread::scope(|scope| {
        let creations: Vec<_> = (0..COUNT)
            .map(|number| {
                let bed = &bed;
                scope.spawn(move || bed.try_workload(&format!("w{number}")).unwrap())
            })
            .collect();
        while creations.iter().any(|creation| !creation.is_finished()) {
            let begun = Instant::now();
            bed.status();
            bed.apply(crate::CONNECTIONS);
            bed.delete("NetworkPolicy/default/connections");
            took.push(begun.elapsed());
        }
    });
    took.sort();
    assert!(took.len() >= 5 && took[took.len() / 2] < Duration::from_millis(300), "{took:?}");
    assert_eq!(bed.status().endpoints, COUNT);
    let addresses: BTreeSet<_> =
        bed.endpoints().into_iter().flat_map(|endpoint| endpoint.addresses).collect();
    assert_eq!(addresses.len(), 2 * COUNT);
}

#[test]
#[ignore = "needs root"]
fn a_workload_that_is_removed_while_it_is_created_is_created_and_then_removed() {
    let bed = Bed::new("ye");
    for round in 0..10 {
        let name = format!("w{round}");
        thread::scope(|scope| {
            let creation = scope.spawn(|| bed.try_workload(&name));
            let removed = eventually(|| bed.remove(&name).ok());
            assert!(removed.is_some());
            creation.join().unwrap().unwrap();
        });
        assert_eq!((bed.status().endpoints, bed.namespaces()), (0, vec![]), "round {round}");
    }
    expect_nothing_left(&bed);
}

#[test]
#[ignore = "needs root"]
fn of_workloads_that_request_an_address_at_once_one_gets_it() {
    // An address outside the agent's own blocks, which no pool reserves.
    let mut bed = Bed::idle("yi", &serde_json::json!({"givenAddresses": ["203.0.113.0/24"]}));
    bed.start();
    let address = IpAddr::from([203, 0, 113, 7]);
    let results: Vec<_> = thread::scope(|scope| {
        let bed = &bed;
        let creations: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || bed.try_workload_at(&format!("w{number}"), &[address])))
            .collect();
        creations.into_iter().map(|creation| creation.join().unwrap()).collect()
    });
    let refused: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(refused.len(), 7, "{results:?}");
    assert!(
        refused.iter().all(|error| error.to_string().contains("is the address of workload")),
        "{refused:?}"
    );
    assert_eq!(bed.status().endpoints, 1);
}

#[test]
#[ignore = "needs root"]
fn an_idle_agent_reads_no_files_of_workloads() {
    const COUNT: usize = 40;
    let bed = Bed::new("yf");
    let reads = || {
        let before = system_calls(bed.agent());
        thread::sleep(Duration::from_millis(2500));
        system_calls(bed.agent()) - before
    };
    let without = reads();
    let owners: Vec<Owner> = (0..COUNT).map(|_| Owner::new()).collect();
    for (number, owner) in owners.iter().enumerate() {
        owner.create(&bed, &format!("w{number}")).unwrap();
    }
    // Neighbour discovery of the new workloads is over.
    thread::sleep(Duration::from_millis(2500));
    let with = reads();
    assert!(with < without + COUNT as u64, "{without} reads without workloads, {with} with {COUNT}");
}

/// The number of reads of a process.
fn system_calls(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/io")).unwrap();
    let reads = text.lines().find_map(|line| line.strip_prefix("syscr: "));
    reads.unwrap().parse().unwrap()
}

const HOST_POLICY: &str = "
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: hosts}
spec: {nodeSelector: {}, ingress: [{fromEntities: [all]}]}
";

#[test]
#[ignore = "needs root"]
fn an_address_of_the_node_is_known_at_once() {
    let bed = Bed::new("yg");
    // Only then the connections of the node have a verdict.
    bed.apply(HOST_POLICY);
    let mut node = NodeNamespace::of(NetworkNamespace::open(&bed.name).unwrap()).unwrap();
    let loopback = node.network().link("lo").unwrap().unwrap().index;
    let mut took: Vec<Duration> = (1..=7u8)
        .map(|last| {
            thread::sleep(Duration::from_millis(71 * u64::from(last)));
            let address = IpAddr::from([192, 0, 2, last]);
            node.network().add_address(loopback, address, 32).unwrap();
            let begun = Instant::now();
            while !is_of_node(&bed, address) {
                assert!(begun.elapsed() < Duration::from_secs(10), "{address} is not known");
                thread::sleep(Duration::from_millis(2));
            }
            begun.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[3] < Duration::from_millis(150), "{took:?}");
}

/// Whether the agent knows an address as the node's own.
fn is_of_node(bed: &Bed, address: IpAddr) -> bool {
    let explanation: Explanation = bed.ask(ApiRequest::Explain(Box::new(ExplainProbe {
        from: "198.51.100.1".into(),
        to: address.to_string(),
        port: 80,
        port_name: None,
        protocol: "TCP".into(),
        family: None,
        http: None,
    })));
    explanation.sides.iter().any(|side| side.subject == "host")
}

#[test]
#[ignore = "needs root"]
fn workloads_come_and_go_right_under_changes_of_policy_and_ends_of_the_agent() {
    let mut bed = Bed::new("yh");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    let is_over = AtomicBool::new(false);
    let socket = bed.socket();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (socket, is_over) = (&socket, &is_over);
            scope.spawn(move || come_and_go(socket, thread, is_over));
        }
        for round in 0..5 {
            // The agent may be down, or not answer any more.
            let _ = bed.try_apply(crate::CONNECTIONS);
            thread::sleep(Duration::from_millis(150 + 70 * round));
            let _ = bed.try_delete("NetworkPolicy/default/connections");
            bed.kill();
            bed.start();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    bed.apply(crate::CONNECTIONS);
    assert_eq!(client.fetch(&server, "/"), Some(200));
    assert!(eventually(|| (bed.status().endpoints == 2).then_some(())).is_some(), "{:?}", bed.endpoints());
    let left =
        || bed.links().into_iter().filter(|link| is_of_workload(link)).count() + bed.namespaces().len();
    assert!(eventually(|| (left() == 4).then_some(())).is_some(), "{:?} {:?}", bed.links(), bed.namespaces());
    assert_eq!(bed.status().problems, Vec::<String>::new());
}

/// Creates workloads of owners that end right after, until it is over.
fn come_and_go(socket: &std::path::Path, thread: usize, is_over: &AtomicBool) {
    let mut round = 0;
    while !is_over.load(Ordering::Relaxed) {
        let owner = Owner::new();
        let wanted = api::WorkloadSpec { owner: Some(owner.0.id()), ..wanted(&format!("w{thread}-{round}")) };
        // The agent may be down, or end before it answers.
        let _ = Client::connect(socket)
            .and_then(|mut client| client.call::<serde::de::IgnoredAny>(ApiRequest::CreateWorkload(wanted)));
        thread::sleep(Duration::from_millis(5));
        round += 1;
    }
}
