//! The views of what is in force that the API returns.

use crate::names::texts;
use crate::objects::{ObjectId, SourcedObject};
use crate::published::Published;
use crate::state::WorkloadRecord;
use abi::endpoint::flag;
use abi::service::{BackendInfo, ServiceKey};
use api::{AttachmentAddress, AttachmentSummary, view};
use control::Snapshot;
use policy::book::RuleId;
use policy::rule::PolicyId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use workload::{GATEWAY_V4, GATEWAY_V6};

/// All workloads.
pub(crate) fn endpoints(published: &Published) -> Vec<view::EndpointSummary> {
    let records = published.workloads.values();
    records.filter_map(|record| endpoint(&published.world, record)).collect()
}

/// One workload.
pub(crate) fn endpoint(world: &Snapshot, record: &WorkloadRecord) -> Option<view::EndpointSummary> {
    let endpoint = world.endpoints().get(&record.id)?;
    let row = world.endpoint_row(record.id)?;
    Some(view::EndpointSummary {
        id: endpoint.id,
        namespace: endpoint.workload.namespace.clone(),
        name: endpoint.workload.name.clone(),
        identity: row.identity,
        labels: world.labels(row.identity).map(|labels| texts(labels)).unwrap_or_default(),
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

/// A workload that is attached to a sandbox.
pub(crate) fn attachment(world: &Snapshot, record: &WorkloadRecord) -> Option<AttachmentSummary> {
    let endpoint = world.endpoints().get(&record.id)?;
    let with_gateway = |address: &IpAddr| AttachmentAddress {
        address: *address,
        gateway: match address {
            IpAddr::V4(_) => GATEWAY_V4.into(),
            IpAddr::V6(_) => GATEWAY_V6.into(),
        },
    };
    Some(AttachmentSummary {
        id: record.id,
        host_interface: record.interface.clone(),
        host_mac: link_layer_address(endpoint.wire.host_mac),
        mac: link_layer_address(endpoint.wire.mac),
        mtu: crate::wiring::MTU,
        addresses: record.wanted.addresses.iter().map(with_gateway).collect(),
    })
}

fn link_layer_address(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

fn named_ports(endpoint: &control::Endpoint) -> Vec<(String, String)> {
    let ports = endpoint.workload.named_ports.iter();
    let written = |number, port: &u16| format!("{port}/{}", crate::explain::protocol_name(number));
    ports.map(|((name, number), port)| (name.clone(), written(*number, port))).collect()
}

/// All identities, including the reserved ones.
pub(crate) fn identities(world: &Snapshot) -> Vec<view::IdentitySummary> {
    let mut holders: HashMap<u32, usize> = HashMap::new();
    for row in world.endpoints().keys().filter_map(|id| world.endpoint_row(*id)) {
        *holders.entry(row.identity).or_default() += 1;
    }
    let identities = world.identities().iter();
    identities
        .map(|(id, labels)| view::IdentitySummary {
            id: *id,
            labels: texts(labels),
            workloads: holders.get(id).copied().unwrap_or(0),
        })
        .collect()
}

/// All services, with their frontends and backends.
pub(crate) fn services(world: &Snapshot) -> Vec<view::ServiceSummary> {
    let backends: BTreeMap<&ServiceKey, &[BackendInfo]> = world.services().frontends().collect();
    let services = world.services().services().map(|service| {
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

/// All policies, each with the number of workloads that it applies to.
pub(crate) fn policies(published: &Published) -> Vec<view::PolicySummary> {
    let endpoints = endpoints_by_revision(&published.world);
    let policies = published.world.policies().revisions();
    policies
        .map(|(revision, policy)| view::PolicySummary {
            kind: policy.id.kind.name().into(),
            namespace: policy.id.namespace.clone(),
            name: policy.id.name.clone(),
            rules: policy.specs.iter().map(|spec| spec.rules.len()).sum(),
            endpoints: endpoints.get(&revision).copied().unwrap_or(0),
            source: source(published, &policy.id).into(),
        })
        .collect()
}

/// The file of a policy, or the client that applied it.
fn source<'a>(published: &'a Published, policy: &PolicyId) -> &'a str {
    published.objects.get(&ObjectId::Policy(policy.clone())).map_or("", SourcedObject::source)
}

/// The number of workloads to which the policy of each revision applies. Workloads with the same compiled policy are counted
/// together.
fn endpoints_by_revision(world: &Snapshot) -> HashMap<u64, usize> {
    let mut by_compiled: HashMap<u32, usize> = HashMap::new();
    for row in world.endpoints().keys().filter_map(|id| world.endpoint_row(*id)) {
        *by_compiled.entry(row.policy).or_default() += 1;
    }
    let mut by_revision: HashMap<u64, usize> = HashMap::new();
    for (compiled, workloads) in by_compiled {
        let revisions = world.selection(compiled).into_iter().flat_map(|selection| selection.revisions());
        // Several specs of one policy may apply.
        for revision in revisions.collect::<BTreeSet<u64>>() {
            *by_revision.entry(revision).or_default() += workloads;
        }
    }
    by_revision
}

/// All rules by number.
pub(crate) fn rules(world: &Snapshot) -> Vec<view::RuleSummary> {
    let local_host = RuleId::LOCAL_HOST.0;
    let built_in =
        view::RuleSummary { id: local_host, policy: "Node/local-host".into(), place: String::new() };
    let rules = world.rules().iter().map(|(id, origin)| view::RuleSummary {
        id: id.0,
        policy: origin.policy.to_string(),
        place: origin.place.to_string(),
    });
    [built_in].into_iter().chain(rules).collect()
}

fn backend(backend: &BackendInfo) -> String {
    SocketAddr::new(IpAddr::from(backend.address), u16::from_be_bytes(backend.port)).to_string()
}
