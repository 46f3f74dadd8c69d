//! Tests that full maps are reported, and that a change that finds no room changes nothing.

use crate::bed::{Bed, eventually};
use abi::map::MapId;
use api::Client;
use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

/// Ports of a service. Each takes an entry of each family.
const PORTS: usize = 500;
/// How many services fill nine tenths of the map.
const NEARLY: usize = MapId::Services.default_capacity() as usize * 9 / 10 / (2 * PORTS) + 1;

/// A service with many ports.
fn service(number: usize) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec:\n  selector: {{app: server}}\n  ports:\n"
    );
    for port in 1..=PORTS {
        let _ = writeln!(text, "  - {{name: p{port}, port: {port}, targetPort: 80}}");
    }
    text
}

/// Starts the agent again, which takes a while with so many services.
fn restart(bed: &mut Bed) {
    bed.kill();
    bed.spawn();
    let until = Instant::now() + Duration::from_secs(60);
    while Client::connect(&bed.socket()).is_err() {
        assert!(Instant::now() < until, "{}", bed.log());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs root"]
fn a_nearly_full_map_is_a_problem_and_what_does_not_fit_is_refused_whole() {
    let mut bed = Bed::new("ta");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    let all: Vec<_> = (0..NEARLY).map(service).collect();
    bed.apply(&all.join("---\n"));
    let in_force = || {
        let status = bed.status();
        let reached = client.connect_to("10.96.0.1:500".parse().unwrap()).and_then(|mut one| one.fetch("/"));
        (status.services, reached)
    };
    assert_eq!(in_force(), (NEARLY, Some(200)));
    let more: Vec<_> = (NEARLY..NEARLY + 8).map(service).collect();
    let refusal = bed.try_apply(&more.join("---\n")).unwrap_err().to_string();
    assert!(refusal.contains("map NX_SERVICES is full at its capacity of 65536"), "{refusal}");
    assert_eq!(in_force(), (NEARLY, Some(200)));
    // Entries are counted at a start, and later once a minute.
    restart(&mut bed);
    let nearly = "a map is nearly full; a change that does not fit is refused: NX_SERVICES has ";
    let problem = eventually(|| bed.status().problems.into_iter().find(|one| one.starts_with(nearly)));
    let problem = problem.unwrap_or_else(|| panic!("{:?}", bed.status().problems));
    assert!(problem.contains("of 65536 entries; remove workloads, services or policies"), "{problem}");
    assert_eq!(bed.exit_code(&["status"]), Some(1));
    assert_eq!(client.reaches(&server, "/"), Some(200));
    bed.delete("Service/default/s0");
    bed.delete("Service/default/s1");
    restart(&mut bed);
    assert_eq!((bed.status().problems, bed.exit_code(&["status"])), (vec![], Some(0)));
}
