//! The peers of a rule: by labels, by address, or by kind.

use super::rules::Section;
use super::scope::{self, Scope};
use crate::cidr;
use crate::item::{Fields, Item, Nulls};
use policy::rule::{Action, CidrReach, Direction, Entity, Peer};

/// What the fields that name peers are called.
#[derive(Clone, Copy, Debug)]
struct PeerNames {
    endpoints: &'static str,
    entities: &'static str,
    cidr: &'static str,
    cidr_set: &'static str,
    requires: &'static str,
    /// Not supported yet.
    later: &'static [&'static str],
}

const FROM: PeerNames = PeerNames {
    endpoints: "fromEndpoints",
    entities: "fromEntities",
    cidr: "fromCIDR",
    cidr_set: "fromCIDRSet",
    requires: "fromRequires",
    later: &["fromNodes", "fromGroups"],
};

const TO: PeerNames = PeerNames {
    endpoints: "toEndpoints",
    entities: "toEntities",
    cidr: "toCIDR",
    cidr_set: "toCIDRSet",
    requires: "toRequires",
    later: &["toNodes", "toGroups", "toServices"],
};

const ENTITIES: &[(&str, Entity)] = &[
    ("all", Entity::All),
    ("world", Entity::World),
    ("world-ipv4", Entity::WorldIpv4),
    ("world-ipv6", Entity::WorldIpv6),
    ("cluster", Entity::Cluster),
    // There is one cluster; all clusters together are no more.
    ("cluster-mesh", Entity::Cluster),
    ("host", Entity::Host),
    ("remote-node", Entity::RemoteNode),
    ("kube-apiserver", Entity::KubeApiserver),
    ("ingress", Entity::Ingress),
    ("health", Entity::Health),
    ("init", Entity::Init),
    ("unmanaged", Entity::Unmanaged),
    ("none", Entity::None),
];

/// Reads the peers; none where no field names any. An empty list selects nobody, whatever stands beside it.
pub(super) fn read(fields: &mut Fields<'_>, section: Section, scope: &Scope) -> Option<Vec<Peer>> {
    let names = if section.direction == Direction::Ingress { FROM } else { TO };
    let mut members: Vec<(&str, Item<'_>, Vec<Item<'_>>)> = Vec::new();
    for name in [names.endpoints, names.entities, names.cidr, names.cidr_set] {
        if let Some(item) = fields.take(name) {
            let items = item.list();
            members.push((name, item, items));
        }
    }
    if let Some(requires) = fields.take(names.requires)
        && !requires.list().is_empty()
    {
        requires.error("is gone from the language; say it in the selectors of the peers");
    }
    fields.not_supported(names.later);
    domain_names(fields, section);
    let mut filled = members.iter().filter(|(_, _, items)| !items.is_empty());
    if let (Some((first, ..)), Some((_, second, _))) = (filled.next(), filled.next()) {
        second
            .error(format!("stands beside `{first}`; a rule names peers in one way, so write a second rule"));
    }
    if members.iter().any(|(_, _, items)| items.is_empty()) {
        return Some(Vec::new());
    }
    let one = |name: &str, item: &Item<'_>| match name {
        _ if name == names.endpoints => Some(Peer::Labels(scope::peer(item, scope))),
        _ if name == names.entities => item.one_of("entity", ENTITIES).map(Peer::Entity),
        _ if name == names.cidr => cidr::block(item).map(|block| cidr::peer(block, None, CidrReach::World)),
        _ => cidr_rule(item),
    };
    let (name, _, items) = members.first()?;
    Some(items.iter().filter_map(|item| one(name, item)).collect())
}

/// Sees to `toFQDNs`: right in an egress allow rule only, and not supported yet.
fn domain_names(fields: &mut Fields<'_>, section: Section) {
    if section.direction == Direction::Ingress {
        return;
    }
    let Some(item) = fields.take("toFQDNs") else { return };
    match section.action {
        Action::Deny => item.error("a deny rule has no domain names; name addresses in `toCIDRSet`"),
        Action::Allow | Action::Pass => item.not_supported("`toFQDNs`"),
    }
}

/// Reads `{cidr, except}`.
fn cidr_rule(item: &Item<'_>) -> Option<Peer> {
    let mut fields = item.fields(Nulls::Refused)?;
    let ways = ["cidr", "cidrGroupRef", "cidrGroupSelector"].map(|name| fields.take(name));
    let except = fields.take("except");
    fields.finish();
    if ways.iter().flatten().count() != 1 {
        item.error("needs exactly one of `cidr`, `cidrGroupRef` and `cidrGroupSelector`");
        return None;
    }
    let [block, reference, selector] = ways;
    if let Some(item) = reference {
        item.not_supported("`cidrGroupRef`");
    }
    if let Some(item) = selector {
        item.not_supported("`cidrGroupSelector`");
    }
    Some(cidr::peer(cidr::block(&block?)?, except, CidrReach::World))
}
