//! Who is meant by the name of an end of a connection, on this node.

use crate::explain::End;
use api::{Cause, Failure};
use control::{Endpoint, World};
use identity::{Labels, key};
use std::net::IpAddr;

/// Finds who is called by a workload's name, an address, `host`, `world`, or the labels of a workload that is not there.
pub(crate) fn end(world: &World, text: &str) -> Result<End, Failure> {
    let reserved = |number, addresses| {
        let labels =
            world.identities().labels(number).map(|labels| Labels::clone(labels)).unwrap_or_default();
        End { addresses, ..End::new(text, number, labels) }
    };
    match text {
        "host" => return Ok(reserved(abi::identity::HOST, world.node().addresses.clone())),
        "world" => return Ok(reserved(abi::identity::WORLD, Vec::new())),
        _ => {}
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(match world.endpoint_at(address) {
            Some(endpoint) => End { addresses: vec![address], ..workload(world, endpoint) },
            None if world.node().addresses.contains(&address) => reserved(abi::identity::HOST, vec![address]),
            None => reserved(abi::identity::WORLD, vec![address]),
        });
    }
    if let Some(end) = End::by_labels(text, |namespace| namespace_labels(world, namespace)) {
        return Ok(end);
    }
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    world.endpoint(namespace, name).map(|endpoint| workload(world, endpoint)).ok_or_else(|| {
        Failure::new(
            Cause::NotFound,
            format!(
                "no workload {namespace}/{name} on this node; name one of `nexin endpoint list`, an address, `host`, \
                 `world`, or labels: {namespace}/app=web"
            ),
        )
    })
}

fn workload(world: &World, endpoint: &Endpoint) -> End {
    let name = format!("{}/{}", endpoint.namespace, endpoint.name);
    let end = match world.party(endpoint) {
        Some(party) => {
            End { ports: party.ports.clone(), ..End::new(&name, party.number, party.labels.clone()) }
        }
        None => End::new(&name, abi::identity::INIT, Labels::default()),
    };
    End { addresses: endpoint.addresses.clone(), ..end }
}

/// The labels of a namespace as its workloads here have them; of a namespace without any nothing is known.
fn namespace_labels<'a>(world: &'a World, namespace: &str) -> Vec<(&'a str, &'a str)> {
    let mut here = world.endpoints().filter(|endpoint| endpoint.namespace == namespace);
    let labels = here.find_map(|endpoint| world.party(endpoint)).map(|party| party.labels);
    let labels = labels.into_iter().flat_map(Labels::iter);
    labels.filter_map(|(key, value)| Some((key.name.strip_prefix(key::NAMESPACE_LABELS)?, value))).collect()
}
