//! Who the workloads and nodes are: their identities, and the numbers by which policy rows name them.

use crate::change::Endpoint;
use abi::identity::{FIRST_LOCAL, FIRST_NODE, HOST, REMOTE_NODE, UNKNOWN};
use identity::{Allocator, Labels, Numbering, Source, filter};
use policy::directory::{Directory, FacetId};
use policy::party::{NamedPorts, Party};
use policy::rule::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Identities and peer numbers of the workloads of the node, and of the cluster's nodes.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    pub(crate) identities: Allocator,
    /// Everyone a policy may meet.
    pub(crate) directory: Directory,
    members: BTreeMap<u32, Member>,
    /// The named ports for which the peer number is the identity itself.
    usual_ports: BTreeMap<u32, NamedPorts>,
    /// Peer numbers of workloads whose named ports are not the usual ones of their identity.
    unusual: Numbering<(u32, NamedPorts)>,
    /// The endpoints that have a peer number.
    residents: BTreeMap<u32, BTreeSet<u32>>,
    /// Peer numbers of other nodes, by their labels.
    nodes: Numbering<Arc<Labels>>,
}

/// One workload as policy knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) labels: Arc<Labels>,
    pub(crate) ports: Arc<NamedPorts>,
    pub(crate) identity: u32,
    pub(crate) peer: u32,
}

/// Peer numbers that came and went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Movement {
    pub(crate) came: BTreeMap<u32, Marks>,
    pub(crate) went: BTreeMap<u32, Marks>,
}

/// By what policies can tell a peer from others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// The facets with a selector that it has, in order.
    pub(crate) facets: Vec<FacetId>,
    pub(crate) ports: NamedPorts,
    /// Whether these, and what every workload has, are all that there is to know of it.
    pub(crate) is_ordinary: bool,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            identities: Allocator::new(),
            directory: Directory::new(),
            members: BTreeMap::new(),
            usual_ports: BTreeMap::new(),
            unusual: Numbering::new(FIRST_LOCAL..=FIRST_NODE - 1),
            residents: BTreeMap::new(),
            nodes: Numbering::new(FIRST_NODE..=2 * FIRST_NODE - 1),
        }
    }
}

impl Member {
    /// The workload as policies see it; its address is not known here.
    pub(crate) fn party(&self) -> Party<'_> {
        Party { ports: &self.ports, ..Party::new(self.identity, &self.labels) }
    }
}

impl Movement {
    fn comes(&mut self, peer: u32, marks: Marks) {
        self.came.insert(peer, marks);
    }

    /// Whoever came and went within one change was never there; whoever went and came was replaced.
    fn goes(&mut self, peer: u32, marks: Marks) {
        if self.came.remove(&peer).is_none() {
            self.went.insert(peer, marks);
        }
    }
}

impl Peers {
    /// What is known of the workload with this endpoint number.
    pub(crate) fn member(&self, endpoint: u32) -> Option<&Member> {
        self.members.get(&endpoint)
    }

    /// The endpoints that have this peer number.
    pub(crate) fn residents(&self, peer: u32) -> impl Iterator<Item = u32> {
        self.residents.get(&peer).into_iter().flatten().copied()
    }

    /// Someone who has this peer number, as a subject of policies: a workload, or the node itself. Who got no number is
    /// nobody's subject, and so has no policy and no traffic.
    pub(crate) fn subject(&self, peer: u32) -> Option<Party<'_>> {
        match peer {
            HOST => self.directory.party(HOST),
            _ => self.resident(peer).map(Member::party),
        }
    }

    /// A workload with this peer number; all of them have the same labels and named ports.
    fn resident(&self, peer: u32) -> Option<&Member> {
        self.members.get(self.residents.get(&peer).filter(|_| peer != UNKNOWN)?.first()?)
    }

    /// Every peer number that policies may be about.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = u32> {
        self.residents.keys().copied().chain([HOST])
    }

    /// Takes in a workload, or what changed about it.
    pub(crate) fn admit(&mut self, endpoint: &Endpoint, labels: Labels, movement: &mut Movement) {
        // Policies see what identities are made of, on both ends.
        let labels = Arc::new(filter::relevant(labels));
        let ports = named_ports(endpoint);
        if self.members.get(&endpoint.id).is_some_and(|known| known.labels == labels && *known.ports == ports)
        {
            return;
        }
        // Acquired before the old one is released, so that an unchanged identity keeps its number.
        let identity = self.identities.acquire(&labels).unwrap_or(UNKNOWN);
        let peer = self.peer_number(identity, &ports);
        let (labels, ports) = match self.resident(peer) {
            Some(known) => (known.labels.clone(), known.ports.clone()),
            None => {
                // Who got no number has labels of its own, not those that the number for nobody stands for.
                let shared = self.identities.labels(identity).filter(|shared| **shared == labels);
                (shared.cloned().unwrap_or(labels), Arc::new(ports))
            }
        };
        if peer != UNKNOWN && self.residents.get(&peer).is_none_or(BTreeSet::is_empty) {
            self.enter(peer, labels.clone(), NamedPorts::clone(&ports), movement);
        }
        let member = Member { labels, ports, identity, peer };
        let old = self.members.insert(endpoint.id, member);
        // Whoever stays under the same number has not left it.
        self.residents.entry(peer).or_default().insert(endpoint.id);
        if let Some(old) = old {
            self.leave(endpoint.id, &old, movement);
        }
    }

    /// Forgets a workload.
    pub(crate) fn dismiss(&mut self, endpoint: u32, movement: &mut Movement) {
        if let Some(old) = self.members.remove(&endpoint) {
            self.leave(endpoint, &old, movement);
        }
    }

    /// Gives the local node its labels.
    pub(crate) fn label_host(&mut self, labels: &BTreeMap<String, String>, movement: &mut Movement) {
        self.exit(HOST, NamedPorts::default(), movement);
        self.enter(HOST, Arc::new(node_labels("host", labels)), NamedPorts::default(), movement);
    }

    /// The number of other nodes with these labels, held once more.
    pub(crate) fn admit_node(&mut self, labels: &BTreeMap<String, String>, movement: &mut Movement) -> u32 {
        if labels.is_empty() {
            return REMOTE_NODE;
        }
        let labels = Arc::new(node_labels("remote-node", labels));
        let known = self.nodes.number(&labels).is_some();
        let Ok(number) = self.nodes.acquire(&labels) else { return REMOTE_NODE };
        if !known {
            self.enter(number, labels, NamedPorts::default(), movement);
        }
        number
    }

    /// Gives up one hold of the number of other nodes.
    pub(crate) fn dismiss_node(&mut self, number: u32, movement: &mut Movement) {
        if self.nodes.release(number).is_some() {
            self.exit(number, NamedPorts::default(), movement);
        }
    }

    fn enter(&mut self, peer: u32, labels: Arc<Labels>, ports: NamedPorts, movement: &mut Movement) {
        let facets = self.directory.insert(peer, labels, ports.clone());
        let is_ordinary = self.directory.is_ordinary(peer);
        movement.comes(peer, Marks { facets, ports, is_ordinary });
    }

    fn exit(&mut self, peer: u32, ports: NamedPorts, movement: &mut Movement) {
        let is_ordinary = self.directory.is_ordinary(peer);
        let facets = self.directory.remove(peer);
        movement.goes(peer, Marks { facets, ports, is_ordinary });
    }

    fn leave(&mut self, endpoint: u32, old: &Member, movement: &mut Movement) {
        if self.members.get(&endpoint).is_none_or(|now| now.peer != old.peer) {
            let residents =
                self.residents.get_mut(&old.peer).expect("a member resides under its peer number");
            residents.remove(&endpoint);
            if residents.is_empty() {
                self.residents.remove(&old.peer);
                if old.peer != UNKNOWN {
                    self.exit(old.peer, NamedPorts::clone(&old.ports), movement);
                }
            }
        }
        if old.peer != old.identity {
            self.unusual.release(old.peer);
        }
        if self.identities.release(old.identity).is_some() {
            self.usual_ports.remove(&old.identity);
        }
    }

    fn peer_number(&mut self, identity: u32, ports: &NamedPorts) -> u32 {
        if self.usual_ports.entry(identity).or_insert_with(|| ports.clone()) == ports {
            return identity;
        }
        // Without a number of its own the workload is taken for one that no rule knows.
        self.unusual.acquire(&(identity, ports.clone())).unwrap_or(UNKNOWN)
    }
}

/// The labels of a node: what it is to this one, and its own.
fn node_labels(reserved: &str, own: &BTreeMap<String, String>) -> Labels {
    let mut labels = Labels::reserved(reserved);
    own.iter().for_each(|(name, value)| labels.insert(Source::K8s, name.as_str(), value.as_str()));
    labels
}

/// The workload's named ports as policy sees them.
fn named_ports(endpoint: &Endpoint) -> NamedPorts {
    let mut ports = NamedPorts::default();
    for ((name, number), port) in endpoint.named_ports.iter() {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            if protocol.numbers().contains(number) {
                ports.insert(name, protocol, *port);
            }
        }
    }
    ports
}
