//! Tests of remains that an agent finds: workloads without a state file or an interface, and removed maps.

use crate::bed::{Bed, RCU_EXPEDITED, eventually, expect_usual_grace_periods, wanted};
use api::{ApiRequest, Client};
use std::fs;
use std::process::Stdio;
use std::time::Duration;
use workload::{NetworkNamespace, NodeNamespace};

#[test]
#[ignore = "needs root"]
fn workloads_of_a_lost_state_file_are_reported_and_new_ones_start_beside_them() {
    let mut bed = Bed::new("la");
    let mut lost =
        bed.command(&["run", "--name", "lost", "--", "sleep", "300"]).stdin(Stdio::null()).spawn().unwrap();
    assert!(eventually(|| (bed.status().endpoints == 1).then_some(())).is_some());
    let inside = eventually(|| bed.namespaces().first().cloned()).unwrap();
    assert!(eventually(|| (processes(&inside).len() == 2).then_some(())).is_some(), "runner and command");
    bed.kill();
    fs::remove_file(bed.directory.join("run/state.log")).unwrap();
    bed.start();
    let problem = bed.status().problems.join("; ");
    assert!(problem.contains(&inside) && problem.contains("state.log"), "{problem}");
    assert!(bed.log().contains(&inside), "{}", bed.log());
    let (code, said) = bed.says(&["status"]);
    assert!(code == Some(1) && said.contains(&inside), "{said}");
    assert_eq!(bed.says(&["run", "--name", "new", "--", "true"]), (Some(0), String::new()));
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    assert_eq!(client.reaches(&server, "/"), Some(200));
    assert!(lost.try_wait().unwrap().is_none(), "it is not ended");
    bed.kill();
    bed.start();
    assert!(bed.status().problems.join("; ").contains(&inside), "after another start");
    lost.kill().unwrap();
    lost.wait().unwrap();
    for process in processes(&inside) {
        crate::end(process);
    }
    let gone = eventually(|| {
        (!bed.namespaces().contains(&inside) && bed.status().problems.is_empty()).then_some(())
    });
    assert!(gone.is_some(), "{:?} {:?}", bed.namespaces(), bed.status().problems);
    assert_eq!(bed.links().iter().filter(|link| link.starts_with("nx")).count(), 2, "{:?}", bed.links());
}

/// The processes in a named network namespace.
fn processes(namespace: &str) -> Vec<u32> {
    let output = std::process::Command::new("ip").args(["netns", "pids", namespace]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[test]
#[ignore = "needs root"]
fn a_workload_without_its_interface_is_a_problem_until_it_ends() {
    let mut bed = Bed::new("lb");
    bed.workload("server");
    let client = bed.workload("client");
    let mut node = NodeNamespace::of(NetworkNamespace::open(&bed.name).unwrap()).unwrap();
    node.network().delete_link("nx1").unwrap();
    for restarted in [false, true] {
        if restarted {
            bed.kill();
            bed.start();
        }
        let problem = eventually(|| bed.status().problems.first().cloned());
        let problem = problem.unwrap_or_else(|| panic!("restarted: {restarted}"));
        assert!(problem.contains("default/server") && problem.contains("nx1"), "{problem}");
        assert_eq!(bed.says(&["status"]).0, Some(1));
    }
    let again = Client::connect(&bed.socket())
        .unwrap()
        .call::<api::view::EndpointSummary>(ApiRequest::CreateWorkload(wanted("server")));
    assert!(again.unwrap_err().to_string().contains("is there already"));
    bed.remove("server").unwrap();
    assert_eq!(bed.status().problems, Vec::<String>::new());
    let server = bed.workload("server");
    assert_eq!(client.reaches(&server, "/"), Some(200));
    assert_eq!((bed.namespaces().len(), bed.status().endpoints), (2, 2));
}

#[test]
#[ignore = "needs root"]
fn an_agent_that_is_killed_while_it_adds_or_removes_a_workload_leaks_nothing() {
    let mut bed = Bed::new("lc");
    bed.workload("stays");
    for round in 0..10u64 {
        let socket = bed.socket();
        let name = format!("w{round}");
        let asked = std::thread::spawn(move || {
            let mut client = Client::connect(&socket)?;
            client.call::<serde::de::IgnoredAny>(ApiRequest::CreateWorkload(wanted(&name)))?;
            let request = ApiRequest::RemoveWorkload { namespace: "default".into(), name };
            Client::connect(&socket)?.call::<serde::de::IgnoredAny>(request)
        });
        std::thread::sleep(Duration::from_millis(4 + round * 17));
        bed.kill();
        let _ = asked.join().unwrap();
        bed.start();
        let endpoints: Vec<api::view::EndpointSummary> = bed.ask(ApiRequest::Endpoints);
        let mut links = bed.links();
        links.retain(|link| link.strip_prefix("nx").is_some_and(|rest| rest.parse::<u32>().is_ok()));
        let mut known: Vec<_> = endpoints.iter().map(|endpoint| endpoint.interface.clone()).collect();
        links.sort();
        known.sort();
        assert_eq!(links, known, "round {round}");
        let mut known: Vec<_> = endpoints.iter().map(|endpoint| endpoint.network_namespace.clone()).collect();
        known.sort();
        assert_eq!(bed.namespaces(), known, "round {round}");
        assert_eq!(bed.status().problems, Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs root"]
fn a_proxy_that_reads_removed_maps_is_replaced() {
    let mut bed = Bed::new("ld");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(super::REQUESTS);
    assert_eq!(client.reaches(&server, "/public"), Some(200));
    let before = bed.status().proxy.unwrap();
    bed.kill();
    fs::remove_dir_all(loader::pin_directory(&bed.name)).unwrap();
    bed.start();
    assert_ne!(bed.status().proxy.unwrap(), before);
    assert_eq!(client.reaches(&server, "/public"), Some(200));
    assert_eq!(client.reaches(&server, "/private"), Some(403));
    let now = bed.status().proxy.unwrap();
    bed.kill();
    bed.start();
    assert_eq!(bed.status().proxy, Some(now), "one that reads what is there stays");
}

#[test]
#[ignore = "needs root"]
fn maps_of_an_earlier_release_are_removed_once_they_are_unused() {
    let mut bed = Bed::new("le");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(super::REQUESTS);
    bed.kill();
    let pins = loader::pin_directory(&bed.name);
    let of = |name: &str| pins.join(name);
    for made in ["v1", "v0", "vx"] {
        fs::create_dir(of(made)).unwrap();
    }
    bed.start();
    assert_eq!(
        [of("v1"), of("v0"), of("vx"), of("links"), of(&format!("v{}", abi::LAYOUT))]
            .map(|path| path.exists()),
        [false, false, true, true, true]
    );
    assert_eq!(
        (client.reaches(&server, "/public"), client.reaches(&server, "/private")),
        (Some(200), Some(403))
    );
}

#[test]
#[ignore = "needs root"]
fn removing_an_agent_that_was_killed_as_it_worked_resets_the_kernels_setting() {
    let mut bed = Bed::new("lf");
    bed.kill();
    // As an agent leaves them that is killed while it creates or removes workloads.
    fs::write(bed.path("run/hurry"), "").unwrap();
    fs::write(RCU_EXPEDITED, "1").unwrap();
    // This removes the agent's directory, too.
    drop(bed);
    expect_usual_grace_periods();
}
