//! Tests of attachments: the plugin run as a container runtime runs it, against an agent in a network namespace.

use crate::CONNECTIONS;
use crate::bed::{Bed, Host, eventually};
use crate::runtime::{Sandbox, configuration, run, run_with, start, with_valid};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use workload::{Network, NetworkNamespace, NodeNamespace, Plan, find_pair};

/// A sandbox that is attached, as a host.
fn attach(bed: &Bed, sandbox: &Sandbox) -> Host {
    let addresses = run(bed, "ADD", sandbox).expect().addresses();
    Host { namespace: sandbox.open(), addresses }
}

/// Waits until the agent has no workload and no interface of one.
fn expect_nothing_left(bed: &Bed) {
    let is_clean = || bed.endpoints().is_empty() && !bed.links().iter().any(|name| is_workloads(name));
    let cleaned = eventually(|| is_clean().then_some(()));
    assert!(cleaned.is_some(), "{:?}, {:?}", bed.endpoints(), bed.links());
}

fn is_workloads(name: &str) -> bool {
    name.strip_prefix("nx").is_some_and(|rest| rest.parse::<u32>().is_ok())
}

#[test]
#[ignore = "needs root"]
fn a_sandbox_is_attached_under_policy_and_detached() {
    let bed = Bed::new("aa");
    run_with("STATUS", None, &configuration(&bed)).expect();
    bed.apply(CONNECTIONS);
    let [server, client, other] = ["server", "client", "other"].map(Sandbox::new);
    let added = run(&bed, "ADD", &server).expect();
    assert_eq!(added.printed["interfaces"][1]["sandbox"], server.path());
    assert_eq!((added.addresses().len(), &added.printed["cniVersion"]), (2, &json!("1.1.0")));
    let hosts = [&server, &client, &other].map(|sandbox| attach(&bed, sandbox));
    assert_eq!(hosts[0].addresses, added.addresses(), "a repeated ADD gets the first answer");
    hosts[0].serve("server");
    assert_eq!(hosts[1].reaches(&hosts[0], "/"), Some(200));
    assert_eq!(hosts[2].fetch(&hosts[0], "/"), None);
    let loopback = Network::of(&server.open()).unwrap().link("lo").unwrap().unwrap();
    assert!(loopback.is_up);
    let names: Vec<_> = bed.endpoints().into_iter().map(|one| (one.namespace, one.name)).collect();
    assert!(names.contains(&("default".into(), "server".into())), "{names:?}");
    for sandbox in [&server, &client, &other] {
        run(&bed, "CHECK", sandbox).expect();
        let name = sandbox.arguments.split("K8S_POD_NAME=").nth(1).unwrap().split(';').next().unwrap();
        let said = bed.says(&["exec", name, "--", "true"]);
        assert_eq!(said.0, Some(0), "{name}: {}", said.1);
        for _ in 0..2 {
            assert!(run(&bed, "DEL", sandbox).expect().printed.is_null());
        }
    }
    expect_nothing_left(&bed);
}

#[test]
#[ignore = "needs root"]
fn every_version_gets_a_result_of_its_own() {
    let bed = Bed::new("ab");
    let sandbox = Sandbox::new("web");
    for (version, has_family) in [("0.3.1", true), ("0.4.0", true), ("1.0.0", false), ("1.1.0", false)] {
        let mut config = configuration(&bed);
        config["cniVersion"] = version.into();
        let added = run_with("ADD", Some(&sandbox), &config).expect().printed;
        assert_eq!(
            (&added["cniVersion"], added["ips"][0].get("version").is_some()),
            (&json!(version), has_family)
        );
    }
    let versions = run_with("VERSION", None, &json!({ "cniVersion": "1.0.0" })).expect().printed;
    assert_eq!(versions["supportedVersions"], json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
}

#[test]
#[ignore = "needs root"]
fn the_late_deletion_of_a_sandbox_leaves_the_pods_next_sandbox_alone() {
    let bed = Bed::new("ac");
    let [earlier, later, client] = ["server", "server", "client"].map(Sandbox::new);
    let before = attach(&bed, &earlier);
    let after = attach(&bed, &later);
    assert_ne!(before.addresses, after.addresses);
    after.serve("server");
    let client = attach(&bed, &client);
    run(&bed, "DEL", &earlier).expect();
    run(&bed, "CHECK", &later).expect();
    assert_eq!(client.reaches(&after, "/"), Some(200));
    run(&bed, "CHECK", &earlier).expect_error(3, "has no attachment");
}

#[test]
#[ignore = "needs root"]
fn what_is_not_supported_is_refused_by_name() {
    let bed = Bed::new("ad");
    let sandbox = Sandbox::new("web");
    let with = |field: &str, value: serde_json::Value| {
        let mut config = configuration(&bed);
        config["runtimeConfig"] = json!({ field: value });
        run_with("ADD", Some(&sandbox), &config)
    };
    with("bandwidth", json!({ "ingressRate": 1000, "ingressBurst": 1000 }))
        .expect_error(2, "kubernetes.io/ingress-bandwidth");
    with("portMappings", json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "sctp" }]))
        .expect_error(7, "hostPort 8080/SCTP");
    with("ips", json!(["8.8.8.8"])).expect_error(7, "8.8.8.8 is no address of this node's workloads");
    let node = Sandbox {
        container: "node".into(),
        namespace: bed.name.clone(),
        arguments: sandbox.arguments.clone(),
    };
    run(&bed, "ADD", &node).expect_error(100, "is the network namespace of the node");
    std::mem::forget(node);
    with("ips", json!(["10.244.0.77"])).expect();
    expect_one(&bed, "10.244.0.77");
}

fn expect_one(bed: &Bed, address: &str) {
    let endpoints = bed.endpoints();
    assert_eq!(endpoints.len(), 1);
    assert_eq!(endpoints[0].addresses[0].to_string(), address);
}

#[test]
#[ignore = "needs root"]
fn a_check_names_what_differs() {
    let bed = Bed::new("ae");
    let sandbox = Sandbox::new("web");
    let host = attach(&bed, &sandbox);
    let mut inside = NodeNamespace::of(sandbox.open()).unwrap();
    let link = inside.network().link("eth0").unwrap().unwrap();
    let mut config = configuration(&bed);
    config["prevResult"] = json!({
        "interfaces": [{ "name": "eth0", "sandbox": sandbox.path() }],
        "ips": [{ "address": "10.244.9.9/32", "interface": 0 }]
    });
    run_with("CHECK", Some(&sandbox), &config).expect_error(101, "no address 10.244.9.9");
    inside.network().down(link.index).unwrap();
    run(&bed, "CHECK", &sandbox).expect_error(101, "interface eth0 is down");
    inside.network().up(link.index).unwrap();
    run(&bed, "CHECK", &sandbox).expect_error(101, "no default route of V4");
    inside.network().delete_link("eth0").unwrap();
    run(&bed, "CHECK", &sandbox).expect_error(101, "there is no interface eth0");
    // What is left of the attachment is removed first.
    assert_ne!(attach(&bed, &sandbox).addresses, host.addresses);
    run(&bed, "CHECK", &sandbox).expect();
}

#[test]
#[ignore = "needs root"]
fn garbage_of_this_network_is_collected() {
    let bed = Bed::new("af");
    let [kept, gone, foreign] = ["kept", "gone", "foreign"].map(Sandbox::new);
    attach(&bed, &kept);
    attach(&bed, &gone);
    let mut other = configuration(&bed);
    other["name"] = "other".into();
    run_with("ADD", Some(&foreign), &other).expect();
    run_with("GC", None, &configuration(&bed)).expect_error(7, "cni.dev/valid-attachments is missing");
    run_with("GC", None, &with_valid(configuration(&bed), &[&kept])).expect();
    let left = eventually(|| (bed.endpoints().len() == 2).then(|| bed.endpoints()));
    let names: Vec<_> = left.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["kept", "foreign"]);
}

#[test]
#[ignore = "needs root"]
fn a_sandbox_that_disappears_without_a_deletion_frees_its_addresses() {
    let bed = Bed::new("ag");
    let sandbox = Sandbox::new("web");
    let addresses = attach(&bed, &sandbox).addresses;
    sandbox.remove();
    expect_nothing_left(&bed);
    assert!(bed.status().problems.is_empty(), "{:?}", bed.status().problems);
    let next = Sandbox::new("web");
    let mut config = configuration(&bed);
    config["runtimeConfig"] = json!({ "ips": addresses });
    assert_eq!(run_with("ADD", Some(&next), &config).expect().addresses(), addresses);
}

/// A sandbox that another plugin, such as ptp, has attached: its interface, and what that plugin printed.
fn attach_by_another_plugin(bed: &Bed, sandbox: &Sandbox, address: &str) -> serde_json::Value {
    let mut node = NodeNamespace::of(NetworkNamespace::open(&bed.name).unwrap()).unwrap();
    let host = format!("veth{}", &sandbox.container[60..]);
    let addresses = [address.parse().unwrap()];
    let plan = Plan { host: &host, addresses: &addresses, mtu: 1500, index: None, alias: None };
    let wired = node.wire(&sandbox.open(), &plan).unwrap();
    node.up(&wired).unwrap();
    json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": host }, { "name": "eth0", "sandbox": sandbox.path() }],
        "ips": [{ "address": format!("{address}/24"), "interface": 1 }],
        "dns": { "nameservers": ["10.96.0.10"] }
    })
}

#[test]
#[ignore = "needs root"]
fn behind_another_plugin_only_policy_is_added() {
    let bed = Bed::new("ah");
    bed.apply(CONNECTIONS);
    let sandboxes = ["server", "client", "other"].map(Sandbox::new);
    let mut hosts = Vec::new();
    let mut config = configuration(&bed);
    for (number, sandbox) in (7..).zip(&sandboxes) {
        let previous = attach_by_another_plugin(&bed, sandbox, &format!("10.22.0.{number}"));
        config["cniVersion"] = "1.0.0".into();
        config["prevResult"] = previous.clone();
        let added = run_with("ADD", Some(sandbox), &config).expect();
        assert_eq!(added.printed, previous, "the result is that of the other plugin");
        run_with("CHECK", Some(sandbox), &config).expect();
        hosts.push(Host { namespace: sandbox.open(), addresses: added.addresses() });
    }
    hosts[0].serve("server");
    assert_eq!(hosts[1].reaches(&hosts[0], "/"), Some(200));
    assert_eq!(hosts[2].fetch(&hosts[0], "/"), None);
    run_with("DEL", Some(&sandboxes[0]), &config).expect();
    let mut node = NodeNamespace::of(NetworkNamespace::open(&bed.name).unwrap()).unwrap();
    let pair = find_pair(&mut node, &sandboxes[0].open(), "eth0").unwrap();
    let (_, outside) = pair.expect("the other plugin deletes its interface");
    assert!(!outside.is_up, "until then nothing passes");
    assert_eq!(bed.endpoints().len(), 2);
    config["prevResult"]["ips"][0]["address"] = "10.22.0.7/24".into();
    config["prevResult"]["interfaces"][1]["sandbox"] = sandboxes[0].path().into();
    run_with("ADD", Some(&sandboxes[0]), &config).expect();
    assert_eq!(hosts[1].reaches(&hosts[0], "/"), Some(200));
}

#[test]
#[ignore = "needs root"]
fn an_address_that_another_plugin_gives_again_belongs_to_the_new_container() {
    let bed = Bed::new("ai");
    let [earlier, later] = ["server", "server"].map(Sandbox::new);
    let mut config = configuration(&bed);
    config["prevResult"] = attach_by_another_plugin(&bed, &earlier, "10.22.0.7");
    run_with("ADD", Some(&earlier), &config).expect();
    // The sandbox is gone, its deletion is lost.
    earlier.remove();
    let mut node = NodeNamespace::of(NetworkNamespace::open(&bed.name).unwrap()).unwrap();
    node.unwire(&format!("veth{}", &earlier.container[60..])).unwrap();
    config["prevResult"] = attach_by_another_plugin(&bed, &later, "10.22.0.7");
    run_with("ADD", Some(&later), &config).expect();
    expect_one(&bed, "10.22.0.7");
    run_with("DEL", Some(&earlier), &config).expect();
    expect_one(&bed, "10.22.0.7");
}

/// Attaches many sandboxes, ten at once, and prints how long each ADD took, and each step of it in the agent.
#[test]
#[ignore = "needs root"]
fn ten_sandboxes_at_once_are_attached_and_detached() {
    let bed = Bed::new("aj");
    let cpu_time = || -> Duration {
        let agent = nix::unistd::Pid::from_raw(bed.agent().cast_signed());
        nix::time::clock_getcpuclockid(agent).unwrap().now().unwrap().into()
    };
    let before = cpu_time();
    let mut times = Vec::new();
    for round in 0..10 {
        let sandboxes: Vec<_> =
            (0..10).map(|number| Sandbox::new(&format!("pod-{round}-{number}"))).collect();
        let config = configuration(&bed);
        times.extend(std::thread::scope(|scope| {
            let config = &config;
            let add = |sandbox| {
                scope.spawn(move || {
                    let begin = Instant::now();
                    run_with("ADD", Some(sandbox), config).expect();
                    begin.elapsed()
                })
            };
            let threads: Vec<_> = sandboxes.iter().map(add).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<Duration>>()
        }));
        assert_eq!(bed.endpoints().len(), 10);
        let deletions: Vec<_> = sandboxes.iter().map(|one| start("DEL", Some(one), &config)).collect();
        deletions.into_iter().for_each(|mut one| assert!(one.wait().unwrap().success()));
    }
    expect_nothing_left(&bed);
    let steps = steps(&bed.log());
    let spent = (cpu_time() - before).as_secs_f64() * 1000.0 / times.len() as f64;
    println!("CPU time of the agent for an ADD and a DEL: {spent:.1} ms");
    report("ten at once", times);
    for (step, times) in steps {
        report(&format!("ten at once, {step}"), times);
    }
    let alone = (0..50).map(|number| {
        let sandbox = Sandbox::new(&format!("alone-{number}"));
        let begin = Instant::now();
        run(&bed, "ADD", &sandbox).expect();
        let took = begin.elapsed();
        run(&bed, "DEL", &sandbox).expect();
        took
    });
    report("one at a time", alone.collect());
}

/// How long each step of each attachment took, as the agent logged it; `agent` is the sum.
fn steps(log: &str) -> BTreeMap<String, Vec<Duration>> {
    let mut steps: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    let millis = |text: &str| Duration::from_secs_f64(text.parse::<f64>().unwrap() / 1000.0);
    for line in log.lines().filter(|line| line.contains(" is attached as ")) {
        let (sum, parts) = line.rsplit_once(" in ").unwrap().1.split_once(" ms: ").unwrap();
        steps.entry("agent".to_owned()).or_default().push(millis(sum));
        for (number, part) in parts.split(", ").enumerate() {
            let (step, took) = part.rsplit_once(' ').unwrap();
            steps.entry(format!("step {number} {step}")).or_default().push(millis(took));
        }
    }
    steps
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!("CNI ADD, {what}: p50 {:.1} ms, p99 {:.1} ms, {} in all", at(50), at(99), times.len());
}
