//! Random CiliumNetworkPolicies and CiliumClusterwideNetworkPolicies.

use super::peers::{self, Way};
use super::selectors::subjects;
use super::{document, some, traffic};
use policy::generate::Random;
use serde_json::{Map, Value, json};

const API_VERSION: &str = "cilium.io/v2";

/// A policy of a namespace.
pub(super) fn namespaced(random: &mut Random, name: &str) -> Value {
    let namespace = random.pick(&["x", "x", "y", "z"]);
    let specs = specs(random, |random, spec| {
        spec.insert("endpointSelector".into(), subjects(random));
        true
    });
    dressed("CiliumNetworkPolicy", name, Some(namespace), specs)
}

/// A clusterwide policy, for workloads or nodes.
pub(super) fn clusterwide(random: &mut Random, name: &str) -> Value {
    let specs = specs(random, |random, spec| {
        let is_about_nodes = random.chance(40);
        match is_about_nodes {
            true => spec.insert("nodeSelector".into(), peers::nodes(random)),
            false => spec.insert("endpointSelector".into(), subjects(random)),
        };
        !is_about_nodes
    });
    dressed("CiliumClusterwideNetworkPolicy", name, None, specs)
}

fn dressed(kind: &str, name: &str, namespace: Option<&str>, mut specs: Vec<Value>) -> Value {
    let mut value = document(API_VERSION, kind, name, namespace, Value::Null);
    let fields = value.as_object_mut().expect("a document is an object");
    if specs.len() == 1 {
        fields.insert("spec".into(), specs.remove(0));
    } else {
        fields.remove("spec");
        fields.insert("specs".into(), specs.into());
    }
    value
}

/// One spec or two; the caller writes the subject, and decides whether HTTP rules are allowed.
fn specs(
    random: &mut Random,
    mut subject: impl FnMut(&mut Random, &mut Map<String, Value>) -> bool,
) -> Vec<Value> {
    let count = if random.chance(85) { 1 } else { 2 };
    let spec = |_| {
        let mut spec = Map::new();
        let http = subject(random, &mut spec);
        sections(random, &mut spec, http);
        if random.chance(25) {
            spec.insert("enableDefaultDeny".into(), default_deny(random));
        }
        spec.into()
    };
    (0..count).map(spec).collect()
}

fn default_deny(random: &mut Random) -> Value {
    let mut asked = Map::new();
    for direction in ["ingress", "egress"] {
        if random.chance(70) {
            asked.insert(direction.into(), random.chance(40).into());
        }
    }
    asked.into()
}

/// Some of the four lists of rules, at least one.
fn sections(random: &mut Random, spec: &mut Map<String, Value>, http: bool) {
    let all = [
        ("ingress", false, false),
        ("egress", true, false),
        ("ingressDeny", false, true),
        ("egressDeny", true, true),
    ];
    let first = random.below(all.len());
    for (at, (name, is_egress, denies)) in all.into_iter().enumerate() {
        let percent = if denies { 12 } else { 40 };
        if at != first && !random.chance(percent) {
            continue;
        }
        let way = Way { is_egress, denies };
        let rules = some(random, 2, |random| rule(random, way, http && !denies));
        spec.insert(name.into(), rules.into());
    }
}

/// A rule; sometimes an empty one, which only turns default deny on.
fn rule(random: &mut Random, way: Way, http: bool) -> Value {
    if random.chance(5) {
        return json!({});
    }
    let mut rule = peers::field(random, way);
    rule.extend(traffic::field(random, http));
    rule.into()
}
