//! Random policy documents of every kind as people write them: all fields, and all spellings of each.

mod cilium;
mod kubernetes;
mod peers;
mod selectors;
mod tiered;
mod traffic;

use policy::generate::Random;
use serde_json::{Map, Value, json};

pub(super) use tiered::as_cluster_policies;

/// The namespaces that exist, and one that does not.
const NAMESPACES: &[&str] = &["x", "x", "y", "z", "nowhere"];

/// One to five documents. Names and priorities differ, so that no document replaces another.
pub(super) fn documents(random: &mut Random) -> Vec<Value> {
    let count = 1 + random.below(5);
    // Only tiers without other policies show what passes all of them.
    let is_tiered_alone = random.chance(12);
    let priorities = Priorities::new(random);
    let document = |at: usize| {
        let name = format!("p{at}");
        match random.below(20) {
            _ if is_tiered_alone => tiered::document(random, &name, priorities.of(at)),
            0..7 => cilium::namespaced(random, &name),
            7..12 => cilium::clusterwide(random, &name),
            12..16 => kubernetes::document_of(random, &name),
            _ => tiered::document(random, &name, priorities.of(at)),
        }
    };
    let mut documents: Vec<Value> = (0..count).map(document).collect();
    // There is one such policy in a cluster.
    let is_baseline = |document: &Value| document["kind"] == "BaselineAdminNetworkPolicy";
    let mut seen = false;
    documents.retain(|one| !is_baseline(one) || !std::mem::replace(&mut seen, true));
    documents
}

/// Priorities of policies, each once: the API does not define which of two equal ones wins.
struct Priorities {
    first: usize,
    descend: bool,
}

impl Priorities {
    fn new(random: &mut Random) -> Self {
        Self { first: random.pick(&[0, 1, 10, 990]), descend: random.chance(50) }
    }

    fn of(&self, at: usize) -> usize {
        self.first + if self.descend { 9 - at } else { at }
    }
}

/// A document with its header.
fn document(api_version: &str, kind: &str, name: &str, namespace: Option<&str>, spec: Value) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
}

/// Items up to a count, each drawn anew.
fn some<T>(random: &mut Random, most: usize, mut draw: impl FnMut(&mut Random) -> T) -> Vec<T> {
    (0..1 + random.below(most)).map(|_| draw(random)).collect()
}

/// An object of these fields.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
