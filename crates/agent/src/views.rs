//! The views of the world that the API returns.

use crate::names::texts;
use crate::objects::{ObjectId, Objects};
use crate::state::State;
use abi::endpoint::flag;
use abi::service::{BackendInfo, ServiceKey};
use api::view;
use control::World;
use policy::book::RuleId;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// All workloads.
pub(crate) fn endpoints(world: &World, state: &State) -> Vec<view::EndpointSummary> {
    world.endpoints().filter_map(|endpoint| self::endpoint(world, state, endpoint)).collect()
}

/// One workload.
pub(crate) fn endpoint(
    world: &World,
    state: &State,
    endpoint: &control::Endpoint,
) -> Option<view::EndpointSummary> {
    let row = world.endpoint_row(endpoint)?;
    let record = state.workloads.iter().find(|workload| workload.id == endpoint.id)?;
    Some(view::EndpointSummary {
        id: endpoint.id,
        namespace: endpoint.workload.namespace.clone(),
        name: endpoint.workload.name.clone(),
        identity: row.identity,
        labels: world.identities().labels(row.identity).map(|labels| texts(labels)).unwrap_or_default(),
        addresses: endpoint.workload.addresses.clone(),
        named_ports: named_ports(endpoint),
        interface: record.interface.clone(),
        network_namespace: record.network_namespace.clone(),
        group: record.group.clone(),
        ingress_enforced: row.flags & flag::ENFORCE_INGRESS != 0,
        egress_enforced: row.flags & flag::ENFORCE_EGRESS != 0,
        policy: row.policy,
        audit: row.flags & flag::AUDIT != 0,
    })
}

fn named_ports(endpoint: &control::Endpoint) -> Vec<(String, String)> {
    let ports = endpoint.workload.named_ports.iter();
    let written = |number, port: &u16| format!("{port}/{}", crate::explain::protocol_name(number));
    ports.map(|((name, number), port)| (name.clone(), written(*number, port))).collect()
}

/// All identities, including the reserved ones.
pub(crate) fn identities(world: &World) -> Vec<view::IdentitySummary> {
    let mut holders: BTreeMap<u32, usize> = BTreeMap::new();
    for endpoint in world.endpoints() {
        if let Some(row) = world.endpoint_row(endpoint) {
            *holders.entry(row.identity).or_default() += 1;
        }
    }
    let identities = world.identities().iter();
    identities
        .map(|(id, labels)| view::IdentitySummary {
            id,
            labels: texts(labels),
            workloads: holders.get(&id).copied().unwrap_or(0),
        })
        .collect()
}

/// All services, with their frontends and backends.
pub(crate) fn services(world: &World) -> Vec<view::ServiceSummary> {
    let backends: BTreeMap<&ServiceKey, &[BackendInfo]> = world.frontends().collect();
    let services = world.services().map(|service| {
        let fronts = service.addresses.iter().flat_map(|address| {
            service.ports.iter().map(move |port| (*address, port.port, port.protocol.number()))
        });
        let frontends = fronts.map(|(address, port, protocol)| {
            let key = ServiceKey { address: address.into(), port: port.to_be_bytes(), protocol, padding: 0 };
            let name = crate::explain::protocol_name(protocol);
            view::FrontendSummary {
                frontend: format!("{}/{name}", SocketAddr::new(address, port)),
                backends: backends.get(&key).map(|set| set.iter().map(backend).collect()).unwrap_or_default(),
            }
        });
        view::ServiceSummary {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            frontends: frontends.collect(),
        }
    });
    services.collect()
}

/// All policies.
pub(crate) fn policies(world: &World, objects: &Objects) -> Vec<view::PolicySummary> {
    let policies = &world.registry().policies;
    let parties: Vec<_> = world.endpoints().filter_map(|endpoint| world.view(endpoint.id)).collect();
    policies
        .iter()
        .map(|policy| view::PolicySummary {
            kind: policy.id.kind.name().into(),
            namespace: policy.id.namespace.clone(),
            name: policy.id.name.clone(),
            rules: policy.specs.iter().map(|spec| spec.rules.len()).sum(),
            endpoints: parties
                .iter()
                .filter(|party| {
                    policy.specs.iter().any(|spec| spec.subject.selects(party.number, party.labels))
                })
                .count(),
            source: objects.source(&ObjectId::Policy(policy.id.clone())).unwrap_or_default().into(),
        })
        .collect()
}

/// All rules by number.
pub(crate) fn rules(world: &World) -> Vec<view::RuleSummary> {
    let local_host = RuleId::LOCAL_HOST.0;
    let built_in =
        view::RuleSummary { id: local_host, policy: "Node/local-host".into(), place: String::new() };
    let rules = world.registry().book.rules();
    let rules = rules.map(|(id, origin)| view::RuleSummary {
        id: id.0,
        policy: origin.policy.to_string(),
        place: origin.place.to_string(),
    });
    [built_in].into_iter().chain(rules).collect()
}

fn backend(backend: &BackendInfo) -> String {
    SocketAddr::new(IpAddr::from(backend.address), u16::from_be_bytes(backend.port)).to_string()
}
