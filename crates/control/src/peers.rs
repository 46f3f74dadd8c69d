//! The identities of workloads and nodes, and the peer numbers by which policy rows name them.

use crate::change::{LAST_ENDPOINT, RemoteNode};
use abi::address::AddressInfo;
use abi::identity::{
    FIRST_LOCAL, FIRST_NAMESPACE, FIRST_NODE, FIRST_UNASSIGNED, HOST, REMOTE_NODE, UNKNOWN, is_workload,
};
use enforcement::Enforcement;
use foldhash::HashMap;
use identity::{Identities, Labels, Numbering, Renumbered, Sequence, Source, key};
use policy::endpoint_view::NamedPorts;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Identities and peer numbers of the workloads of the node, and of the cluster's nodes.
#[derive(Clone, Debug)]
pub(crate) struct KnownPeers {
    pub(crate) identities: Identities,
    /// The peer number of each workload, by endpoint number.
    members: HashMap<u32, u32>,
    /// The workloads with a peer number.
    residents: HashMap<u32, Residents>,
    /// Peer numbers by identity: one for each set of named ports.
    numbers: HashMap<u32, Vec<(NamedPorts, u32)>>,
    /// The numbers for peers whose identity is already another peer's number.
    local_numbers: Sequence,
    /// Namespaces with workloads, by name.
    namespaces: HashMap<String, NamespacePeer>,
    namespace_numbers: Sequence,
    restored: Restored,
    /// Peer numbers of other nodes, by their labels.
    nodes: Numbering<Arc<Labels>>,
}

/// Workloads that policies distinguish only by their addresses.
#[derive(Clone, Debug)]
pub(crate) struct Residents {
    namespace: String,
    ports: NamedPorts,
    /// Held once for all these workloads.
    pub(crate) identity: u32,
    endpoints: BTreeSet<u32>,
}

/// A namespace as a peer: a workload of the namespace without own labels.
#[derive(Clone, Debug)]
struct NamespacePeer {
    number: u32,
    labels: Arc<Labels>,
    /// The number of peers in the namespace.
    peers: u32,
}

/// Another node of the cluster, with the peer numbers of its addresses.
#[derive(Clone, Debug)]
pub(crate) struct KnownNode {
    pub(crate) node: RemoteNode,
    number: u32,
    /// The peer number of the node's addresses at which an API server listens, if there are such.
    api_server: Option<u32>,
}

impl KnownNode {
    /// The peer number of an address of the node.
    pub(crate) fn number(&self, is_api_server: bool) -> u32 {
        self.api_server.filter(|_| is_api_server).unwrap_or(self.number)
    }
}

/// Workloads with the same labels and ports that a step adds or changes.
#[derive(Clone, Debug)]
pub(crate) struct AlikeWorkloads {
    /// Their security-relevant labels.
    pub(crate) labels: Arc<Labels>,
    pub(crate) ports: NamedPorts,
    pub(crate) endpoints: BTreeSet<u32>,
    /// Their namespace, and the labels that a workload has from its namespace.
    pub(crate) namespace: String,
    pub(crate) namespace_labels: Arc<Labels>,
    /// Their addresses.
    pub(crate) addresses: Vec<IpAddr>,
}

/// Peer numbers that differ from the identity, from rows that were written before a restart.
#[derive(Clone, Debug, Default)]
struct Restored {
    peers: HashMap<IpAddr, u32>,
    identities: HashMap<u32, u32>,
    namespaces: HashMap<IpAddr, u32>,
}

impl Default for KnownPeers {
    fn default() -> Self {
        Self {
            identities: Identities::default(),
            members: HashMap::default(),
            residents: HashMap::default(),
            numbers: HashMap::default(),
            local_numbers: Sequence::new(FIRST_LOCAL..=FIRST_UNASSIGNED - 1),
            namespaces: HashMap::default(),
            namespace_numbers: Sequence::new(FIRST_NAMESPACE..=u32::MAX),
            restored: Restored::default(),
            nodes: Numbering::new(FIRST_NODE..=FIRST_NAMESPACE - 1),
        }
    }
}

impl Residents {
    /// Whether one of them is a workload of this node.
    fn is_local(&self) -> bool {
        self.endpoints.first().is_some_and(|id| *id <= LAST_ENDPOINT)
    }
}

impl KnownPeers {
    /// Restores the peer number of an address from a row that was written before a restart. Policy rows of that time name
    /// the peer by this number, and packets read them until they are replaced.
    pub(crate) fn restore_number(
        &mut self,
        address: IpAddr,
        &AddressInfo { identity, peer, namespace, .. }: &AddressInfo,
    ) {
        if peer != identity && is_workload(peer) {
            self.restored.peers.insert(address, peer);
            self.restored.identities.insert(peer, identity);
        }
        if peer >= FIRST_NODE {
            self.restored.peers.insert(address, peer);
            self.nodes.continue_above(peer);
        }
        if namespace != 0 {
            self.restored.namespaces.insert(address, namespace);
            self.namespace_numbers.continue_above(namespace);
        }
    }

    /// Forgets the restored numbers. The rows of before are replaced, so no row names a peer that did not come back.
    pub(crate) fn forget_restored(&mut self) {
        self.restored = Restored::default();
    }

    /// The peer number of a workload, and the workloads with this number.
    pub(crate) fn of(&self, endpoint: u32) -> Option<(u32, &Residents)> {
        let peer = *self.members.get(&endpoint)?;
        Some((peer, self.residents.get(&peer)?))
    }

    /// The endpoints that have this peer number.
    pub(crate) fn residents(&self, peer: u32) -> impl Iterator<Item = u32> {
        self.residents.get(&peer).into_iter().flat_map(|residents| &residents.endpoints).copied()
    }

    /// Whether policies apply to the peer: it is the node itself, or a workload of this node has its number. A workload
    /// without a peer number has no policy, and so no traffic.
    pub(crate) fn is_subject(&self, peer: u32) -> bool {
        peer == HOST || self.residents.get(&peer).is_some_and(Residents::is_local)
    }

    /// Adds workloads, or replaces the labels and ports of known ones.
    ///
    /// If all workloads of a peer number change together, they keep the number. Then only the policies that distinguish the
    /// old labels from the new ones change, each by one put of the peer's row.
    pub(crate) fn admit(&mut self, arrival: AlikeWorkloads, enforcement: &mut Enforcement) {
        // Acquired before the old one is released, so that an unchanged identity keeps its number.
        let identity = self.identities.acquire(&arrival.labels);
        self.label_namespace(&arrival, enforcement);
        let Ok(identity) = identity else {
            let endpoints = arrival.endpoints.iter();
            return endpoints.for_each(|endpoint| self.assign(*endpoint, UNKNOWN, enforcement));
        };
        let peer = match self.number(identity, &arrival.ports) {
            Some(peer) => {
                self.identities.release(identity);
                peer
            }
            None if let Some(peer) = self.relabelled_peer(&arrival, enforcement) => {
                return self.relabel(peer, identity, arrival.labels, enforcement);
            }
            None => self.create(identity, &arrival, enforcement),
        };
        arrival.endpoints.iter().for_each(|endpoint| self.assign(*endpoint, peer, enforcement));
    }

    /// Removes a workload.
    pub(crate) fn dismiss(&mut self, endpoint: u32, enforcement: &mut Enforcement) {
        if let Some(peer) = self.members.remove(&endpoint) {
            self.unassign(endpoint, peer, enforcement);
        }
    }

    /// Takes the numbers of identities over that changed, and returns the workloads with these identities. Their peer numbers,
    /// and so all verdicts, stay.
    pub(crate) fn renumber(&mut self, renumbered: &[Renumbered]) -> BTreeSet<u32> {
        let mut workloads = BTreeSet::new();
        for Renumbered { before, after } in renumbered {
            let Some(peers) = self.numbers.remove(before) else { continue };
            for (_, peer) in &peers {
                let Some(residents) = self.residents.get_mut(peer) else { continue };
                residents.identity = *after;
                workloads.extend(&residents.endpoints);
            }
            self.numbers.insert(*after, peers);
        }
        workloads
    }

    /// The peer number of the workloads with this identity and these ports.
    fn number(&self, identity: u32, ports: &NamedPorts) -> Option<u32> {
        let mut peers = self.numbers.get(&identity)?.iter();
        peers.find(|(of, _)| of == ports).map(|(_, peer)| *peer)
    }

    fn insert_number(&mut self, identity: u32, ports: NamedPorts, peer: u32) {
        self.numbers.entry(identity).or_default().push((ports, peer));
    }

    fn remove_number(&mut self, identity: u32, peer: u32) {
        let Some(peers) = self.numbers.get_mut(&identity) else { return };
        peers.retain(|(_, of)| *of != peer);
        if peers.is_empty() {
            self.numbers.remove(&identity);
        }
    }

    /// Adds another node. API servers may listen at some of its addresses.
    pub(crate) fn admit_node(
        &mut self,
        node: RemoteNode,
        api_servers: &BTreeSet<IpAddr>,
        enforcement: &mut Enforcement,
    ) -> KnownNode {
        let (api, plain): (Vec<IpAddr>, Vec<IpAddr>) =
            node.addresses.iter().partition(|address| api_servers.contains(address));
        let number = match node.labels.is_empty() {
            true => REMOTE_NODE,
            false => self.hold_node(node_labels("remote-node", &node.labels, false), &plain, enforcement),
        };
        let labels = || node_labels("remote-node", &node.labels, true);
        let api_server = (!api.is_empty()).then(|| self.hold_node(labels(), &api, enforcement));
        KnownNode { node, number, api_server }
    }

    /// The peer number of other nodes with these labels, with one more holder.
    fn hold_node(&mut self, labels: Labels, addresses: &[IpAddr], enforcement: &mut Enforcement) -> u32 {
        let labels = Arc::new(labels);
        let known = self.nodes.number(&labels).is_some();
        let found = addresses.iter().find_map(|address| self.restored.peers.get(address)).copied();
        if let Some(number) = found.filter(|_| !known) {
            // If another node has the number, or it is no number of a node, the node gets a new one.
            let next = self.nodes.next();
            let _ = self.nodes.restore(number, labels.clone());
            let _ = self.nodes.continue_at(next.max(self.nodes.next()));
        }
        let Ok(number) = self.nodes.acquire(&labels) else { return REMOTE_NODE };
        if !known {
            enforcement.add_peer(number, labels, NamedPorts::default(), None);
        }
        number
    }

    /// Releases the peer numbers of another node.
    pub(crate) fn dismiss_node(&mut self, known: &KnownNode, enforcement: &mut Enforcement) {
        for number in [Some(known.number), known.api_server].into_iter().flatten() {
            if self.nodes.release(number).is_some() {
                enforcement.remove_peer(number);
            }
        }
    }

    /// The peer number that exactly these workloads have, if only their labels changed.
    fn relabelled_peer(&self, arrival: &AlikeWorkloads, enforcement: &Enforcement) -> Option<u32> {
        let peer = *self.members.get(arrival.endpoints.first()?)?;
        let residents = self.residents.get(&peer)?;
        let are_same = residents.endpoints == arrival.endpoints
            && residents.ports == arrival.ports
            && residents.namespace == arrival.namespace
            && !enforcement.is_left(peer);
        let was_ordinary = enforcement.registry().directory.is_ordinary(peer);
        (are_same && was_ordinary && is_ordinary(&arrival.labels)).then_some(peer)
    }

    fn relabel(&mut self, peer: u32, identity: u32, labels: Arc<Labels>, enforcement: &mut Enforcement) {
        let residents = self.residents.get_mut(&peer).expect("it has residents");
        let before = std::mem::replace(&mut residents.identity, identity);
        let ports = residents.ports.clone();
        self.remove_number(before, peer);
        self.insert_number(identity, ports, peer);
        enforcement.relabel_peer(peer, self.identities.labels(identity).cloned().unwrap_or(labels));
        self.identities.release(before);
    }

    /// A new peer number for workloads of this identity. The caller holds the identity.
    fn create(&mut self, identity: u32, arrival: &AlikeWorkloads, enforcement: &mut Enforcement) -> u32 {
        let Some(peer) = self.free_number(identity, &arrival.addresses) else {
            self.identities.release(identity);
            return UNKNOWN;
        };
        let labels = self.identities.labels(identity).unwrap_or(&arrival.labels).clone();
        let (ports, namespace) = (arrival.ports.clone(), arrival.namespace.clone());
        let around = self.enter_namespace(arrival, enforcement);
        enforcement.add_peer(peer, labels, ports.clone(), around);
        self.insert_number(identity, ports.clone(), peer);
        let endpoints = BTreeSet::new();
        self.residents.insert(peer, Residents { namespace, ports, identity, endpoints });
        peer
    }

    /// Gives a workload a peer number; no rule matches the number [`UNKNOWN`].
    fn assign(&mut self, endpoint: u32, peer: u32, enforcement: &mut Enforcement) {
        let before = self.members.insert(endpoint, peer);
        if let Some(residents) = self.residents.get_mut(&peer) {
            residents.endpoints.insert(endpoint);
        }
        if let Some(before) = before.filter(|before| *before != peer) {
            self.unassign(endpoint, before, enforcement);
        }
    }

    fn unassign(&mut self, endpoint: u32, peer: u32, enforcement: &mut Enforcement) {
        enforcement.leave_peer(peer);
        let Some(residents) = self.residents.get_mut(&peer) else { return };
        residents.endpoints.remove(&endpoint);
        if residents.endpoints.is_empty()
            && let Some(Residents { namespace, identity, .. }) = self.residents.remove(&peer)
        {
            enforcement.remove_peer(peer);
            self.leave_namespace(&namespace, enforcement);
            self.remove_number(identity, peer);
            self.identities.release(identity);
        }
    }

    /// Updates the labels of a namespace with workloads to the labels that an arrival has from it.
    fn label_namespace(&mut self, arrival: &AlikeWorkloads, enforcement: &mut Enforcement) {
        let Some(namespace) = self.namespaces.get_mut(&arrival.namespace) else { return };
        if namespace.labels != arrival.namespace_labels {
            namespace.labels = arrival.namespace_labels.clone();
            enforcement.relabel_peer(namespace.number, arrival.namespace_labels.clone());
        }
    }

    /// The number of an arrival's namespace, with one more peer number in it. A namespace without a number has no rows.
    fn enter_namespace(&mut self, arrival: &AlikeWorkloads, enforcement: &mut Enforcement) -> Option<u32> {
        if let Some(namespace) = self.namespaces.get_mut(&arrival.namespace) {
            namespace.peers += 1;
            return Some(namespace.number);
        }
        let is_free = |number: &u32| enforcement.registry().directory.view(*number).is_none();
        let mut found =
            arrival.addresses.iter().filter_map(|address| self.restored.namespaces.get(address)).copied();
        let free = found.find(is_free).or_else(|| self.namespace_numbers.take(|number| !is_free(&number)));
        let (number, labels) = (free?, arrival.namespace_labels.clone());
        enforcement.add_peer(number, labels.clone(), NamedPorts::default(), None);
        self.namespaces.insert(arrival.namespace.clone(), NamespacePeer { number, labels, peers: 1 });
        Some(number)
    }

    fn leave_namespace(&mut self, name: &str, enforcement: &mut Enforcement) {
        let Some(namespace) = self.namespaces.get_mut(name) else { return };
        namespace.peers -= 1;
        if namespace.peers == 0 {
            enforcement.remove_peer(namespace.number);
            self.namespaces.remove(name);
        }
    }

    /// A number that no peer has: the number before a restart, else the identity, else a number of this node. A number that the
    /// cluster assigned is not taken: it may have been another peer's until this step, whose rows packets still read.
    fn free_number(&mut self, identity: u32, addresses: &[IpAddr]) -> Option<u32> {
        let is_free = |peer: &u32| !self.residents.contains_key(peer);
        let is_same = |peer: &u32| self.restored.identities.get(peer).is_none_or(|found| *found == identity);
        let found = addresses.iter().filter_map(|address| self.restored.peers.get(address)).copied();
        let fresh = Some(identity).filter(|identity| self.identities.known().is_own(*identity));
        let own = found.chain(fresh).find(|peer| is_same(peer) && is_free(peer));
        own.or_else(|| self.local_numbers.take(|peer| !(is_same(&peer) && is_free(&peer))))
    }
}

/// Whether a workload with these labels has the labels that every workload has.
fn is_ordinary(labels: &Labels) -> bool {
    labels.value(Some(&Source::K8s), key::NAMESPACE).is_some()
}

/// The labels of a node: the reserved label of a local or remote node, the label of an API server, and its own labels.
pub(crate) fn node_labels(reserved: &str, own: &BTreeMap<String, String>, is_api_server: bool) -> Labels {
    let mut labels = Labels::reserved(reserved);
    if is_api_server {
        labels.insert(Source::Reserved, key::KUBE_APISERVER, "");
    }
    own.iter().for_each(|(name, value)| labels.insert(Source::K8s, name.as_str(), value.as_str()));
    labels
}

#[cfg(test)]
impl KnownPeers {
    /// How many restored numbers are kept.
    pub(crate) fn restored_numbers(&self) -> usize {
        let Restored { peers, identities, namespaces } = &self.restored;
        peers.len() + identities.len() + namespaces.len()
    }
}
