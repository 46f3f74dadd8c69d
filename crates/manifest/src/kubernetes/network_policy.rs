//! NetworkPolicy, with the semantics that Kubernetes documents.

use crate::cidr;
use crate::header::Header;
use crate::item::{Fields, Item, Nulls};
use crate::name;
use crate::order::Order;
use crate::selector::{Keys, ParsedSelector};
use identity::{Operator, Selector, Source, key};
use policy::rule::{
    Action, CidrReach, Direction, Peer, Peers, Policy, PolicyId, PolicyKind, Port, Protocol, Rule, Spec,
    Subject, Traffic, TrafficMatch,
};

/// Protocols of ports.
const PROTOCOLS: &[(&str, Protocol)] =
    &[("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];

const TYPES: &[(&str, Direction)] = &[("Ingress", Direction::Ingress), ("Egress", Direction::Egress)];

/// Reads the fields beside the header: `spec` and `status`.
pub(crate) fn policy(mut fields: Fields<'_>, header: Header<'_>) -> Option<Policy> {
    let spec = fields.require("spec");
    fields.ignore(&["status"]);
    fields.finish();
    let order = Order::of(&header);
    let spec = spec.and_then(|item| self::spec(&item, &header.namespace, order))?;
    let namespace = Some(header.namespace);
    Some(Policy {
        id: PolicyId { kind: PolicyKind::NetworkPolicy, namespace, name: header.name? },
        specs: vec![spec],
    })
}

fn spec(item: &Item<'_>, namespace: &str, order: Order) -> Option<Spec> {
    let mut fields = item.fields(Nulls::Absent)?;
    let subject =
        fields.take("podSelector").map(|item| ParsedSelector::read(&item, Keys::Plain).into_selector());
    let types = fields.take("policyTypes");
    let (ingress, egress) = (fields.take("ingress"), fields.take("egress"));
    fields.finish();
    let ingress = rules(ingress, Direction::Ingress, namespace);
    let egress = rules(egress, Direction::Egress, namespace);
    let listed = types.iter().flat_map(Item::list).filter_map(|item| item.one_of("policy type", TYPES));
    let mut types: Vec<Direction> = listed.collect();
    if types.is_empty() {
        types.push(Direction::Ingress);
        types.extend((!egress.is_empty()).then_some(Direction::Egress));
    }
    let mut rules: Vec<Rule> = ingress.into_iter().chain(egress).collect();
    rules.iter_mut().for_each(|rule| rule.priority = order.priority);
    if rules.iter().any(|rule| !types.contains(&rule.direction)) {
        item.warn("has rules in a direction that `policyTypes` does not list; they have no effect");
    }
    Some(Spec {
        subject: Subject::Workloads(within(subject.unwrap_or_default(), namespace)),
        tier: order.tier,
        log: None,
        default_deny_ingress: types.contains(&Direction::Ingress),
        default_deny_egress: types.contains(&Direction::Egress),
        rules: rules.into_iter().filter(|rule| types.contains(&rule.direction)).collect(),
    })
}

/// The selector restricted to workloads of one namespace.
fn within(selector: Selector, namespace: &str) -> Selector {
    selector.with(Some(Source::K8s), key::NAMESPACE, Operator::equals(namespace))
}

fn rules(list: Option<Item<'_>>, direction: Direction, namespace: &str) -> Vec<Rule> {
    let items = list.iter().flat_map(Item::list).enumerate();
    items.filter_map(|(index, item)| rule(&item, index, direction, namespace)).collect()
}

fn rule(item: &Item<'_>, index: usize, direction: Direction, namespace: &str) -> Option<Rule> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (section, who) = match direction {
        Direction::Ingress => ("ingress", "from"),
        Direction::Egress => ("egress", "to"),
    };
    let (peers, ports) = (fields.take(who), fields.take("ports"));
    fields.finish();
    let peers = peers.iter().flat_map(Item::list).collect::<Vec<_>>();
    let ports = ports.iter().flat_map(Item::list).collect::<Vec<_>>();
    Some(Rule {
        place: format!("spec.{section}[{index}]").into(),
        direction,
        priority: Rule::USUAL_PRIORITY,
        action: Action::Allow,
        peers: match peers.is_empty() {
            true => Peers::Any,
            false => Peers::Of(peers.iter().filter_map(|item| peer(item, namespace)).collect()),
        },
        traffic: match ports.is_empty() {
            true => Traffic::Any,
            false => Traffic::Of(ports.iter().filter_map(port).collect()),
        },
    })
}

/// Reads `{podSelector, namespaceSelector}` or `{ipBlock}`.
fn peer(item: &Item<'_>, namespace: &str) -> Option<Peer> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (pods, namespaces) = (fields.take("podSelector"), fields.take("namespaceSelector"));
    let block = fields.take("ipBlock");
    fields.finish();
    if let Some(block) = block {
        if pods.is_some() || namespaces.is_some() {
            item.error("`ipBlock` cannot be combined with a selector; write a separate entry");
        }
        return ip_block(&block);
    }
    if pods.is_none() && namespaces.is_none() {
        item.error("names no peer; give `podSelector`, `namespaceSelector` or `ipBlock`");
    }
    let pods = pods.map(|item| ParsedSelector::read(&item, Keys::Plain).into_selector()).unwrap_or_default();
    let Some(namespaces) = namespaces else { return Some(Peer::Labels(within(pods, namespace))) };
    let selector = ParsedSelector::read(&namespaces, Keys::OfNamespace).into_selector().and(&pods);
    // Only workloads have a namespace; other peers would match NotIn and DoesNotExist.
    Some(Peer::Labels(selector.with(Some(Source::K8s), key::NAMESPACE, Operator::Exists)))
}

fn ip_block(item: &Item<'_>) -> Option<Peer> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (block, except) = (fields.require("cidr"), fields.take("except"));
    fields.finish();
    Some(cidr::peer(cidr::block(&block?)?, except, CidrReach::Everything))
}

fn port(item: &Item<'_>) -> Option<TrafficMatch> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (port, end, protocol) = (fields.take("port"), fields.take("endPort"), fields.take("protocol"));
    fields.finish();
    let protocol = protocol.map_or(Some(Protocol::Tcp), |item| self::protocol(&item));
    let port = port_or_range(port, end);
    Some(TrafficMatch::Port { protocol: protocol?, port: port?, http: None })
}

fn protocol(item: &Item<'_>) -> Option<Protocol> {
    if item.is_text() && matches!(item.text(), Some("ICMP" | "ICMPv6" | "ICMPV6")) {
        item.error("NetworkPolicy cannot match ICMP; use `icmps` of a CiliumNetworkPolicy");
        return None;
    }
    item.one_of("protocol", PROTOCOLS)
}

/// A number with or without an end, a name, or none for every port.
fn port_or_range(port: Option<Item<'_>>, end: Option<Item<'_>>) -> Option<Port> {
    match (port, end) {
        (Some(item), end) if !item.is_text() => {
            let first = item.integer(1..=65_535)?;
            let last = end.map_or(Some(first), |end| range_end(&end, first))?;
            Some(Port::Range(first, last))
        }
        (_, Some(end)) => {
            end.error("needs a `port` that is a number, where the range begins");
            None
        }
        (Some(item), None) => port_name(&item).map(Port::Named),
        (None, None) => Some(Port::Any),
    }
}

fn range_end(item: &Item<'_>, first: u16) -> Option<u16> {
    let last = item.integer(1..=65_535)?;
    if last < first {
        item.error(format!("{last} is below `port`, which is {first}"));
    }
    Some(last)
}

fn port_name(item: &Item<'_>) -> Option<String> {
    if let Some(number) = item.text().and_then(|text| text.parse::<u16>().ok()) {
        item.error(format!("a port in quotes is a name; write {number} without quotes"));
        return None;
    }
    name::port(item)
}
