//! The ends of a comparison: known and generated workloads, and everything else that rules name.

use super::breadth::{Breadth, TooMany};
use super::end_group::{EndGroup, labels};
use super::naming::Naming;
use super::outsiders::Outsiders;
use super::{api_servers, synthetic};
use crate::command::policy::scenario::Scenario;
use crate::session::Session;
use abi::identity::{FIRST_ALLOCATED, is_workload};
use agent::explain::ConnectionEnd;
use api::{ApiRequest, view};
use policy::endpoint_view::NamedPorts;
use policy::rule::{Cidr, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The ends of a comparison.
#[derive(Debug)]
pub(super) struct ComparedEnds {
    pub(super) groups: Vec<EndGroup>,
    pub(super) naming: Naming,
    /// Where the workloads are from, for the summary.
    pub(super) origin: &'static str,
}

/// Collects the ends of a comparison. Workloads are generated if none is known and, if everything is compared, beside
/// the known ones, unless `is_given` excludes that.
pub(super) fn gather(
    worlds: &[Scenario; 2],
    session: &Session,
    breadth: Breadth,
    is_given: bool,
) -> Result<ComparedEnds, TooMany> {
    let outsiders = Outsiders::collect(worlds)?;
    let mut groups = known(worlds);
    let mut origin = "of the files";
    let mut naming = Naming { blocks: outsiders.compared_blocks(), ..Naming::default() };
    let is_empty = worlds.iter().all(Scenario::is_empty);
    let running = if is_empty { running(session) } else { Vec::new() };
    if !running.is_empty() {
        origin = "of the running agent";
    }
    let is_any_known = !is_empty || !running.is_empty();
    groups.extend(running.into_iter().map(EndGroup::one));
    if !is_any_known || (breadth == Breadth::Everything && !is_given) {
        let (generated, ports) = synthetic::workloads(worlds)?;
        origin = if is_any_known { BESIDE_KNOWN } else { GENERATED };
        naming.ports = ports;
        if breadth == Breadth::Everything {
            groups.extend(placed(&generated, &outsiders));
        }
        groups.extend(generated);
    }
    let mut groups = alike(groups, outsiders.distinguish_workloads());
    let mut nodes = nodes(worlds, &groups, breadth)?;
    if breadth == Breadth::Everything {
        nodes.extend(placed(&nodes, &outsiders));
    }
    groups.extend(nodes);
    groups.extend(api_servers::remaining(worlds, &groups));
    groups.extend(outsiders.ends(breadth).into_iter().map(EndGroup::one));
    Ok(ComparedEnds { groups, naming, origin })
}

/// The same groups again, at each address that rules distinguish.
fn placed(groups: &[EndGroup], outsiders: &Outsiders) -> Vec<EndGroup> {
    let places = outsiders.places();
    let at = |group: &EndGroup, block: &Cidr, address: IpAddr| {
        let names = group.names.iter().map(|name| format!("{name} at {block}")).collect();
        let ends = group.ends.clone().map(|end| ConnectionEnd { addresses: vec![address], ..end });
        EndGroup { names, ends, ..*group }
    };
    let groups = groups.iter().filter(|group| group.ends[0].addresses.is_empty());
    groups.flat_map(|group| places.iter().map(move |(block, address)| at(group, block, *address))).collect()
}

/// The local node; a generated node for each node selector that selects no known node, or for each combination of
/// node selectors; and each other node as its own workloads see it. If nodes are known, the local node is one of
/// them.
fn nodes(worlds: &[Scenario; 2], known: &[EndGroup], breadth: Breadth) -> Result<Vec<EndGroup>, TooMany> {
    let mut groups = Vec::new();
    let is_known = worlds.iter().any(|world| world.nodes().next().is_some());
    let knows_host = worlds.iter().any(Scenario::knows_host);
    if !is_known || knows_host {
        let ends = worlds.each_ref().map(Scenario::host);
        groups.push(EndGroup { names: vec!["host".to_owned()], ends, has_any_ports: false });
    }
    let there: Vec<&ConnectionEnd> = known.iter().chain(&groups).flat_map(|group| &group.ends).collect();
    let generated = synthetic::nodes(worlds, &there, breadth == Breadth::Everything)?;
    let generated: Vec<EndGroup> = generated.into_iter().map(EndGroup::one).collect();
    let others = known.iter().filter(|group| group.ends[0].is_node()).chain(&generated);
    let local: Vec<EndGroup> = if knows_host { Vec::new() } else { others.map(EndGroup::local).collect() };
    groups.extend(generated);
    groups.extend(local);
    Ok(groups)
}

/// All ends that the files describe. An end of only one scenario is assumed to be the same in the other.
fn known(worlds: &[Scenario; 2]) -> Vec<EndGroup> {
    let ends = worlds.each_ref().map(|world| {
        world.ends().map(|end| (end.name.clone(), end)).collect::<BTreeMap<String, ConnectionEnd>>()
    });
    let [old, new] = &ends;
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let groups = names.into_iter().filter_map(|name| {
        // A host-network pod of one scenario is its node there.
        let (before, after) = (old.get(name).cloned(), new.get(name).cloned());
        let before = before.or_else(|| worlds[0].host_network_end_named(name));
        let after = after.or_else(|| worlds[1].host_network_end_named(name));
        let ends = [before.clone().or_else(|| after.clone())?, after.or(before)?];
        Some(EndGroup { names: vec![name.clone()], ends, has_any_ports: false })
    });
    groups.collect()
}

/// The workloads of a running agent.
fn running(session: &Session) -> Vec<ConnectionEnd> {
    let endpoints = session.agent().and_then(|mut agent| agent.call(ApiRequest::Endpoints));
    let endpoints: Vec<view::EndpointSummary> = endpoints.unwrap_or_default();
    let ends = endpoints.into_iter().map(|endpoint| {
        let name = format!("{}/{}", endpoint.namespace, endpoint.name);
        let labels = labels(&endpoint.labels);
        let mut ports = NamedPorts::default();
        for (name, port) in &endpoint.named_ports {
            if let Some((port, protocol)) = port_and_protocol(port) {
                ports.insert(name, protocol, port);
            }
        }
        ConnectionEnd {
            ports,
            addresses: endpoint.addresses,
            is_one: true,
            audit: endpoint.audit,
            ..ConnectionEnd::new(&name, FIRST_ALLOCATED, labels)
        }
    });
    ends.collect()
}

/// Parses `80/TCP`.
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

/// Merges ends that policies cannot distinguish.
fn alike(groups: Vec<EndGroup>, by_address: bool) -> Vec<EndGroup> {
    let mut alike = BTreeMap::<_, EndGroup>::new();
    for group in groups {
        let key = group.ends.each_ref().map(|end| {
            let by_address = by_address || !is_workload(end.number);
            let addresses = if by_address { end.addresses.clone() } else { Vec::new() };
            let families = [true, false].map(|v4| end.address(v4).is_some());
            let kind = (end.number, end.audit, families);
            (kind, end.labels.clone(), end.ports.clone(), end.names.clone(), addresses)
        });
        match alike.get_mut(&key) {
            Some(known) => known.names.extend(group.names),
            None => drop(alike.insert(key, group)),
        }
    }
    alike.into_values().collect()
}

/// The origin of generated workloads.
const GENERATED: &str = "one generated for each combination of selectors";
/// The origin of known and generated workloads.
const BESIDE_KNOWN: &str = "the known ones and one generated for each combination of selectors";
