//! The world as it is at one moment, for readers: a value that later changes do not change.
//!
//! It shares everything with the world, so it costs nothing to take, however much is stored. A later change copies the few
//! nodes of the shared maps that it touches.

use crate::change::{Endpoint, LAST_ENDPOINT, Node, RemoteNode, RemoteWorkload, Workload};
use crate::peers::KnownNode;
use crate::workloads::named_ports;
use crate::world::World;
use abi::address::AddressInfo;
use abi::endpoint::{EndpointInfo, EndpointKey};
use enforcement::InForce;
use identity::{Labels, SharedMap};
use policy::book::{RuleId, RuleOrigin};
use policy::endpoint_view::NamedPorts;
use policy::names::DomainNames;
use policy::rule::Cidr;
use policy::set::{PolicyKey, SubmittedPolicies};
use service::ServiceListing;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The world at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    node: Arc<Node>,
    remote_nodes: SharedMap<String, Arc<KnownNode>>,
    api_servers: Arc<BTreeSet<IpAddr>>,
    endpoints: SharedMap<u32, Arc<Endpoint>>,
    remote_workloads: SharedMap<u32, Arc<RemoteWorkload>>,
    endpoint_rows: SharedMap<u32, (EndpointKey, EndpointInfo)>,
    address_rows: SharedMap<Cidr, AddressInfo>,
    identities: SharedMap<u32, Arc<Labels>>,
    policies: SubmittedPolicies,
    compiled: SharedMap<u32, InForce>,
    rules: SharedMap<RuleId, RuleOrigin>,
    names: DomainNames,
    services: ServiceListing,
}

/// A workload as policies see it.
#[derive(Clone, Debug)]
pub struct WorkloadView<'a> {
    /// Its identity.
    pub identity: u32,
    /// Its security-relevant labels.
    pub labels: &'a Labels,
    /// Its named ports.
    pub ports: NamedPorts,
}

impl World {
    /// The world as it is now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            node: self.node.clone(),
            remote_nodes: self.remote_nodes.clone(),
            api_servers: self.api_servers.clone(),
            endpoints: self.endpoints.clone(),
            remote_workloads: self.remote_workloads.clone(),
            endpoint_rows: self.ledger.endpoints().clone(),
            address_rows: self.ledger.addresses().clone(),
            identities: self.identities().all_labels(),
            policies: self.registry().policies.submitted().clone(),
            compiled: self.enforcement.in_force().clone(),
            rules: self.registry().book.rules().clone(),
            names: self.enforcement.names().clone(),
            services: self.services.table().listing().clone(),
        }
    }
}

impl Snapshot {
    /// The settings, labels and addresses of the node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The other nodes of the cluster.
    pub fn remote_nodes(&self) -> impl Iterator<Item = &RemoteNode> {
        self.remote_nodes.values().map(|known| &known.node)
    }

    /// The addresses of the API servers.
    pub fn api_servers(&self) -> &BTreeSet<IpAddr> {
        &self.api_servers
    }

    /// The workloads of this node, by number.
    pub fn endpoints(&self) -> &SharedMap<u32, Arc<Endpoint>> {
        &self.endpoints
    }

    /// The workloads of other nodes, by numbers above those of this node.
    pub fn remote_workloads(&self) -> &SharedMap<u32, Arc<RemoteWorkload>> {
        &self.remote_workloads
    }

    /// The workloads of this node and of others, by number.
    pub fn workloads(&self) -> impl Iterator<Item = (u32, &Workload)> {
        let own = self.endpoints.iter().map(|(id, endpoint)| (*id, &endpoint.workload));
        own.chain(self.remote_workloads.iter().map(|(id, remote)| (*id, &remote.workload)))
    }

    /// The number of the workload with this name, those of this node first.
    pub fn workload_named(&self, namespace: &str, name: &str) -> Option<u32> {
        let is_it =
            |(_, workload): &(u32, &Workload)| workload.namespace == namespace && workload.name == name;
        self.workloads().find(is_it).map(|(id, _)| id)
    }

    /// The number of the workload that has this address. Of several it is the one whose identity packets with this address
    /// have.
    pub fn workload_at(&self, address: IpAddr) -> Option<u32> {
        let has_it = |(_, workload): &(u32, &Workload)| workload.addresses.contains(&address);
        let workloads = self.workloads().filter(has_it).map(|(id, _)| id);
        workloads.reduce(|found, id| if id > LAST_ENDPOINT { found } else { id })
    }

    /// The workload with this number.
    pub fn workload(&self, id: u32) -> Option<&Workload> {
        let remote = || self.remote_workloads.get(&id).map(|remote| &remote.workload);
        self.endpoints.get(&id).map(|endpoint| &endpoint.workload).or_else(remote)
    }

    /// A workload as policies see it; none if it has no identity.
    pub fn view(&self, id: u32) -> Option<WorkloadView<'_>> {
        let workload = self.workload(id)?;
        // The row of an address that a workload of this node has, too, is of that workload.
        let row =
            |address: &IpAddr| self.address_rows.get(&Cidr::host(*address)).filter(|row| row.interface == 0);
        let identity = match self.endpoint_row(id) {
            Some(row) => row.identity,
            None => workload.addresses.iter().find_map(row)?.identity,
        };
        Some(WorkloadView { identity, labels: self.labels(identity)?, ports: named_ports(workload) })
    }

    /// The endpoint row of a workload of this node; none while no policy is assigned to the workload.
    pub fn endpoint_row(&self, id: u32) -> Option<&EndpointInfo> {
        self.endpoint_rows.get(&id).map(|(_, row)| row)
    }

    /// The labels of an identity.
    pub fn labels(&self, identity: u32) -> Option<&Arc<Labels>> {
        self.identities.get(&identity)
    }

    /// The identities, reserved ones included, by number.
    pub fn identities(&self) -> &SharedMap<u32, Arc<Labels>> {
        &self.identities
    }

    /// The policies, and what they refer to.
    pub fn policies(&self) -> &SubmittedPolicies {
        &self.policies
    }

    /// The selection of policies that a compiled policy has, by the number of the compiled policy in the endpoint row.
    pub fn selection(&self, policy: u32) -> Option<&PolicyKey> {
        self.compiled.get(&policy).map(InForce::key)
    }

    /// The rules of policies by number.
    pub fn rules(&self) -> &SharedMap<RuleId, RuleOrigin> {
        &self.rules
    }

    /// The domain names of addresses outside the cluster.
    pub fn names(&self) -> &DomainNames {
        &self.names
    }

    /// The services, their slices and their frontends.
    pub fn services(&self) -> &ServiceListing {
        &self.services
    }
}
