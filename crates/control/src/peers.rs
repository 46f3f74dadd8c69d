//! Who the workloads are: their identities, and the numbers by which policy rows name them.

use crate::change::Endpoint;
use abi::identity::{FIRST_LOCAL, UNKNOWN};
use identity::{Allocator, Labels, Numbering, filter};
use policy::directory::Directory;
use policy::party::{NamedPorts, Party};
use policy::rule::Protocol;
use std::collections::{BTreeMap, BTreeSet};

/// Identities and peer numbers of the workloads of the node.
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
    /// How many workloads have a peer number.
    population: BTreeMap<u32, usize>,
}

/// One workload as policy knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) labels: Labels,
    pub(crate) ports: NamedPorts,
    pub(crate) identity: u32,
    pub(crate) peer: u32,
}

impl Member {
    /// The workload as policies see it; its address is not known here.
    pub(crate) fn party(&self) -> Party<'_> {
        Party { ports: &self.ports, ..Party::new(self.identity, &self.labels) }
    }
}

/// Peer numbers that came and went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Movement {
    pub(crate) came: BTreeSet<u32>,
    pub(crate) went: BTreeSet<u32>,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            identities: Allocator::new(),
            directory: Directory::new(),
            members: BTreeMap::new(),
            usual_ports: BTreeMap::new(),
            unusual: Numbering::new(FIRST_LOCAL..=2 * FIRST_LOCAL - 1),
            population: BTreeMap::new(),
        }
    }
}

impl Peers {
    /// What is known of the workload with this endpoint number.
    pub(crate) fn member(&self, endpoint: u32) -> Option<&Member> {
        self.members.get(&endpoint)
    }

    /// Takes in a workload, or what changed about it.
    pub(crate) fn admit(&mut self, endpoint: &Endpoint, labels: &Labels, movement: &mut Movement) {
        // Policies see what identities are made of, on both ends.
        let labels = filter::relevant(labels);
        let ports = named_ports(endpoint);
        if self.members.get(&endpoint.id).is_some_and(|known| known.labels == labels && known.ports == ports)
        {
            return;
        }
        // Acquired before the old one is released, so that an unchanged identity keeps its number.
        let identity = self.identities.acquire(&labels).unwrap_or(UNKNOWN);
        let peer = self.peer_number(identity, &ports);
        let population = self.population.entry(peer).or_default();
        *population += 1;
        if *population == 1 {
            self.directory.insert(peer, labels.clone(), ports.clone());
            movement.came.insert(peer);
            movement.went.remove(&peer);
        }
        let member = Member { labels, ports, identity, peer };
        if let Some(old) = self.members.insert(endpoint.id, member) {
            self.leave(&old, movement);
        }
    }

    /// Forgets a workload.
    pub(crate) fn dismiss(&mut self, endpoint: u32, movement: &mut Movement) {
        if let Some(old) = self.members.remove(&endpoint) {
            self.leave(&old, movement);
        }
    }

    fn leave(&mut self, old: &Member, movement: &mut Movement) {
        let population = self.population.get_mut(&old.peer).expect("a member's peer number is counted");
        *population -= 1;
        if *population == 0 {
            self.population.remove(&old.peer);
            self.directory.remove(old.peer);
            if !movement.came.remove(&old.peer) {
                movement.went.insert(old.peer);
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

/// The workload's named ports as policy sees them.
fn named_ports(endpoint: &Endpoint) -> NamedPorts {
    let mut ports = NamedPorts::default();
    for ((name, number), port) in &endpoint.named_ports {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            if protocol.numbers().contains(number) {
                ports.insert(name, protocol, *port);
            }
        }
    }
    ports
}
