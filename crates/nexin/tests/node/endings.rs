//! Tests of the removal of workloads: many at once, and all their processes.

use crate::bed::{Bed, eventually, expect_usual_grace_periods, wanted};
use api::{ApiRequest, Client};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
#[ignore = "needs root"]
fn a_hundred_workloads_are_removed_at_once() {
    const COUNT: usize = 100;
    let bed = Bed::new("ea");
    for number in 0..COUNT {
        let _: api::view::EndpointSummary =
            bed.ask(ApiRequest::CreateWorkload(wanted(&format!("w{number}"))));
    }
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..COUNT {
            let bed = &bed;
            scope.spawn(move || bed.remove(&format!("w{number}")).unwrap());
        }
    });
    let took = begun.elapsed();
    println!("{COUNT} workloads ended in {took:?}");
    assert_eq!((bed.status().endpoints, bed.namespaces().len()), (0, 0));
    assert!(!bed.links().iter().any(|link| link.starts_with("nx")), "{:?}", bed.links());
    assert!(took < Duration::from_secs(2), "{took:?}");
    expect_usual_grace_periods();
    assert!(!bed.directory.join("run/hurry").exists());
}

#[test]
#[ignore = "needs root"]
fn an_agent_that_ends_while_it_creates_workloads_resets_the_grace_periods() {
    let mut bed = Bed::idle("eh", &json!({}));
    for round in 0..10 {
        bed.start();
        std::thread::scope(|scope| {
            for number in 0..20 {
                let bed = &bed;
                // Those fail that the agent has not created when it ends.
                scope.spawn(move || bed.try_workload(&format!("w{round}-{number}")));
            }
            std::thread::sleep(Duration::from_millis(20 + 3 * round));
            kill_process(Pid::from_raw(bed.agent().cast_signed()).unwrap(), Signal::TERM).unwrap();
        });
        bed.expect_end();
        assert!(!bed.path("run/hurry").exists(), "round {round}: the agent left the setting");
    }
    expect_usual_grace_periods();
}

#[test]
#[ignore = "needs root"]
fn one_of_many_that_cannot_be_removed_is_named_and_the_others_are_removed() {
    let bed = Bed::new("eb");
    bed.workload("a");
    assert!(bed.remove("b").unwrap_err().to_string().contains("there is no workload default/b"));
    let results: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..6).map(|_| scope.spawn(|| bed.remove("a"))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert_eq!(bed.status().endpoints, 0);
}

/// Whether a process runs.
fn runs(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

/// Starts a workload whose command starts a process that leaves its network namespace and session; returns its process ID.
fn escape(bed: &Bed, name: &str, more: &str) -> (std::process::Child, u32) {
    let script = format!("setsid unshare -n sleep 300 & echo $!; {more}");
    let mut command = bed.command(&["run", "--name", name, "--", "sh", "-c", &script]);
    let mut runner = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(runner.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (runner, line.trim().parse().unwrap())
}

#[test]
#[ignore = "needs root"]
fn a_process_that_left_the_network_namespace_of_its_workload_ends_with_it() {
    let bed = Bed::new("ec");
    let (mut runner, escaped) = escape(&bed, "a", "sleep 0.3");
    assert!(runs(escaped));
    assert!(runner.wait().unwrap().success());
    assert!(eventually(|| (!runs(escaped)).then_some(())).is_some(), "its command ended");
    let (mut runner, escaped) = escape(&bed, "b", "sleep 300");
    runner.kill().unwrap();
    runner.wait().unwrap();
    assert!(eventually(|| (!runs(escaped)).then_some(())).is_some(), "its runner was killed");
    let (mut runner, escaped) = escape(&bed, "c", "sleep 300");
    bed.remove("c").unwrap();
    assert!(eventually(|| (!runs(escaped)).then_some(())).is_some(), "it was removed");
    runner.wait().unwrap();
    let (_, said) = bed.says(&["endpoint", "list"]);
    assert!(!said.contains("default"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn processes_of_exec_end_with_the_workload() {
    let bed = Bed::new("ed");
    let mut runner = bed.command(&["run", "--name", "a", "--", "sleep", "300"]).spawn().unwrap();
    assert!(eventually(|| (bed.status().endpoints == 1).then_some(())).is_some());
    let script = "unshare -n sleep 300 & echo $!; sleep 300";
    let mut command = bed.command(&["exec", "a", "--", "sh", "-c", script]);
    let mut inside = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(inside.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let escaped: u32 = line.trim().parse().unwrap();
    assert!(runs(escaped));
    bed.remove("a").unwrap();
    assert!(eventually(|| (!runs(escaped)).then_some(())).is_some());
    inside.wait().unwrap();
    runner.wait().unwrap();
}

/// The state in a log, as earlier releases stored it in one file.
fn state_of_earlier_release(log: &Path) -> Value {
    let bytes = std::fs::read(log).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut texts: BTreeMap<String, Value> = BTreeMap::new();
    // A header, and records of entries until zeros follow.
    let mut at = 32;
    while number(at) > 0 {
        let end = at + 8 + number(at);
        at += 8;
        while at < end {
            let (key, text) = (at + 9 + number(at + 1), at + 9 + number(at + 1) + number(at + 5));
            let name = String::from_utf8(bytes[at + 9..key].to_vec()).unwrap();
            match bytes[at] {
                b'+' => _ = texts.insert(name, serde_json::from_slice(&bytes[key..text]).unwrap()),
                _ => _ = texts.remove(&name),
            }
            at = text;
        }
    }
    let of = |prefix: &'static str| {
        texts.iter().filter_map(move |(key, text)| Some((key.strip_prefix(prefix)?, text)))
    };
    let mut state = texts["numbers"].clone();
    state["workloads"] = of("workload/").map(|(_, workload)| workload.clone()).collect();
    let identity = |(number, labels): (&str, &Value)| json!([str::parse::<u64>(number).unwrap(), labels]);
    state["identities"] = of("identity/").map(identity).collect();
    state["services"] =
        Value::Object(of("service/").map(|(name, list)| (name.into(), list.clone())).collect());
    state
}

#[test]
#[ignore = "needs root"]
fn without_a_free_identity_a_workload_is_refused_and_nothing_changes() {
    let mut bed = Bed::new("ef");
    bed.workload("server");
    bed.kill();
    // The state as an earlier release stored it, which the agent takes over.
    let mut state = state_of_earlier_release(&bed.directory.join("run/state.log"));
    let identities = state["identities"].as_array_mut().unwrap();
    let known: Vec<u64> = identities.iter().map(|identity| identity[0].as_u64().unwrap()).collect();
    for number in (256..65_536u64).filter(|number| !known.contains(number)) {
        identities.push(json!([number, [["k8s", "number", number.to_string()]]]));
    }
    let file = bed.directory.join("run/state.json");
    std::fs::write(&file, state.to_string()).unwrap();
    bed.start();
    for _ in 0..2 {
        let (code, said) = bed.says(&["run", "--name", "other", "--", "true"]);
        assert!(code == Some(1) && said.contains("no identity is left") && said.contains("65280"), "{said}");
        assert_eq!((bed.status().endpoints, bed.namespaces().len()), (1, 1));
        assert_eq!(bed.links().iter().filter(|link| link.starts_with("nx")).count(), 1);
    }
    let twin = api::WorkloadSpec { name: "twin".into(), ..wanted("server") };
    let _: api::view::EndpointSummary = bed.ask(ApiRequest::CreateWorkload(twin));
    assert_eq!(
        (bed.status().endpoints, bed.status().problems),
        (2, vec![]),
        "it has the identity of another"
    );
    assert!(!file.exists(), "the log has replaced it");
}

#[test]
#[ignore = "needs root"]
fn a_workload_that_does_not_exist_is_not_found() {
    let bed = Bed::new("ee");
    let request = ApiRequest::RemoveWorkload { namespace: "default".into(), name: "a".into() };
    let refused = Client::connect(&bed.socket()).unwrap().call::<serde::de::IgnoredAny>(request);
    assert!(refused.unwrap_err().to_string().contains("no workload default/a"));
}
