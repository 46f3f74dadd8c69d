//! Tests of hosts with a single address family.

use crate::bed::Bed;
use serde_json::json;
use std::net::IpAddr;
use workload::NetworkNamespace;

/// Disables IPv6 in a node's namespace, as administrators do.
fn disable_ipv6(bed: &Bed) {
    let write = || std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    NetworkNamespace::open(&bed.name).unwrap().enter(write).unwrap().unwrap();
}

/// Starts the agent and checks that connections and requests are judged in the first family that workloads have.
fn works(bed: &mut Bed) -> (Vec<IpAddr>, api::view::Status) {
    bed.start();
    let (server, client, other) = (bed.workload("server"), bed.workload("client"), bed.workload("other"));
    assert_eq!(client.reaches(&server, "/"), Some(200));
    bed.apply(super::REQUESTS);
    assert_eq!(client.reaches(&server, "/public"), Some(200));
    assert_eq!((client.reaches(&server, "/private"), other.fetch(&server, "/public")), (Some(403), None));
    bed.apply("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  selector: {app: server}\n  ports: [{port: 80}]\n");
    (server.addresses.clone(), bed.status())
}

#[test]
#[ignore = "needs root"]
fn with_ipv6_disabled_workloads_get_ipv4_and_status_reports_it() {
    let mut bed = Bed::idle("ua", &json!({}));
    disable_ipv6(&bed);
    let (addresses, status) = works(&mut bed);
    assert!(addresses.len() == 1 && addresses[0].is_ipv4(), "{addresses:?}");
    assert_eq!(status.problems, Vec::<String>::new());
    let (code, said) = bed.says(&["status"]);
    assert!(code == Some(0) && said.contains("IPv6") && said.contains("disable_ipv6"), "{said}");
    assert!(bed.log().contains("disable_ipv6"), "{}", bed.log());
    let (code, said) = bed.says(&["run", "--name", "six", "--ip", "fd00:10:244::77", "--", "true"]);
    assert!(code != Some(0) && said.contains("IPv6"), "{said}");
    bed.kill();
    bed.start();
    assert_eq!(bed.status().endpoints, 3);
}

#[test]
#[ignore = "needs root"]
fn with_ipv6_disabled_and_ipv4_blocks_alone_the_agent_starts() {
    let blocks = json!({"workloadAddresses": ["10.244.0.0/16"], "serviceAddresses": ["10.96.0.0/16"]});
    let mut bed = Bed::idle("ub", &blocks);
    disable_ipv6(&bed);
    let (addresses, status) = works(&mut bed);
    assert!(addresses.len() == 1 && addresses[0].is_ipv4(), "{addresses:?}");
    assert_eq!(status.problems, Vec::<String>::new());
}

#[test]
#[ignore = "needs root"]
fn blocks_of_one_family_give_workloads_that_family() {
    for (name, workloads, services, v4) in
        [("fc", "10.244.0.0/16", "10.96.0.0/16", true), ("fd", "fd00:10:244::/64", "fd00:10:96::/112", false)]
    {
        let mut bed =
            Bed::idle(name, &json!({"workloadAddresses": [workloads], "serviceAddresses": [services]}));
        let (addresses, status) = works(&mut bed);
        assert!(addresses.len() == 1 && addresses[0].is_ipv4() == v4, "{addresses:?}");
        assert_eq!(status.problems, Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs root"]
fn with_ipv6_disabled_and_ipv6_blocks_alone_the_agent_reports_the_reason() {
    let mut bed = Bed::idle("ue", &json!({"workloadAddresses": ["fd00:10:244::/64"]}));
    disable_ipv6(&bed);
    let (code, said) = bed.try_another(&json!({}));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("workloadAddresses") && said.contains("disable_ipv6"), "{said}");
    bed.shell("true");
}

#[test]
#[ignore = "needs root"]
fn workloads_that_start_after_ipv6_was_disabled_get_ipv4() {
    let bed = Bed::new("ug");
    let server = bed.workload("server");
    assert_eq!(server.addresses.len(), 2);
    disable_ipv6(&bed);
    let client = bed.workload("client");
    assert!(client.addresses.len() == 1 && client.addresses[0].is_ipv4(), "{:?}", client.addresses);
    assert_eq!(client.reaches(&server, "/"), Some(200));
    let status = bed.status();
    assert!(status.notes.iter().any(|note| note.contains("disable_ipv6")), "{status:?}");
    bed.remove("server").unwrap();
    assert_eq!(bed.status().problems, Vec::<String>::new());
}

#[test]
#[ignore = "needs root"]
fn workloads_from_before_ipv6_was_disabled_stay() {
    let mut bed = Bed::new("uf");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.kill();
    disable_ipv6(&bed);
    bed.start();
    assert_eq!(client.reaches(&server, "/"), Some(200));
    assert_eq!(bed.status().endpoints, 2);
}
