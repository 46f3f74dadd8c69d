//! A node's worth of workloads and policies, so that lookups happen in maps of a likely size.

use anyhow::{Result, anyhow};
use control::{Change, Endpoint, ProxyLocation, Wire, fixtures};
use manifest::Object;
use policy::rule::Policy;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use workload::Wired;

/// Workloads of the node, client and server among them.
pub(crate) const WORKLOADS: u32 = 100;
/// The node's addresses, IPv4 first.
pub(crate) const NODE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 1))];
/// What the others are; a few of each kind.
const OTHERS: [&str; 8] =
    ["database", "monitoring", "cache", "queue", "mail", "search", "billing", "frontend"];
/// Interfaces of the others, which are rows and nothing else, are numbered from here.
const FIRST_INTERFACE: u32 = 10_000;
/// The interface of the node proxy, which is a row and nothing else.
const PROXY_INTERFACE: u32 = 9_999;
/// The port of the node proxy's listener.
pub(crate) const PROXY_PORT: u16 = 5203;

/// The policies in force.
pub(crate) fn policies() -> Result<Vec<Policy>> {
    let read = manifest::parse("policies.yaml", include_str!("policies.yaml"));
    let manifest = read.map_err(|findings| {
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        anyhow!("{}", findings.join("\n"))
    })?;
    let policies = manifest.objects.into_iter().map(|object| match object {
        Object::Policy(policy) => policy,
        other => unreachable!("policies.yaml holds policies only, not {other:?}"),
    });
    Ok(policies.collect())
}

/// Everything that happens to a new node until its workloads are there: the client and the server by their wires, and
/// the others.
pub(crate) fn changes(wires: &[Wired; 2], policies: Vec<Policy>) -> Vec<Change> {
    let node = control::Node {
        addresses: NODE.to_vec(),
        labels: BTreeMap::from([("role".into(), "worker".into())]),
        proxy: Some(ProxyLocation { interface: PROXY_INTERFACE, port: PROXY_PORT }),
        ..control::Node::default()
    };
    let [client, server] = wires;
    let mut changes = vec![
        Change::Node(Box::new(node)),
        Change::Endpoint(Box::new(endpoint(1, "client", client.addresses.clone(), interface(client)))),
        Change::Endpoint(Box::new(endpoint(2, "server", server.addresses.clone(), interface(server)))),
    ];
    changes.extend((3..=WORKLOADS).map(|id| Change::Endpoint(Box::new(other(id)))));
    changes.extend(policies.into_iter().map(Change::Policy));
    changes
}

fn other(id: u32) -> Endpoint {
    let [.., high, low] = id.to_be_bytes();
    let v4 = IpAddr::V4(Ipv4Addr::new(10, 244, 1 + high, low));
    let v6 = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 1, id as u16));
    let interface = Wire {
        interface: FIRST_INTERFACE + id,
        mac: [2, 0, 0, 1, high, low],
        host_mac: [2, 0, 0, 2, high, low],
    };
    endpoint(id, OTHERS[id as usize % OTHERS.len()], vec![v4, v6], interface)
}

fn endpoint(id: u32, app: &str, addresses: Vec<IpAddr>, wire: Wire) -> Endpoint {
    // The builder's own address has room for 255 workloads.
    let mut endpoint = fixtures::endpoint(0, "default", app);
    endpoint.workload.name = format!("{app}-{id}");
    endpoint.workload.addresses = addresses;
    Endpoint { id, wire, ..endpoint }
}

fn interface(wired: &Wired) -> Wire {
    Wire { interface: wired.interface, mac: wired.mac, host_mac: wired.host_mac }
}
