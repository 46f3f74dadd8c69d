//! Random selectors of labels, with every operator and every way to write a key.

use policy::generate::Random;
use serde_json::{Map, Value, json};

/// Keys of labels and their values, as a world's workloads have them.
pub(super) const WORKLOADS: &[(&str, &[&str])] =
    &[("app", &["web", "db", "cache"]), ("pod", &["a", "b", "c"]), ("env", &["prod", "dev"])];
/// Keys and values of labels of nodes, of namespaces, and of groups and services.
pub(super) const NODES: &[(&str, &[&str])] = &[("zone", &["a", "b"]), ("role", &["worker", "gateway"])];
pub(super) const NAMESPACES: &[(&str, &[&str])] =
    &[("tier", &["front", "back"]), ("kubernetes.io/metadata.name", &["x", "y", "nowhere"])];
pub(super) const OBJECTS: &[(&str, &[&str])] = &[("tier", &["front", "back"])];

/// What a key may begin with, where it names a source.
pub(super) const PLAIN: &[&str] = &[""];
pub(super) const SOURCED: &[&str] = &["", "", "", "k8s:", "any:"];

/// A selector that is being written.
#[derive(Default)]
pub(super) struct Writing {
    labels: Map<String, Value>,
    expressions: Vec<Value>,
}

impl Writing {
    /// None to two requirements of labels of the pool.
    pub(super) fn of(random: &mut Random, pool: &[(&str, &[&str])], prefixes: &[&str]) -> Self {
        let mut writing = Self::default();
        for _ in 0..random.pick(&[0, 1, 1, 1, 2]) {
            let (name, values) = random.pick(pool);
            let key = format!("{}{name}", random.pick(prefixes));
            writing.require(random, &key, values);
        }
        writing
    }

    /// A requirement of one key.
    pub(super) fn require(&mut self, random: &mut Random, key: &str, values: &[&str]) {
        let value = random.pick(values);
        let operator = match random.below(6) {
            0..2 => return drop(self.labels.insert(key.to_owned(), value.into())),
            2 => "In",
            3 => "NotIn",
            4 => "Exists",
            _ => "DoesNotExist",
        };
        let mut expression = json!({"key": key, "operator": operator});
        if operator.ends_with("In") {
            let mut listed = vec![value];
            listed.extend(random.chance(50).then(|| random.pick(values)).filter(|other| *other != value));
            expression["values"] = listed.into();
        }
        self.expressions.push(expression);
    }

    /// The selector.
    pub(super) fn finish(self) -> Value {
        let mut selector = json!({});
        if !self.labels.is_empty() {
            selector["matchLabels"] = self.labels.into();
        }
        if !self.expressions.is_empty() {
            selector["matchExpressions"] = self.expressions.into();
        }
        selector
    }
}

/// A selector of labels of the pool, whose keys name no source.
pub(super) fn plain(random: &mut Random, pool: &[(&str, &[&str])]) -> Value {
    Writing::of(random, pool, PLAIN).finish()
}

/// A selector of peers of the Cilium kinds: by labels, by namespace in every way to say it, or by a reserved label.
pub(super) fn endpoints(random: &mut Random) -> Value {
    if random.chance(10) {
        let reserved =
            ["world", "world-ipv4", "world-ipv6", "host", "remote-node", "kube-apiserver", "health"];
        let key = format!("reserved:{}", random.pick(&reserved));
        if random.chance(20) {
            let operator = random.pick(&["Exists", "DoesNotExist"]);
            return json!({"matchExpressions": [{"key": key, "operator": operator}]});
        }
        return json!({"matchLabels": {key: ""}});
    }
    let mut writing = Writing::of(random, WORKLOADS, SOURCED);
    let prefix = random.pick(SOURCED);
    match random.below(10) {
        0..2 => {
            writing.require(random, &format!("{prefix}io.kubernetes.pod.namespace"), super::NAMESPACES);
        }
        2..4 => {
            let (name, values) = random.pick(NAMESPACES);
            writing.require(random, &format!("{prefix}io.cilium.k8s.namespace.labels.{name}"), values);
        }
        4 if random.chance(40) => {
            writing.require(random, &format!("{prefix}io.cilium.k8s.policy.cluster"), &["default", "other"]);
        }
        5 if random.chance(40) => {
            writing.require(random, &format!("{prefix}io.cilium.k8s.policy.serviceaccount"), &["robot"]);
        }
        _ => {}
    }
    writing.finish()
}

/// A selector of subjects of the Cilium kinds.
pub(super) fn subjects(random: &mut Random) -> Value {
    let mut writing = Writing::of(random, WORKLOADS, SOURCED);
    if random.chance(8) {
        let prefix = random.pick(SOURCED);
        match random.below(2) {
            0 => writing.require(random, &format!("{prefix}io.kubernetes.pod.namespace"), super::NAMESPACES),
            _ => {
                let (name, values) = random.pick(NAMESPACES);
                writing.require(random, &format!("{prefix}io.cilium.k8s.namespace.labels.{name}"), values);
            }
        }
    }
    writing.finish()
}
