//! Random peers of the Cilium kinds: one of the fields that name them, and what it lists.

use super::selectors::{self, NODES, OBJECTS, PLAIN, SOURCED, Writing};
use super::{NAMESPACES, object, some};
use policy::generate::{self, Random, cidr};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// Blocks that nest around the addresses of a world, and some around the addresses that only documents use.
pub(super) static BLOCKS: LazyLock<Vec<&str>> = LazyLock::new(|| [generate::BLOCKS, MORE_BLOCKS].concat());

const MORE_BLOCKS: &[&str] =
    &["10.0.0.0/30", "10.1.2.3/32", "192.0.2.4/32", "fd00:1::/32", "2001:db8:1::9/128"];

const ENTITIES: &[&str] = &[
    "all",
    "world",
    "world",
    "cluster",
    "cluster",
    "cluster-mesh",
    "host",
    "host",
    "remote-node",
    "kube-apiserver",
    "kube-apiserver",
    "ingress",
    "health",
    "init",
    "unmanaged",
    "none",
];

/// Patterns of domain names of a world, and some that only documents use.
static DOMAINS: LazyLock<Vec<&str>> = LazyLock::new(|| [generate::DOMAINS, MORE_DOMAINS].concat());

const MORE_DOMAINS: &[&str] = &["*.com", "**.com", "WWW.Example.com"];

/// The direction of a rule, and whether it denies.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) is_egress: bool,
    pub(super) denies: bool,
}

impl Way {
    fn field(self, name: &str) -> String {
        format!("{}{name}", if self.is_egress { "to" } else { "from" })
    }
}

/// The field of a rule that names peers; none where it has no such field.
pub(super) fn field(random: &mut Random, way: Way) -> Map<String, Value> {
    let goes_out = way.is_egress;
    let (name, value): (&str, Vec<Value>) = match random.below(40) {
        0..4 => return Map::new(),
        4 => (random.pick(&["Endpoints", "CIDR", "Entities", "CIDRSet"]), vec![]),
        5..14 => ("Endpoints", some(random, 2, selectors::endpoints)),
        14..18 => ("CIDR", some(random, 2, |random| random.pick(&BLOCKS).into())),
        18..22 => ("CIDRSet", some(random, 2, block)),
        22..25 => ("CIDRSet", some(random, 2, group)),
        25..31 => ("Entities", some(random, 2, |random| random.pick(ENTITIES).into())),
        31..34 => ("Nodes", some(random, 2, nodes)),
        34..37 if goes_out => ("Services", some(random, 2, service)),
        37.. if goes_out && !way.denies => ("FQDNs", some(random, 2, domain)),
        _ => ("Endpoints", some(random, 1, selectors::endpoints)),
    };
    let mut field = Map::new();
    field.insert(way.field(name), value.into());
    field
}

/// A selector of nodes; `host` policies have the same.
pub(super) fn nodes(random: &mut Random) -> Value {
    let prefixes = if random.chance(15) { SOURCED } else { PLAIN };
    Writing::of(random, NODES, prefixes).finish()
}

/// A block and what is left out of it.
pub(super) fn block(random: &mut Random) -> Value {
    let block = random.pick(&BLOCKS);
    let mut value = json!({"cidr": block});
    let inner: Vec<Value> = inner(block).filter(|_| random.chance(30)).map(Value::from).collect();
    if !inner.is_empty() {
        value["except"] = inner.into();
    }
    value
}

/// The blocks of the pool that lie in this one.
pub(super) fn inner(block: &str) -> impl Iterator<Item = &'static str> {
    let outer = cidr(block);
    BLOCKS.iter().copied().filter(move |one| cidr(one) != outer && outer.encloses(&cidr(one)))
}

/// A reference to CIDR groups; a world has some.
fn group(random: &mut Random) -> Value {
    let mut value = match random.chance(50) {
        true => object([("cidrGroupRef", random.pick(&["partners", "more", "none"]).into())]),
        false => object([("cidrGroupSelector", selectors::plain(random, OBJECTS))]),
    };
    if random.chance(25) {
        let except: Vec<Value> =
            BLOCKS.iter().filter(|_| random.chance(10)).map(|block| (*block).into()).collect();
        if !except.is_empty() {
            value.insert("except".into(), except.into());
        }
    }
    value.into()
}

fn service(random: &mut Random) -> Value {
    let namespace = random.pick(NAMESPACES);
    match random.chance(50) {
        true => {
            json!({"k8sService": {"serviceName": random.pick(&["web", "ledger"]), "namespace": namespace}})
        }
        false => {
            let mut wanted = json!({"selector": selectors::plain(random, OBJECTS)});
            if random.chance(60) {
                wanted["namespace"] = namespace.into();
            }
            json!({"k8sServiceSelector": wanted})
        }
    }
}

fn domain(random: &mut Random) -> Value {
    let domain = random.pick(&DOMAINS);
    let is_name = !domain.contains('*') && random.chance(70);
    json!({if is_name { "matchName" } else { "matchPattern" }: domain})
}
