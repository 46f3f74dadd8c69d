//! Random policies over every construct of [`crate::rule`].

use super::Random;
use crate::rule::{
    Action, Cidr, CidrReach, Direction, Entity, Family, HeaderRule, HttpRule, Kind, Peer, Peers, Policy,
    PolicyId, Port, Protocol, Rule, Spec, Subject, Tier, Traffic, TrafficMatch,
};
use identity::{Operator, Selector, Source, key};

/// Ports that rules and probes are drawn from.
pub(super) const PORTS: &[u16] = &[0, 53, 79, 80, 81, 443, 444, 8080, 8085, 65535];

/// Keys of labels and their values, as the workloads of the world have them.
const LABELS: &[(&str, &[&str])] =
    &[("app", &["web", "db", "cache"]), ("pod", &["a", "b", "c"]), ("env", &["prod", "dev"])];

const NAMESPACES: &[&str] = &["x", "y", "z"];

/// Blocks that nest around the addresses of the world.
const BLOCKS: &[&str] = &[
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

/// One to five policies, sorted by name.
pub(super) fn policies(random: &mut Random) -> Vec<Policy> {
    (0..1 + random.below(5)).map(|index| policy(random, index)).collect()
}

fn policy(random: &mut Random, index: usize) -> Policy {
    let (kind, namespace) = match random.below(3) {
        0 => (Kind::CiliumClusterwideNetworkPolicy, None),
        1 => (Kind::NetworkPolicy, Some(random.pick(NAMESPACES))),
        _ => (Kind::CiliumNetworkPolicy, Some(random.pick(NAMESPACES))),
    };
    // The index comes first, so that the policies are sorted whatever their kinds.
    let id = PolicyId {
        kind: Kind::CiliumNetworkPolicy,
        namespace: None,
        name: format!("{index}-{}", kind.name()),
    };
    let specs = (0..1 + random.below(2)).map(|number| spec(random, kind, namespace, number)).collect();
    Policy { id, specs }
}

fn spec(random: &mut Random, kind: Kind, namespace: Option<&str>, number: usize) -> Spec {
    let tier = match kind {
        Kind::CiliumNetworkPolicy | Kind::CiliumClusterwideNetworkPolicy if random.chance(25) => {
            random.pick(&[Tier::Admin, Tier::Baseline])
        }
        _ => Tier::Normal,
    };
    let mut rules = Vec::new();
    for index in 0..random.below(5) {
        rules.push(rule(random, kind, namespace, format!("specs[{number}].rules[{index}]")));
    }
    let has = |direction| rules.iter().any(|rule: &Rule| rule.direction == direction);
    let (ingress, egress) = (has(Direction::Ingress), has(Direction::Egress));
    Spec {
        subject: Subject::Workloads(scoped(labels(random), namespace)),
        tier,
        default_deny_ingress: if random.chance(80) { ingress } else { random.chance(50) },
        default_deny_egress: if random.chance(80) { egress } else { random.chance(50) },
        log: None,
        rules,
    }
}

fn rule(random: &mut Random, kind: Kind, namespace: Option<&str>, place: String) -> Rule {
    let (action, priority) = match kind {
        Kind::NetworkPolicy => (Action::Allow, 0),
        _ if random.chance(70) => (Action::Allow, 0),
        _ if random.chance(50) => (Action::Deny, 0),
        _ => {
            let action = random.pick(&[Action::Allow, Action::Deny, Action::Pass]);
            (action, random.below(3) as u32)
        }
    };
    Rule {
        place: place.into(),
        direction: random.pick(&[Direction::Ingress, Direction::Egress]),
        priority,
        action,
        peers: peers(random, kind, namespace),
        traffic: traffic(random, action),
    }
}

fn peers(random: &mut Random, kind: Kind, namespace: Option<&str>) -> Peers {
    if random.chance(20) {
        return Peers::Any;
    }
    let count = if random.chance(5) { 0 } else { 1 + random.below(3) };
    Peers::Of((0..count).map(|_| peer(random, kind, namespace)).collect())
}

fn peer(random: &mut Random, kind: Kind, namespace: Option<&str>) -> Peer {
    match random.below(10) {
        0..5 => {
            let selector = labels(random);
            Peer::Labels(match random.below(4) {
                0 => scoped(selector, Some(random.pick(NAMESPACES))),
                1 => selector.with(None, key::NAMESPACE, Operator::Exists),
                2 if random.chance(30) => selector,
                _ => scoped(selector, namespace),
            })
        }
        5..8 => {
            let block = cidr(random.pick(BLOCKS));
            let inner =
                BLOCKS.iter().map(|text| cidr(text)).filter(|inner| block.encloses(inner) && *inner != block);
            let except = inner.filter(|_| random.chance(25)).collect();
            let reach = match kind {
                Kind::NetworkPolicy => CidrReach::Everything,
                _ => CidrReach::World,
            };
            Peer::Cidr { block, except, reach }
        }
        _ => Peer::Entity(random.pick(ENTITIES)),
    }
}

fn labels(random: &mut Random) -> Selector {
    let mut selector = Selector::default();
    for _ in 0..random.pick(&[0, 1, 1, 1, 2]) {
        let (name, values) = random.pick(LABELS);
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

fn scoped(selector: Selector, namespace: Option<&str>) -> Selector {
    match namespace {
        Some(name) => selector.with(Some(Source::K8s), key::NAMESPACE, Operator::equals(name)),
        None => selector,
    }
}

fn traffic(random: &mut Random, action: Action) -> Traffic {
    if random.chance(25) {
        return Traffic::Any;
    }
    let count = if random.chance(5) { 0 } else { 1 + random.below(3) };
    Traffic::Of((0..count).map(|_| traffic_match(random, action)).collect())
}

fn traffic_match(random: &mut Random, action: Action) -> TrafficMatch {
    if random.chance(15) {
        let (family, kinds) = random.pick(&[(Family::Ipv4, [8, 3, 0]), (Family::Ipv6, [128, 2, 1])]);
        return TrafficMatch::Icmp { family, kind: random.pick(&kinds) };
    }
    let port = match random.below(10) {
        0 => Port::Any,
        1..3 => Port::Named(random.pick(&["web", "admin", "none"]).into()),
        3..6 => {
            let (one, two) = (random.pick(PORTS), random.pick(PORTS));
            Port::Range(one.min(two), one.max(two))
        }
        _ => {
            let port = random.pick(PORTS);
            Port::Range(port, port)
        }
    };
    let http = (action == Action::Allow && random.chance(30)).then(|| http_rules(random));
    let protocol = match http {
        Some(_) => random.pick(&[Protocol::Tcp, Protocol::Tcp, Protocol::Any]),
        None => random.pick(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Any]),
    };
    TrafficMatch::Port { protocol, port, http }
}

fn http_rules(random: &mut Random) -> Vec<HttpRule> {
    (0..random.below(3)).map(|_| http_rule(random)).collect()
}

fn http_rule(random: &mut Random) -> HttpRule {
    let mut one_of = |choices: &[&str]| random.chance(50).then(|| random.pick(choices).to_owned());
    HttpRule {
        method: one_of(&["GET", "GET|HEAD", "P.*", "[A-Z]+"]),
        path: one_of(&["/public", "/public/?", "/(healthz|public)", "/v[0-9]+/x", "/.*", ".*\\?x=1"]),
        host: one_of(&["app1-service", "app1-service(:[0-9]+)?", ".*\\.org"]),
        headers: one_of(&["42", "7", ""])
            .into_iter()
            .map(|value| HeaderRule { name: "X-Token".into(), value: (!value.is_empty()).then_some(value) })
            .collect(),
    }
}

fn cidr(text: &str) -> Cidr {
    let (address, length) = text.split_once('/').expect("every block of the pool has a length");
    let address = address.parse().expect("every block of the pool has an address");
    Cidr::new(address, length.parse().expect("a length is a number")).expect("a length fits the family")
}
