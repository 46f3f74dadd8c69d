//! The peers of a rule: workloads; in egress rules also nodes, networks and domain names.

use super::list::filled;
use super::selectors::{of_namespaces, of_pods};
use crate::item::{Item, Nulls};
use crate::selector::{Keys, ParsedSelector};
use crate::{cidr, domain};
use policy::domain::DomainPattern;
use policy::rule::{Action, CidrReach, Direction, Peer};

/// The most blocks, and the most domain names, of one peer.
const MAX_LISTED: usize = 25;

/// The fields for peers without named ports.
const BY_ADDRESS: [&str; 3] = ["nodes", "networks", "domainNames"];

/// Whether the peer cannot have named ports.
pub(super) fn has_no_named_ports(item: &Item<'_>) -> bool {
    item.fields(Nulls::Refused).is_some_and(|fields| BY_ADDRESS.iter().any(|name| fields.has(name)))
}

/// Reads one entry of `from` or `to`.
pub(super) fn read(item: &Item<'_>, direction: Direction, action: Option<Action>) -> Vec<Peer> {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return Vec::new() };
    let names = ["namespaces", "pods", "nodes", "networks", "domainNames"];
    let known = if direction == Direction::Ingress { &names[..2] } else { &names[..] };
    let given: Vec<_> = known.iter().filter_map(|name| Some((*name, fields.take(name)?))).collect();
    let strays = BY_ADDRESS.iter().filter_map(|name| fields.take(name)).collect::<Vec<_>>();
    fields.finish();
    if let (Direction::Ingress, [stray, ..]) = (direction, &strays[..]) {
        stray.error("is allowed in egress rules only; ingress rules name `namespaces` or `pods`");
        return Vec::new();
    }
    let [(name, given)] = &given[..] else {
        let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        item.error(format!("needs exactly one of {}", known.join(", ")));
        return Vec::new();
    };
    match *name {
        "namespaces" => vec![Peer::Labels(of_namespaces(given))],
        "pods" => of_pods(given).map(Peer::Labels).into_iter().collect(),
        "nodes" => vec![Peer::Nodes(ParsedSelector::read(given, Keys::Plain).into_selector())],
        "networks" => networks(given),
        _ => domain_names(given, action),
    }
}

fn networks(item: &Item<'_>) -> Vec<Peer> {
    let blocks = filled(item, MAX_LISTED);
    // Every address matches, as the API specifies; to exclude workloads, pass them in an earlier rule.
    let peer = |block| Peer::Cidr { block, except: Vec::new(), reach: CidrReach::Everything };
    blocks.iter().filter_map(cidr::block).map(peer).collect()
}

fn domain_names(item: &Item<'_>, action: Option<Action>) -> Vec<Peer> {
    if action.is_some_and(|action| action != Action::Allow) {
        item.error(
            "only an accepting rule may name domains; deny other destinations by a later rule with `networks`",
        );
    }
    filled(item, MAX_LISTED).iter().filter_map(domain_name).map(Peer::Domain).collect()
}

/// A name, or `*.` and a name: one or more labels before it.
fn domain_name(item: &Item<'_>) -> Option<DomainPattern> {
    let text = item.text()?;
    match text.strip_prefix("*.") {
        rest if rest.unwrap_or(text).contains('*') => {
            item.error(format!("{text:?} is not a valid domain name; `*.` may stand at the beginning only"));
            None
        }
        Some(_) => domain::checked(item, DomainPattern::pattern(&format!("*{text}"))),
        None => domain::checked(item, DomainPattern::name(text)),
    }
}
