//! Whom to ask about: workloads that are known or made up, and everything else that rules name.

use super::naming::{LOCAL, Naming};
use super::outsiders::Outsiders;
use super::{Breadth, TooMany, api_servers, synthetic};
use crate::command::policy::scenario::Scenario;
use crate::session::Session;
use abi::identity::{FIRST_ALLOCATED, is_workload};
use agent::explain::End;
use api::{Request, view};
use identity::{Labels, Source};
use policy::endpoint_view::NamedPorts;
use policy::rule::{Cidr, Peer, Peers, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Parties of which policies cannot tell one from the other.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) names: Vec<String>,
    /// As they are in the old world, and in the new.
    pub(super) ends: [End; 2],
    /// Whether each of their ports may have any of the names that rules use.
    pub(super) has_any_ports: bool,
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
        Self { names: vec![end.name.clone()], ends: [end.clone(), end], has_any_ports: false }
    }

    /// A node as its own workloads see it.
    fn local(&self) -> Self {
        let names = self.names.iter().map(|name| format!("{name}{LOCAL}")).collect();
        Self { names, ends: self.ends.each_ref().map(End::as_local), has_any_ports: false }
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

/// Finds the ends of a comparison. Workloads are made up where none is known, and beside those that are known where
/// everything is compared, unless `is_given` says that only those are meant.
pub(super) fn gather(
    worlds: &[Scenario; 2],
    session: &Session,
    breadth: Breadth,
    is_given: bool,
) -> Result<Cast, TooMany> {
    let outsiders = Outsiders::of(worlds)?;
    let mut parties = known(worlds);
    let mut origin = "of the files";
    let mut naming = Naming { blocks: outsiders.asked_blocks(), ..Naming::default() };
    let is_empty = worlds.iter().all(Scenario::is_empty);
    let running = if is_empty { running(session) } else { Vec::new() };
    if !running.is_empty() {
        origin = "of the running agent";
    }
    let is_anybody_known = !is_empty || !running.is_empty();
    parties.extend(running.into_iter().map(Party::one));
    if !is_anybody_known || (breadth == Breadth::Everything && !is_given) {
        let (made_up, ports) = synthetic::workloads(worlds)?;
        origin = if is_anybody_known { BESIDE_KNOWN } else { MADE_UP };
        naming.ports = ports;
        if breadth == Breadth::Everything {
            parties.extend(placed(&made_up, &outsiders));
        }
        parties.extend(made_up);
    }
    let mut parties = alike(parties, outsiders.tell_workloads_apart());
    let mut nodes = nodes(worlds, &parties, breadth)?;
    if breadth == Breadth::Everything {
        nodes.extend(placed(&nodes, &outsiders));
    }
    parties.extend(nodes);
    parties.extend(api_servers::unnamed(worlds, &parties));
    parties.extend(outsiders.ends(breadth).into_iter().map(Party::one));
    Ok(Cast { parties, naming, origin })
}

/// The same parties once more at each address that rules tell apart.
fn placed(parties: &[Party], outsiders: &Outsiders) -> Vec<Party> {
    let places = outsiders.places();
    let at = |party: &Party, block: &Cidr, address: IpAddr| {
        let names = party.names.iter().map(|name| format!("{name} at {block}")).collect();
        let ends = party.ends.clone().map(|end| End { addresses: vec![address], ..end });
        Party { names, ends, ..*party }
    };
    let parties = parties.iter().filter(|party| party.ends[0].addresses.is_empty());
    parties.flat_map(|party| places.iter().map(move |(block, address)| at(party, block, *address))).collect()
}

/// The local node; one more for each selector of nodes that selects none of those that are known, or each combination of
/// them; and each of the others as its own workloads see it. Where nodes are known, the local one is one of those.
fn nodes(worlds: &[Scenario; 2], known: &[Party], breadth: Breadth) -> Result<Vec<Party>, TooMany> {
    let mut parties = Vec::new();
    let is_known = worlds.iter().any(|world| world.nodes().next().is_some());
    let knows_host = worlds.iter().any(Scenario::knows_host);
    if !is_known || knows_host {
        let ends = worlds.each_ref().map(Scenario::host);
        parties.push(Party { names: vec!["host".to_owned()], ends, has_any_ports: false });
    }
    let there: Vec<&End> = known.iter().chain(&parties).flat_map(|party| &party.ends).collect();
    let made_up = synthetic::nodes(worlds, &there, breadth == Breadth::Everything)?;
    let made_up: Vec<Party> = made_up.into_iter().map(Party::one).collect();
    let others = known.iter().filter(|party| party.ends[0].is_node()).chain(&made_up);
    let local: Vec<Party> = if knows_host { Vec::new() } else { others.map(Party::local).collect() };
    parties.extend(made_up);
    parties.extend(local);
    Ok(parties)
}

/// Everybody whom the files describe, in both worlds; who is in one of them only, is taken to be the same in the other.
fn known(worlds: &[Scenario; 2]) -> Vec<Party> {
    let ends = worlds
        .each_ref()
        .map(|world| world.ends().map(|end| (end.name.clone(), end)).collect::<BTreeMap<String, End>>());
    let [old, new] = &ends;
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let parties = names.into_iter().filter_map(|name| {
        // One that shares the network of its node in one of the worlds is that node there.
        let (before, after) = (old.get(name).cloned(), new.get(name).cloned());
        let before = before.or_else(|| worlds[0].sharer_named(name));
        let after = after.or_else(|| worlds[1].sharer_named(name));
        let ends = [before.clone().or_else(|| after.clone())?, after.or(before)?];
        Some(Party { names: vec![name.clone()], ends, has_any_ports: false })
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

/// Where workloads are from that were made up.
const MADE_UP: &str = "one made up for each combination of selectors";
/// The same where others are known.
const BESIDE_KNOWN: &str = "those known and one made up for each combination of selectors";
