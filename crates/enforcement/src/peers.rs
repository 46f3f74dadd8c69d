//! The peers that rules may match, as the world adds, relabels and removes them.

use crate::enforcement::Enforcement;
use crate::peer_changes::{PeerFacets, differing};
use identity::Labels;
use policy::endpoint_view::NamedPorts;
use std::sync::Arc;

impl Enforcement {
    /// Adds a peer to a namespace, if it has one. A namespace is a peer too: a workload without labels of its own.
    pub fn add_peer(&mut self, peer: u32, labels: Arc<Labels>, ports: NamedPorts, namespace: Option<u32>) {
        let directory = &mut self.registry.directory;
        let facets = directory.insert(peer, labels, ports.clone());
        if let Some(namespace) = namespace {
            directory.join(peer, namespace);
        }
        let around = namespace.map_or(&[][..], |namespace| directory.facets_of(namespace));
        let beyond = differing(&facets, around);
        let is_ordinary = directory.is_ordinary(peer);
        self.peer_changes.add(peer, PeerFacets { facets, beyond, ports, is_ordinary });
    }

    /// Removes a peer.
    pub fn remove_peer(&mut self, peer: u32) {
        let directory = &mut self.registry.directory;
        let is_ordinary = directory.is_ordinary(peer);
        let namespace = directory.namespace_of(peer);
        let ports = directory.view(peer).map_or(NamedPorts::default(), |view| view.ports.clone());
        let facets = directory.remove(peer);
        let around = namespace.map_or(&[][..], |namespace| directory.facets_of(namespace));
        // A grouping that distinguished the peer from its namespace before this step also holds a row for it.
        let mut beyond = differing(&facets, around);
        beyond.extend(self.peer_changes.revert(peer, namespace));
        self.peer_changes.remove(peer, PeerFacets { facets, beyond, ports, is_ordinary });
    }

    /// Gives a peer other labels under the same number.
    pub fn relabel_peer(&mut self, peer: u32, labels: Arc<Labels>) {
        let directory = &mut self.registry.directory;
        let (had, has) = directory.relabel(peer, labels);
        let ports = directory.view(peer).map_or(NamedPorts::default(), |view| view.ports.clone());
        self.peer_changes.change(peer, directory.namespace_of(peer), [&had, &has], ports);
    }

    /// Notes that a workload leaves a peer: the address rows of the workload name the peer until the step is written.
    pub fn leave_peer(&mut self, peer: u32) {
        self.peer_changes.left.insert(peer);
    }

    /// Whether a workload left the peer in the running step.
    pub fn is_left(&self, peer: u32) -> bool {
        self.peer_changes.left.contains(&peer)
    }
}
