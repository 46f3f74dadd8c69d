//! Random traffic of the Cilium kinds: ports in every form, requests, and ICMP.

use super::{object, some};
use policy::generate::Random;
use serde_json::{Map, Value, json};

/// The ports of rules; probes use these and their neighbours.
pub(super) const PORTS: &[u16] = &[53, 79, 80, 80, 81, 443, 444, 8080, 8085, 65535];
pub(super) const NAMES: &[&str] = &["web", "admin", "none"];

/// The field of a rule that names traffic; none for all traffic.
pub(super) fn field(random: &mut Random, http: bool) -> Map<String, Value> {
    match random.below(20) {
        0..6 => Map::new(),
        6 if random.chance(30) => object([("toPorts", json!([]))]),
        6..9 => object([("icmps", some(random, 2, icmp).into())]),
        _ => object([("toPorts", some(random, 2, |random| ports(random, http)).into())]),
    }
}

fn ports(random: &mut Random, http: bool) -> Value {
    let with_requests = http && random.chance(30);
    let mut value = json!({"ports": some(random, 2, |random| port(random, with_requests))});
    if with_requests {
        value["rules"] = json!({"http": some(random, 2, request)});
    }
    value
}

fn port(random: &mut Random, with_requests: bool) -> Value {
    let mut value = match random.below(12) {
        0 if !with_requests => json!({"port": "0"}),
        0..3 => json!({"port": random.pick(NAMES)}),
        3..5 => {
            let (one, two) = (random.pick(PORTS), random.pick(PORTS));
            json!({"port": one.min(two).to_string(), "endPort": one.max(two)})
        }
        5 => json!({"port": random.pick(PORTS).to_string(), "endPort": 0}),
        _ => json!({"port": random.pick(PORTS).to_string()}),
    };
    let protocols: &[&str] = if with_requests { &["TCP"] } else { &["TCP", "TCP", "UDP", "SCTP", "ANY", ""] };
    let protocol = random.pick(protocols);
    if !protocol.is_empty() {
        value["protocol"] = protocol.into();
    }
    value
}

fn request(random: &mut Random) -> Value {
    let mut fields = Map::new();
    let pools: [(&str, &[&str]); 3] = [
        ("method", &["GET", "GET|HEAD", "P.*"]),
        ("path", &["/public", "/public/?", "/.*"]),
        ("host", &["app1-service", ".*\\.org"]),
    ];
    for (name, pool) in pools {
        if random.chance(50) {
            fields.insert(name.into(), random.pick(pool).into());
        }
    }
    if random.chance(20) {
        fields.insert("headers".into(), json!(["X-Token: 42"]));
    }
    fields.into()
}

fn icmp(random: &mut Random) -> Value {
    json!({"fields": some(random, 2, icmp_field)})
}

fn icmp_field(random: &mut Random) -> Value {
    let (family, kinds): (&str, &[Value]) = match random.below(3) {
        0 => ("IPv4", &[json!(8), json!(0), json!("EchoRequest"), json!("DestinationUnreachable")]),
        1 => ("IPv6", &[json!(128), json!(2), json!("EchoRequest"), json!("PacketTooBig")]),
        _ => return json!({"type": random.pick(&[8, 3, 0])}),
    };
    json!({"family": family, "type": kinds[random.below(kinds.len())]})
}
