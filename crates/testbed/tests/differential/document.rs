//! Reduces a difference between engines, and writes the smallest PolicyTest that still shows it.

use crate::case::{self, Case, differs, wanted};
use crate::host_network;
use crate::objects;
use crate::policies::manifests;
use crate::writable::writable;
use crate::yaml;
use datapath::native::Tables;
use manifest::TransportProtocol;
use manifest::test::{Expect, Probe, ProbeEnd, ProbeTraffic, TestStep};
use policy::generate::{self, shrink};
use policy::rule::{EnforcementMode, Family};
use serde_json::{Map, Value, json};
use testbed::{CompiledRows, Crossing, Engine, EngineAnswer, Kernel, Model, TestState, WrittenEnd, worst};

/// Panics with the smallest test that still shows the difference between the model and an engine.
pub(crate) fn fail(case: &Case, probe: &Probe, engine: &str) -> ! {
    let smaller = |case: &Case| Case { world: writable(&case.world), ..case.clone() };
    let of_verdicts = |case: &Case| {
        answers(&case.state(), probe, engine).is_some_and(|(_, wanted, got)| wanted.verdict != got.verdict)
    };
    // A test shows verdicts, so only where no verdict differs a difference in rules counts.
    let verdicts_differ = of_verdicts(case);
    let shows = |case: &Case| match verdicts_differ {
        true => of_verdicts(case),
        false => answers(&case.state(), probe, engine).is_some_and(|(_, wanted, got)| differs(&wanted, &got)),
    };
    let written = smaller(case);
    let (small, can_be_written) = if shows(&written) { (written, true) } else { (case.clone(), false) };
    let world = shrink(&small.world, |world| shows(&Case { world: world.clone(), ..small.clone() }));
    let mut small = Case { world, ..small };
    for at in 0..small.present.len() {
        let mut without = small.clone();
        without.present[at] = false;
        if shows(&without) {
            small = without;
        }
    }
    let Some((crossing, wanted, got)) = answers(&small.state(), probe, engine) else {
        panic!(
            "the difference shows only after changes, not from a fresh start: {probe:?}\n{:#?}",
            case.world
        )
    };
    let difference = case::difference(&crossing, &wanted, (engine, &got));
    if !can_be_written {
        let policies = &small.world.policies;
        panic!("{difference}\nwith policies that no manifest can express:\n{policies:#?}");
    }
    panic!(
        "{difference}\nin this test:\n{}",
        yaml::text(&document(&small, &[(probe.clone(), wanted.verdict)]))
    );
}

/// The answers of the model and the engine to the crossing of a probe on which they differ, or to the first; none where
/// an end of the probe is not there.
fn answers(state: &TestState, probe: &Probe, engine: &str) -> Option<(Crossing, EngineAnswer, EngineAnswer)> {
    let crossings = state.crossings(probe).ok()?;
    let mut other: Box<dyn Engine> = match engine {
        "kernel" => Box::new(CompiledRows::new(Kernel::open().expect("the kernel engine was opened before"))),
        _ => Box::new(CompiledRows::new(Tables::new())),
    };
    let mut model = Model::default();
    model.prepare(state).expect("the engine took this state before");
    other.prepare(state).expect("the engine took this state before");
    let mut ask = |crossing: Crossing| {
        let got = other.ask(&crossing).expect("the engine answered this before");
        (crossing.clone(), wanted(&mut model, &crossing), got)
    };
    let answers: Vec<_> = crossings.into_iter().map(&mut ask).collect();
    answers.iter().find(|(_, wanted, got)| differs(wanted, got)).or(answers.first()).cloned()
}

/// Writes a random world as a manifest, reads it again, and compares the model's answers. Returns the number of probes.
pub(crate) fn check(seed: u64) -> usize {
    let case = host_network::some_sharers(Case::of(writable(&generate::world(seed))), seed);
    let state = case.state();
    let mut model = Model::default();
    model.prepare(&state).unwrap();
    let mut probes = Vec::new();
    for probe in case::probes(&case.world, seed, 30) {
        let answer = worst(model.ask_all(&state.crossings(&probe).unwrap())).unwrap();
        probes.push((probe, answer.verdict));
    }
    let text = yaml::text(&document(&case, &probes));
    let mut load = |path: &str| panic!("the document names no file, and certainly not {path}");
    let mut tests = match manifest::test::parse("written.yaml", &text, &mut load) {
        Ok(tests) => tests.documents,
        Err(findings) => panic!("{findings:#?}\n{text}"),
    };
    let test = tests.remove(0).test.unwrap_or_else(|findings| panic!("{findings:#?}\n{text}"));
    let step: &TestStep = &test.steps[0];
    let mut state = TestState::default();
    state.take(step).unwrap();
    model.prepare(&state).unwrap();
    for probe in &step.probes {
        let answer = worst(model.ask_all(&state.crossings(probe).unwrap())).unwrap();
        assert_eq!(Some(answer.verdict), probe.expect, "line {}: {answer}, in\n{text}", probe.line);
    }
    step.probes.len()
}

/// A case with a writable world as a PolicyTest.
fn document(case: &Case, probes: &[(Probe, Expect)]) -> Value {
    let named = |name: &str| {
        probes
            .iter()
            .any(|(probe, _)| [&probe.from, &probe.to].contains(&&ProbeEnd::External(name.to_owned())))
    };
    let mut value = surroundings(case, named);
    let policies = value["spec"]["policies"].as_array_mut().expect("there is a list of manifests");
    policies.extend(case.world.policies.iter().flat_map(manifests));
    value["spec"]["probes"] = probes.iter().map(|(probe, expect)| written(probe, *expect)).collect();
    value
}

/// The case without its policies and probes, as a PolicyTest, with only the wanted hosts outside.
pub(crate) fn surroundings(case: &Case, wanted: impl Fn(&str) -> bool) -> Value {
    let step = case.step();
    let objects = objects::of(&case.world);
    let workloads = step.workloads.iter().map(|workload| {
        let ports = workload.named_ports.iter();
        let ports =
            ports.map(|port| (port.name.clone(), format!("{}/{}", port.port, name_of(port.protocol)).into()));
        let mut value = json!({
            "name": workload.name.name,
            "namespace": workload.name.namespace,
            "labels": workload.labels,
            "namedPorts": Map::from_iter(ports),
        });
        host_network::write(workload, &mut value);
        value
    });
    let namespaces = step.namespaces.iter().map(|one| json!({"name": one.name, "labels": one.labels}));
    let externals = step
        .externals
        .iter()
        .filter(|one| wanted(&one.name))
        .map(|one| json!({"name": one.name, "ips": one.addresses, "names": step.names[&one.name]}));
    let nodes = step.nodes.iter().map(|one| {
        let mut node = json!({"name": one.name, "labels": one.labels});
        if !one.addresses.is_empty() {
            node["ips"] = json!(one.addresses);
        }
        node
    });
    let mode = match case.world.mode {
        EnforcementMode::Default => "default",
        EnforcementMode::Always => "always",
        EnforcementMode::Never => "never",
    };
    json!({
        "apiVersion": "nexin.io/v1alpha1",
        "kind": "PolicyTest",
        "metadata": {"name": "found-by-chance"},
        "spec": {
            "namespaces": namespaces.collect::<Vec<_>>(),
            "workloads": workloads.collect::<Vec<_>>(),
            "externals": externals.collect::<Vec<_>>(),
            "policyEnforcement": mode,
            "policyAuditMode": case.world.audit,
            "nodes": nodes.collect::<Vec<_>>(),
            "policies": objects.iter().map(objects::manifest).collect::<Vec<_>>(),
        },
    })
}

/// A probe as a PolicyTest writes it.
pub(crate) fn written(probe: &Probe, expect: Expect) -> Value {
    let party = |party: &ProbeEnd| WrittenEnd(party.clone()).to_string();
    let mut value = json!({"from": party(&probe.from), "to": party(&probe.to)});
    match &probe.traffic {
        ProbeTraffic::Connect { protocol, port } => {
            value["port"] = (*port).into();
            value["protocol"] = name_of(*protocol).into();
        }
        ProbeTraffic::Icmp { kind } => value["icmp"] = json!({"type": kind}),
        ProbeTraffic::Http { port, request } => {
            value["port"] = (*port).into();
            value["http"] = json!({"method": request.method, "path": request.path, "host": request.host});
            let headers: Map<String, Value> =
                request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
            if !headers.is_empty() {
                value["http"]["headers"] = headers.into();
            }
        }
    }
    if let Some(family) = probe.family {
        value["family"] = if family == Family::Ipv4 { "IPv4" } else { "IPv6" }.into();
    }
    value["expect"] = testbed::Judged(expect).to_string().into();
    value
}

fn name_of(protocol: TransportProtocol) -> &'static str {
    match protocol {
        TransportProtocol::Tcp => "TCP",
        TransportProtocol::Udp => "UDP",
        TransportProtocol::Sctp => "SCTP",
    }
}
