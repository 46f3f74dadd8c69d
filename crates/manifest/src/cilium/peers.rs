//! The peers of a rule, by the field that lists them.

use super::scope::{self, Scope};
use super::section::Section;
use super::services;
use crate::item::{Fields, Item, Nulls};
use crate::selector::{Keys, ParsedSelector};
use crate::{cidr, domain, name};
use policy::rule::{Action, CidrGroupRef, CidrReach, Direction, Entity, Peer};

/// The fields that list peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerField {
    Endpoints,
    Entities,
    Cidr,
    CidrSet,
    Nodes,
    Groups,
    Services,
    DomainNames,
}

const FROM: &[(&str, PeerField)] = &[
    ("fromEndpoints", PeerField::Endpoints),
    ("fromEntities", PeerField::Entities),
    ("fromCIDR", PeerField::Cidr),
    ("fromCIDRSet", PeerField::CidrSet),
    ("fromNodes", PeerField::Nodes),
    ("fromGroups", PeerField::Groups),
];

const TO: &[(&str, PeerField)] = &[
    ("toEndpoints", PeerField::Endpoints),
    ("toEntities", PeerField::Entities),
    ("toCIDR", PeerField::Cidr),
    ("toCIDRSet", PeerField::CidrSet),
    ("toNodes", PeerField::Nodes),
    ("toGroups", PeerField::Groups),
    ("toServices", PeerField::Services),
    ("toFQDNs", PeerField::DomainNames),
];

pub(crate) const ENTITIES: &[(&str, Entity)] = &[
    ("all", Entity::All),
    ("world", Entity::World),
    ("world-ipv4", Entity::WorldIpv4),
    ("world-ipv6", Entity::WorldIpv6),
    ("cluster", Entity::Cluster),
    // There is only one cluster, so a mesh of clusters is the cluster.
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

/// Reads the peers. None if no field lists peers; an empty list selects no peer, whatever other fields list.
pub(super) fn read(fields: &mut Fields<'_>, section: Section, scope: &Scope) -> Option<Vec<Peer>> {
    let (ways, requires) = match section.direction {
        Direction::Ingress => (FROM, "fromRequires"),
        Direction::Egress => (TO, "toRequires"),
    };
    let given = ways.iter().filter_map(|(name, way)| {
        let item = fields.take(name)?;
        let items = item.list();
        Some((*name, *way, item, items))
    });
    let given: Vec<_> = given.collect();
    if let Some(requires) = fields.take(requires)
        && !requires.list().is_empty()
    {
        requires.error("is no longer supported; add the requirement to the selectors of the peers");
    }
    for (.., item, _) in given.iter().filter(|(_, way, ..)| *way == PeerField::DomainNames) {
        if section.action == Action::Deny {
            item.error("a deny rule cannot match domain names; list addresses in `toCIDRSet`");
        }
    }
    let mut filled = given.iter().filter(|(.., items)| !items.is_empty());
    if let (Some((first, ..)), Some((_, _, second, _))) = (filled.next(), filled.next()) {
        second.error(format!("cannot be combined with `{first}`; write a second rule"));
    }
    if given.iter().any(|(.., items)| items.is_empty()) {
        return Some(Vec::new());
    }
    let (_, way, _, items) = given.first()?;
    Some(items.iter().flat_map(|item| of_item(item, *way, scope)).collect())
}

fn of_item(item: &Item<'_>, way: PeerField, scope: &Scope) -> Vec<Peer> {
    let peer = match way {
        PeerField::Endpoints => return scope::peers(item, scope),
        PeerField::Entities => item.one_of("entity", ENTITIES).map(Peer::Entity),
        PeerField::Cidr => cidr::block(item).map(|block| cidr::peer(block, None, CidrReach::World)),
        PeerField::CidrSet => cidr_rule(item),
        PeerField::Nodes => Some(Peer::Nodes(ParsedSelector::read(item, Keys::Sourced).into_selector())),
        PeerField::Groups => {
            group(item);
            None
        }
        PeerField::Services => services::read(item, scope).map(Peer::Service),
        PeerField::DomainNames => domain::selector(item).map(Peer::Domain),
    };
    peer.into_iter().collect()
}

/// Reads `{cidr, except}`, or a group by name or by labels with `except`.
fn cidr_rule(item: &Item<'_>) -> Option<Peer> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (block, named) = (fields.take("cidr"), fields.take("cidrGroupRef"));
    let (labelled, except) = (fields.take("cidrGroupSelector"), fields.take("except"));
    fields.finish();
    let groups = match (block, named, labelled) {
        (Some(block), None, None) => {
            return Some(cidr::peer(cidr::block(&block)?, except, CidrReach::World));
        }
        (None, Some(named), None) => CidrGroupRef::Named(name::object(&named)?.into()),
        (None, None, Some(labelled)) => {
            CidrGroupRef::Labelled(ParsedSelector::read(&labelled, Keys::Sourced).into_selector())
        }
        _ => {
            item.error("needs exactly one of `cidr`, `cidrGroupRef` and `cidrGroupSelector`");
            return None;
        }
    };
    let except = except.iter().flat_map(Item::list).filter_map(|item| cidr::block(&item)).collect();
    Some(Peer::CidrGroup { groups, except })
}

/// Checks the fields of a cloud provider's group, which is not supported yet.
fn group(item: &Item<'_>) {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return };
    let aws = fields.require("aws");
    fields.finish();
    let Some(aws) = aws else { return };
    let Some(mut fields) = aws.fields(Nulls::Refused) else { return };
    fields.take("labels").map(|item| item.text_map());
    for name in ["securityGroupsIds", "securityGroupsNames"] {
        fields.take(name).iter().flat_map(Item::list).for_each(|item| item.check_text());
    }
    fields.take("region").iter().for_each(Item::check_text);
    fields.finish();
    aws.not_supported("a group of a cloud provider");
}
