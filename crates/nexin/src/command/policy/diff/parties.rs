//! Whom to ask about: workloads that are known or made up, and everything else that rules name.

use super::naming::{LOCAL, Naming};
use super::synthetic;
use crate::command::policy::scenario::Scenario;
use crate::session::Session;
use abi::identity::{FIRST_ALLOCATED, REMOTE_NODE, WORLD, is_workload};
use agent::explain::End;
use api::{Request, view};
use identity::{Labels, Source};
use policy::domain::DomainPattern;
use policy::party::NamedPorts;
use policy::rule::{Cidr, CidrReach, Entity, Peer, Peers, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Parties of which policies cannot tell one from the other.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) names: Vec<String>,
    /// As they are in the old world, and in the new.
    pub(super) ends: [End; 2],
}

/// Everybody to ask about.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) parties: Vec<Party>,
    pub(super) naming: Naming,
    /// Where the workloads are from.
    pub(super) origin: &'static str,
}

impl Party {
    fn one(end: End) -> Self {
        Self { names: vec![end.name.clone()], ends: [end.clone(), end] }
    }

    /// A node as its own workloads see it.
    fn local(&self) -> Self {
        let names = self.names.iter().map(|name| format!("{name}{LOCAL}")).collect();
        Self { names, ends: self.ends.each_ref().map(End::as_local) }
    }

    /// Whether both are the same workload or node, and nobody else.
    pub(super) fn is(&self, other: &Self) -> bool {
        let is_one = self.names.len() == 1 && other.names.len() == 1;
        is_one && self.ends.iter().zip(&other.ends).all(|(one, other)| one.is(other))
    }

    /// How many workloads they are.
    pub(super) fn workloads(&self) -> usize {
        if is_workload(self.ends[0].number) { self.names.len() } else { 0 }
    }
}

/// Finds everybody to ask about.
pub(super) fn gather(worlds: &[Scenario; 2], session: &Session) -> Cast {
    let mut parties = known(worlds);
    let mut origin = "of the files";
    let mut naming = Naming::default();
    if worlds.iter().all(Scenario::is_empty) {
        let running = running(session);
        origin = if running.is_empty() { "one made up for each selector" } else { "of the running agent" };
        let ends = if running.is_empty() {
            let (ends, ports) = synthetic::workloads(worlds);
            naming.ports = ports;
            ends
        } else {
            running
        };
        parties.extend(ends.into_iter().map(Party::one));
    }
    let mut parties = alike(parties, by_address(worlds));
    parties.extend(nodes(worlds, &parties));
    let (others, blocks) = others(worlds);
    parties.extend(others.into_iter().map(Party::one));
    naming.blocks = blocks;
    Cast { parties, naming, origin }
}

/// The local node; one more for each selector of nodes that selects none of those that are known; and each of the others
/// as its own workloads see it. Where nodes are told of, the local one is one of those.
fn nodes(worlds: &[Scenario; 2], known: &[Party]) -> Vec<Party> {
    let mut parties = Vec::new();
    let is_known = worlds.iter().any(|world| world.nodes().next().is_some());
    if !is_known || worlds.iter().any(Scenario::knows_host) {
        parties.push(Party { names: vec!["host".to_owned()], ends: worlds.each_ref().map(Scenario::host) });
    }
    let there: Vec<&End> = known.iter().chain(&parties).flat_map(|party| &party.ends).collect();
    let made_up: Vec<Party> = synthetic::nodes(worlds, &there).into_iter().map(Party::one).collect();
    let others = known.iter().filter(|party| party.ends[0].is_node()).chain(&made_up);
    let local: Vec<Party> =
        if worlds.iter().any(Scenario::knows_host) { Vec::new() } else { others.map(Party::local).collect() };
    parties.extend(made_up);
    parties.extend(local);
    parties
}

/// Everybody whom the files describe, in both worlds; who is in one of them only, is taken to be the same in the other.
fn known(worlds: &[Scenario; 2]) -> Vec<Party> {
    let ends = worlds
        .each_ref()
        .map(|world| world.ends().map(|end| (end.name.clone(), end)).collect::<BTreeMap<String, End>>());
    let [old, new] = &ends;
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let parties = names.into_iter().filter_map(|name| {
        let (before, after) = (old.get(name), new.get(name));
        let ends = [before.or(after)?.clone(), after.or(before)?.clone()];
        Some(Party { names: vec![name.clone()], ends })
    });
    parties.collect()
}

/// The workloads of the agent, where one runs.
fn running(session: &Session) -> Vec<End> {
    let endpoints = session.agent().and_then(|mut agent| agent.call(Request::Endpoints));
    let endpoints: Vec<view::Endpoint> = endpoints.unwrap_or_default();
    let ends = endpoints.into_iter().map(|endpoint| {
        let name = format!("{}/{}", endpoint.namespace, endpoint.name);
        let labels = labels(&endpoint.labels);
        let mut ports = NamedPorts::default();
        for (name, port) in &endpoint.named_ports {
            if let Some((port, protocol)) = port_and_protocol(port) {
                ports.insert(name, protocol, port);
            }
        }
        End {
            ports,
            addresses: endpoint.addresses,
            is_one: true,
            audit: endpoint.audit,
            ..End::new(&name, FIRST_ALLOCATED, labels)
        }
    });
    ends.collect()
}

/// Reads `80/TCP`.
fn port_and_protocol(text: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/')?;
    let protocol = match protocol {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        _ => return None,
    };
    Some((port.parse().ok()?, protocol))
}

/// Puts together those that policies cannot tell apart.
fn alike(parties: Vec<Party>, by_address: bool) -> Vec<Party> {
    let mut alike = BTreeMap::<_, Party>::new();
    for party in parties {
        let key = party.ends.each_ref().map(|end| {
            let by_address = by_address || !is_workload(end.number);
            let addresses = if by_address { end.addresses.clone() } else { Vec::new() };
            let families = [true, false].map(|v4| end.address(v4).is_some());
            let kind = (end.number, end.audit, families);
            (kind, end.labels.clone(), end.ports.clone(), end.names.clone(), addresses)
        });
        match alike.get_mut(&key) {
            Some(known) => known.names.extend(party.names),
            None => drop(alike.insert(key, party)),
        }
    }
    alike.into_values().collect()
}

/// Whether policies may tell workloads apart by their addresses.
fn by_address(worlds: &[Scenario; 2]) -> bool {
    peers(worlds).any(
        |peer| matches!(peer, Peer::Cidr { reach: CidrReach::Everything, block, .. } if block.length() > 0),
    )
}

/// All peers of all rules, references resolved.
pub(super) fn peers(worlds: &[Scenario; 2]) -> impl Iterator<Item = &Peer> {
    let resolved = worlds
        .iter()
        .flat_map(|world| world.policies.iter().filter_map(|policy| world.policies.resolved(&policy.id)));
    let rules = resolved.flat_map(|policy| &policy.specs).flat_map(|spec| &spec.rules);
    let peers = rules.filter_map(|rule| match &rule.peers {
        Peers::Any => None,
        Peers::Of(peers) => Some(peers),
    });
    peers.flatten()
}

/// The world, and of all blocks, domains and entities that rules name one peer each; and which blocks those are.
fn others(worlds: &[Scenario; 2]) -> (Vec<End>, BTreeSet<Cidr>) {
    let (mut blocks, mut domains, mut entities) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for peer in peers(worlds) {
        match peer {
            Peer::Cidr { block, except, .. } => blocks.extend(except.iter().chain([block]).copied()),
            Peer::Domain(pattern) => drop(domains.insert(pattern)),
            Peer::Entity(entity) => drop(entities.insert(*entity)),
            Peer::Labels(_) | Peer::Nodes(_) | Peer::Group { .. } | Peer::Service(_) => {}
        }
    }
    let node = End::new("other nodes", REMOTE_NODE, Labels::reserved("remote-node"));
    let mut ends = vec![outside("world"), node];
    // Of a whole family the world speaks already.
    let mut asked = BTreeSet::new();
    for block in blocks.iter().filter(|block| block.length() > 0) {
        if let Some(address) = address_in(block, &blocks) {
            ends.push(End { addresses: vec![address], ..outside(&block.to_string()) });
            asked.insert(*block);
        }
    }
    ends.extend(domains.into_iter().map(|pattern| {
        let name = match pattern {
            DomainPattern::Name(name) => name.to_string(),
            DomainPattern::Pattern(pattern) => pattern.replace("**", "x").replace('*', "x"),
        };
        End { names: BTreeSet::from([name]), ..outside(&pattern.to_string()) }
    }));
    let named = [Entity::KubeApiserver, Entity::Ingress, Entity::Health, Entity::Init, Entity::Unmanaged];
    for entity in named.into_iter().filter(|entity| entities.contains(entity)) {
        ends.extend(End::reserved(entity.name()));
    }
    (ends, asked)
}

fn outside(name: &str) -> End {
    End::new(name, WORLD, Labels::reserved("world"))
}

/// An address of the block that is in none of those within it, where there is one: the first of the block, or the next
/// after one of those.
fn address_in(block: &Cidr, blocks: &BTreeSet<Cidr>) -> Option<IpAddr> {
    let inner: Vec<&Cidr> = blocks.iter().filter(|one| block.encloses(one) && *one != block).collect();
    let nexts = inner.iter().filter_map(|one| next(one));
    let mut candidates = [block.address()].into_iter().chain(nexts);
    candidates.find(|address| block.contains(*address) && !inner.iter().any(|one| one.contains(*address)))
}

/// The first address after the block.
fn next(block: &Cidr) -> Option<IpAddr> {
    Some(match block.address() {
        IpAddr::V4(first) => {
            let size = 1u32.checked_shl(32 - u32::from(block.length()))?;
            Ipv4Addr::from_bits(first.to_bits().checked_add(size)?).into()
        }
        IpAddr::V6(first) => {
            let size = 1u128.checked_shl(128 - u32::from(block.length()))?;
            Ipv6Addr::from_bits(first.to_bits().checked_add(size)?).into()
        }
    })
}

/// Reads labels as they are printed: `k8s:app=web`.
pub(super) fn labels(texts: &[String]) -> Labels {
    let mut labels = Labels::default();
    for text in texts {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let (source, name) = key.split_once(':').unwrap_or(("k8s", key));
        let source = match source {
            "k8s" => Source::K8s,
            "reserved" => Source::Reserved,
            other => Source::Other(other.to_owned()),
        };
        labels.insert(source, name, value);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_asked_about_by_an_address_that_is_in_none_of_those_within() {
        let cidr = |text: &str| {
            let (address, length) = text.split_once('/').unwrap();
            Cidr::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
        };
        let check = |block: &str, within: &[&str], expected: Option<&str>| {
            let blocks = within.iter().map(|text| cidr(text)).chain([cidr(block)]).collect();
            let address = address_in(&cidr(block), &blocks).map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{block} without {within:?}");
        };
        check("10.0.0.0/8", &[], Some("10.0.0.0"));
        check("10.0.0.0/8", &["10.0.0.0/16", "10.1.0.0/24"], Some("10.1.1.0"));
        check("10.0.0.0/8", &["10.0.0.0/9", "10.128.0.0/9"], None);
        check("255.0.0.0/8", &["255.0.0.0/9", "255.128.0.0/9"], None);
        check("2001:db8::/32", &["2001:db8::/128"], Some("2001:db8::1"));
    }
}
