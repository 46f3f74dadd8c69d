//! Random NetworkPolicies.

use super::peers::{BLOCKS, inner};
use super::selectors::{NAMESPACES, WORKLOADS, plain};
use super::traffic::{NAMES, PORTS};
use super::{document, some};
use policy::generate::Random;
use serde_json::{Map, Value, json};

/// A policy of a namespace.
pub(super) fn document_of(random: &mut Random, name: &str) -> Value {
    let mut spec = json!({"podSelector": plain(random, WORKLOADS)});
    match random.below(8) {
        0..2 => {}
        2..4 => spec["policyTypes"] = json!(["Ingress"]),
        4..6 => spec["policyTypes"] = json!(["Egress"]),
        _ => spec["policyTypes"] = json!(["Ingress", "Egress"]),
    }
    for (section, side) in [("ingress", "from"), ("egress", "to")] {
        if random.chance(60) {
            let rules = if random.chance(10) { vec![] } else { some(random, 2, |random| rule(random, side)) };
            spec[section] = rules.into();
        }
    }
    let namespace = random.pick(&["x", "x", "y", "z"]);
    document("networking.k8s.io/v1", "NetworkPolicy", name, Some(namespace), spec)
}

fn rule(random: &mut Random, side: &str) -> Value {
    let mut rule = Map::new();
    if random.chance(80) {
        rule.insert(side.into(), some(random, 2, peer).into());
    } else if random.chance(20) {
        rule.insert(side.into(), json!([]));
    }
    if random.chance(60) {
        rule.insert("ports".into(), some(random, 2, port).into());
    }
    rule.into()
}

fn peer(random: &mut Random) -> Value {
    match random.below(10) {
        0..3 => json!({"podSelector": plain(random, WORKLOADS)}),
        3..6 => json!({"namespaceSelector": plain(random, NAMESPACES)}),
        6..8 => {
            json!({"namespaceSelector": plain(random, NAMESPACES), "podSelector": plain(random, WORKLOADS)})
        }
        _ => {
            let block = random.pick(&BLOCKS);
            let except: Vec<Value> = inner(block).filter(|_| random.chance(30)).map(Value::from).collect();
            let mut value = json!({"cidr": block});
            if !except.is_empty() {
                value["except"] = except.into();
            }
            json!({"ipBlock": value})
        }
    }
}

fn port(random: &mut Random) -> Value {
    let mut value = match random.below(8) {
        0 => json!({}),
        1..3 => json!({"port": random.pick(NAMES)}),
        3 => {
            let (one, two) = (random.pick(PORTS), random.pick(PORTS));
            json!({"port": one.min(two), "endPort": one.max(two)})
        }
        _ => json!({"port": random.pick(PORTS)}),
    };
    let protocol = random.pick(&["", "TCP", "UDP", "SCTP"]);
    if !protocol.is_empty() {
        value["protocol"] = protocol.into();
    }
    value
}
