//! Random peers, by each way to select them.

use super::random::Random;
use crate::domain::DomainPattern;
use crate::rule::{Cidr, CidrGroupRef, CidrReach, Entity, Peer, Peers, PolicyKind, ServiceRef};
use identity::{Operator, Selector, Source, key};
use std::collections::BTreeSet;

/// Label keys with their values, as the workloads of the world have them.
pub(super) const LABELS: &[(&str, &[&str])] =
    &[("app", &["web", "db", "cache"]), ("pod", &["a", "b", "c"]), ("env", &["prod", "dev"])];

pub(super) const NAMESPACES: &[&str] = &["x", "y", "z"];

/// Blocks that nest around the addresses of the world.
pub const BLOCKS: &[&str] = &[
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.244.0.0/16",
    "10.244.1.0/24",
    "10.244.1.2/32",
    "10.0.0.1/32",
    "10.1.0.0/16",
    "198.51.100.0/24",
    "198.51.100.7/32",
    "203.0.113.0/24",
    "::/0",
    "fd00::/8",
    "fd00:10:244::/48",
    "fd00:10:244:1::2/128",
    "2001:db8::/32",
    "2001:db8::/48",
];

/// Label keys with their values for nodes, and for CIDR groups and services.
pub(super) const NODE_LABELS: &[(&str, &[&str])] = &[("zone", &["a", "b"]), ("role", &["worker", "gateway"])];
pub(super) const OBJECT_LABELS: &[(&str, &[&str])] = &[("tier", &["front", "back"])];

/// Patterns of domain names, most of which match names of the world.
pub const DOMAINS: &[&str] = &[
    "www.example.com",
    "*.example.com",
    "**.example.com",
    "example.com",
    "*",
    "**",
    "***.com",
    "ma*.example.com",
];

/// Names of reserved peers whose identities have a label of this name.
const RESERVED: &[&str] =
    &["host", "world", "world", "remote-node", "health", "init", "ingress", "unmanaged", "kube-apiserver"];

const ENTITIES: &[Entity] = &[
    Entity::All,
    Entity::World,
    Entity::World,
    Entity::WorldIpv4,
    Entity::WorldIpv6,
    Entity::Cluster,
    Entity::Cluster,
    Entity::Host,
    Entity::RemoteNode,
    Entity::KubeApiserver,
    Entity::Ingress,
    Entity::Health,
    Entity::Init,
    Entity::Unmanaged,
    Entity::None,
];

/// The peers of a rule.
pub(super) fn peers(random: &mut Random, kind: PolicyKind, namespace: Option<&str>) -> Peers {
    if random.chance(20) {
        return Peers::Any;
    }
    let count = if random.chance(5) { 0 } else { 1 + random.below(3) };
    Peers::Of((0..count).map(|_| peer(random, kind, namespace)).collect())
}

fn peer(random: &mut Random, kind: PolicyKind, namespace: Option<&str>) -> Peer {
    match random.below(20) {
        0..8 => {
            let selector = labels(random, LABELS);
            Peer::Labels(match random.below(4) {
                0 => scoped(selector, Some(random.pick(NAMESPACES))),
                1 if random.chance(40) => excluding(random, selector),
                1 => selector.with(None, key::NAMESPACE, Operator::Exists),
                2 if random.chance(30) => selector,
                _ => scoped(selector, namespace),
            })
        }
        8..12 => {
            let block = cidr(random.pick(BLOCKS));
            let inner =
                BLOCKS.iter().map(|text| cidr(text)).filter(|inner| block.encloses(inner) && *inner != block);
            let except = inner.filter(|_| random.chance(25)).collect();
            let reach = match kind {
                PolicyKind::NetworkPolicy => CidrReach::Everything,
                _ => CidrReach::World,
            };
            Peer::Cidr { block, except, reach }
        }
        12 if random.chance(30) => reserved(random),
        12..15 => Peer::Entity(random.pick(ENTITIES)),
        15 => Peer::CidrGroup { groups: group(random), except: blocks(random, 15).into_iter().collect() },
        16 => Peer::Service(service(random)),
        17 => Peer::Domain(DomainPattern::pattern(random.pick(DOMAINS)).expect("the pool has patterns")),
        _ => Peer::Nodes(labels(random, NODE_LABELS)),
    }
}

/// The selector restricted to workloads of all namespaces except some, by name or by label. Only workloads have a
/// namespace.
pub(super) fn excluding(random: &mut Random, selector: Selector) -> Selector {
    let source = if random.chance(50) { Some(Source::K8s) } else { None };
    let tier = format!("{}tier", key::NAMESPACE_LABELS);
    let some = |values: &[&str]| Operator::NotIn(values.iter().map(|value| (*value).to_owned()).collect());
    let selector = match random.below(5) {
        0 | 1 => selector.with(source, key::NAMESPACE, some(&[random.pick(NAMESPACES)])),
        2 => selector.with(source, key::NAMESPACE, some(&[random.pick(NAMESPACES), random.pick(NAMESPACES)])),
        3 => selector.with(source, tier, some(&[random.pick(&["front", "back"])])),
        _ => selector.with(source, tier, Operator::DoesNotExist),
    };
    selector.with(Some(Source::K8s), key::NAMESPACE, Operator::Exists)
}

/// Peers selected by a reserved label, or all peers without it; workloads may have other labels too.
pub(super) fn reserved(random: &mut Random) -> Peer {
    let name = random.pick(RESERVED);
    let with =
        |selector: Selector, operator| Peer::Labels(selector.with(Some(Source::Reserved), name, operator));
    match random.below(8) {
        0 | 1 => Peer::Entity(random.pick(&[Entity::WorldIpv4, Entity::WorldIpv6])),
        2 => with(Selector::default(), Operator::DoesNotExist),
        3 => with(labels(random, NODE_LABELS), Operator::DoesNotExist),
        4 => with(excluding(random, Selector::default()), Operator::DoesNotExist),
        5 => with(labels(random, NODE_LABELS), Operator::Exists),
        _ => with(Selector::default(), Operator::equals("")),
    }
}

fn group(random: &mut Random) -> CidrGroupRef {
    match random.chance(50) {
        true => CidrGroupRef::Named(random.pick(&["partners", "more", "none"]).into()),
        false => CidrGroupRef::Labelled(labels(random, OBJECT_LABELS)),
    }
}

fn service(random: &mut Random) -> ServiceRef {
    let namespace = random.pick(NAMESPACES).into();
    match random.chance(50) {
        true => ServiceRef::Named { namespace, name: random.pick(&["web", "ledger"]).into() },
        false => ServiceRef::Labelled {
            namespace: random.chance(50).then_some(namespace),
            selector: labels(random, OBJECT_LABELS),
        },
    }
}

/// Each block of the pool with this probability in percent.
pub(super) fn blocks(random: &mut Random, percent: usize) -> BTreeSet<Cidr> {
    BLOCKS.iter().filter(|_| random.chance(percent)).map(|text| cidr(text)).collect()
}

/// A selector of labels from the pool.
pub(super) fn labels(random: &mut Random, pool: &[(&str, &[&str])]) -> Selector {
    let mut selector = Selector::default();
    for _ in 0..random.pick(&[0, 1, 1, 1, 2]) {
        let (name, values) = random.pick(pool);
        let some = [random.pick(values), random.pick(values)].map(str::to_owned).into();
        let operator = match random.below(6) {
            0..2 => Operator::equals(random.pick(values)),
            2 => Operator::In(some),
            3 => Operator::NotIn(some),
            4 => Operator::Exists,
            _ => Operator::DoesNotExist,
        };
        selector = selector.with(if random.chance(50) { Some(Source::K8s) } else { None }, name, operator);
    }
    selector
}

/// The selector restricted to a namespace.
pub(super) fn scoped(selector: Selector, namespace: Option<&str>) -> Selector {
    match namespace {
        Some(name) => selector.with(Some(Source::K8s), key::NAMESPACE, Operator::equals(name)),
        None => selector,
    }
}

/// Reads a block of [`BLOCKS`].
pub fn cidr(text: &str) -> Cidr {
    let (address, length) = text.split_once('/').expect("every block of the pool has a length");
    let address = address.parse().expect("every block of the pool has an address");
    Cidr::new(address, length.parse().expect("a length is a number")).expect("a length fits the family")
}
