//! Tests that `explain` agrees with the expected verdicts of all example probes.

use super::Scenario;
use manifest::TransportProtocol;
use manifest::test::{Expect, HttpRequest, Probe, ProbeEnd, ProbeTraffic};
use policy::rule::Family;
use std::fs;
use std::path::Path;

#[test]
fn explain_agrees_with_the_probes_of_the_examples() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut asked = 0;
    for directory in
        fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for path in fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.display().to_string();
            if name.ends_with(".test.yaml") {
                let text = fs::read_to_string(&path).unwrap();
                let mut load = |path: &str| fs::read_to_string(directory.join(path));
                for document in manifest::test::parse(&name, &text, &mut load).unwrap().documents {
                    asked += document.test.map_or(0, |test| check(&format!("{name} ({})", test.name), test));
                }
            }
        }
    }
    assert!(asked > 150, "{asked}");
}

/// Checks the probes of a test, step by step; returns their number.
fn check(name: &str, test: manifest::test::PolicyTest) -> usize {
    let (mut scenario, mut asked) = (Scenario::default(), 0);
    for step in test.steps {
        let probes = step.probes.clone();
        scenario.step(step);
        for probe in probes {
            let Some(expect) = probe.expect else { continue };
            let expected = match expect {
                Expect::Allow => "allow",
                Expect::Drop => "drop",
                Expect::Deny => "deny",
            };
            let place = format!("{name}, line {}", probe.line);
            let explanation = agent::explain::explain(&scenario, &question(probe));
            let explanation = explanation.unwrap_or_else(|failure| panic!("{place}: {failure}"));
            assert_eq!(explanation.verdict, expected, "{place}: {explanation:?}");
            asked += 1;
        }
    }
    asked
}

fn question(probe: Probe) -> api::ExplainProbe {
    let (protocol, port, http) = match probe.traffic {
        ProbeTraffic::Connect { protocol: TransportProtocol::Tcp, port } => ("TCP", port, None),
        ProbeTraffic::Connect { protocol: TransportProtocol::Udp, port } => ("UDP", port, None),
        ProbeTraffic::Connect { protocol: TransportProtocol::Sctp, port } => ("SCTP", port, None),
        ProbeTraffic::Http { port, request } => ("TCP", port, Some(http(request))),
        ProbeTraffic::Icmp { kind } if probe.family == Some(Family::Ipv6) => {
            ("ICMPv6", u16::from(kind), None)
        }
        ProbeTraffic::Icmp { kind } => ("ICMP", u16::from(kind), None),
    };
    let family = probe.family.map(|family| if family == Family::Ipv4 { "IPv4" } else { "IPv6" }.to_owned());
    let (from, to) = (party(probe.from), party(probe.to));
    api::ExplainProbe { from, to, port, port_name: None, protocol: protocol.into(), family, http }
}

fn party(party: ProbeEnd) -> String {
    match party {
        ProbeEnd::Workload(name) => format!("{}/{}", name.namespace, name.name),
        ProbeEnd::External(name) | ProbeEnd::Node(name) => name,
        ProbeEnd::Address(address) => address.to_string(),
        ProbeEnd::Host => "host".to_owned(),
    }
}

fn http(request: HttpRequest) -> api::HttpProbe {
    let HttpRequest { method, path, host, headers } = request;
    api::HttpProbe { method, path, host: host.unwrap_or_default(), headers }
}
