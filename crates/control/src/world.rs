//! The state of the node from which the rows follow.

use crate::change::{Endpoint, LAST_ENDPOINT, Node, RemoteNode, RemoteWorkload, Workload};
use crate::ledger::Ledger;
use crate::peers::{KnownNode, KnownPeers, Residents};
use crate::planner::Named;
use crate::pod_blocks::PodBlocks;
use abi::config::Config;
use abi::row::Row;
use abi::service::{BackendInfo, ServiceKey};
use enforcement::{Enforcement, RowChanges, Rows};
use identity::{Allocator, Interned, Sequence, SharedMap};
use policy::endpoint_view::EndpointView;
use policy::registry::Registry;
use policy::rule::Cidr;
use service::{Service, ServiceName, Services};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The owner of an address. An address may have several owners for a moment, or by mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// A workload of this node or of another node, by its number.
    Workload(u32),
    /// This node.
    Node,
    /// Another node, by its name.
    RemoteNode(Arc<str>),
}

/// The world of one node.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) node: Arc<Node>,
    pub(crate) remote_nodes: SharedMap<String, Arc<KnownNode>>,
    pub(crate) pod_blocks: PodBlocks,
    /// The addresses of the API servers.
    pub(crate) api_servers: Arc<BTreeSet<IpAddr>>,
    pub(crate) namespaces: BTreeMap<String, KnownNamespace>,
    pub(crate) endpoints: SharedMap<u32, Arc<Endpoint>>,
    /// Workloads of other nodes, by numbers above [`LAST_ENDPOINT`].
    pub(crate) remote_workloads: SharedMap<u32, Arc<RemoteWorkload>>,
    pub(crate) remote_numbers: Sequence,
    /// Labels and named ports of workloads. Workloads of one controller share them.
    pub(crate) labels: Interned<Arc<BTreeMap<String, String>>>,
    pub(crate) named_ports: Interned<Arc<BTreeMap<(String, u8), u16>>>,
    /// The owners of addresses.
    pub(crate) owners: BTreeSet<(IpAddr, Owner)>,
    pub(crate) peers: KnownPeers,
    pub(crate) enforcement: Enforcement,
    pub(crate) services: Services,
    /// How many ports of the node lead to workloads.
    pub(crate) host_ports: usize,
    pub(crate) ledger: Ledger,
    pub(crate) named: Named,
    /// The room of the changes of rows, which the next step uses again.
    pub(crate) room: RowChanges,
    /// Rows found in the maps, after a restart or a failed write. The next change replaces those that differ.
    pub(crate) found: Option<Rows>,
    pub(crate) config: Config,
}

/// The labels of a namespace, and its workloads.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownNamespace {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) workloads: BTreeSet<u32>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            node: Arc::default(),
            remote_nodes: SharedMap::new(),
            pod_blocks: PodBlocks::default(),
            api_servers: Arc::default(),
            namespaces: BTreeMap::new(),
            endpoints: SharedMap::new(),
            remote_workloads: SharedMap::new(),
            remote_numbers: Sequence::new(LAST_ENDPOINT + 1..=u32::MAX),
            labels: Interned::default(),
            named_ports: Interned::default(),
            owners: BTreeSet::new(),
            peers: KnownPeers::default(),
            enforcement: Enforcement::default(),
            services: Services::default(),
            host_ports: 0,
            ledger: Ledger::default(),
            named: Named::default(),
            room: RowChanges::default(),
            found: Some(Rows::new()),
            config: Config::default(),
        }
    }
}

impl World {
    /// A node without workloads and policies.
    pub fn new() -> Self {
        Self::default()
    }

    /// All rows that the maps have once all writes so far are made, without the configuration.
    pub fn rows(&self) -> Rows {
        let rows = self.row_subjects().filter_map(|subject| self.entry_of(subject).row());
        rows.chain(self.reported_rows()).filter_map(|row| Some((row.key()?, row))).collect()
    }

    /// The rows of the owners that report themselves which rows change.
    pub(crate) fn reported_rows(&self) -> impl Iterator<Item = Row> {
        self.enforcement.rows().chain(self.services.table().rows())
    }

    /// The settings, labels and addresses of the node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The other nodes of the cluster.
    pub fn remote_nodes(&self) -> impl Iterator<Item = &RemoteNode> {
        self.remote_nodes.values().map(|known| &known.node)
    }

    /// The workloads by number.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().map(|endpoint| &**endpoint)
    }

    /// The workload with this number.
    pub fn endpoint_of(&self, id: u32) -> Option<&Endpoint> {
        self.endpoints.get(&id).map(|endpoint| &**endpoint)
    }

    /// The workloads of other nodes.
    pub fn remote_workloads(&self) -> impl Iterator<Item = &RemoteWorkload> {
        self.remote_workloads.values().map(|remote| &**remote)
    }

    /// The workload of another node with this number.
    pub fn remote_workload_of(&self, id: u32) -> Option<&RemoteWorkload> {
        self.remote_workloads.get(&id).map(|remote| &**remote)
    }

    /// The numbers of the workloads in a namespace, those of this node first.
    pub fn workloads_in(&self, namespace: &str) -> impl Iterator<Item = u32> {
        self.namespaces.get(namespace).into_iter().flat_map(|known| &known.workloads).copied()
    }

    /// A workload of this node or of another node.
    pub fn workload(&self, id: u32) -> Option<&Workload> {
        let remote = || self.remote_workloads.get(&id).map(|remote| &remote.workload);
        self.endpoints.get(&id).map(|endpoint| &endpoint.workload).or_else(remote)
    }

    /// The workload with this name.
    pub fn endpoint(&self, namespace: &str, name: &str) -> Option<&Endpoint> {
        let within = self.namespaces.get(namespace)?.workloads.iter();
        within.filter_map(|id| self.endpoint_of(*id)).find(|endpoint| endpoint.workload.name == name)
    }

    /// The number of the workload that has this address, of this node or of another. Of several it is the one whose identity
    /// packets with this address have.
    pub fn workload_at(&self, address: IpAddr) -> Option<u32> {
        let workloads = self.owners_of(address).filter_map(|owner| match owner {
            Owner::Workload(id) => Some(*id),
            Owner::Node | Owner::RemoteNode(_) => None,
        });
        workloads.reduce(|found, id| if id > LAST_ENDPOINT { found } else { id })
    }

    /// The domain names that an address outside the cluster is known by.
    pub fn names(&self, address: IpAddr) -> &BTreeSet<String> {
        self.enforcement.names().of(address)
    }

    /// A workload's identity, security labels and named ports.
    pub fn view(&self, workload: u32) -> Option<EndpointView<'_>> {
        let (peer, Residents { identity, .. }) = self.peers.of(workload)?;
        Some(EndpointView { number: *identity, ..self.registry().directory.view(peer)? })
    }

    /// A workload's security identity.
    pub fn identity(&self, workload: u32) -> Option<u32> {
        Some(self.peers.of(workload)?.1.identity)
    }

    /// The service with this name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.table().listing().service(&ServiceName::new(namespace, name))
    }

    /// Identities in use.
    pub fn identities(&self) -> &Allocator {
        self.peers.identities.known()
    }

    /// The policies, the peers that their rules match, and the numbers of rules and rule sets.
    pub fn registry(&self) -> &Registry {
        self.enforcement.registry()
    }

    /// The services.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.table().listing().services()
    }

    /// Each service address and port with its backends.
    pub fn frontends(&self) -> impl Iterator<Item = (&ServiceKey, &[BackendInfo])> {
        self.services.table().listing().frontends()
    }

    /// The owners of the address, workloads first.
    pub(crate) fn owners_of(&self, address: IpAddr) -> impl Iterator<Item = &Owner> {
        let first = (address, Owner::Workload(0));
        let owners = self.owners.range(first..).take_while(move |(owned, _)| *owned == address);
        owners.map(|(_, owner)| owner)
    }

    /// The addresses of a block that have owners, each with its owner.
    pub(crate) fn owners_within(&self, block: &Cidr) -> impl Iterator<Item = &(IpAddr, Owner)> {
        let first = (block.address(), Owner::Workload(0));
        self.owners.range(first..).take_while(move |(address, _)| block.contains(*address))
    }
}
