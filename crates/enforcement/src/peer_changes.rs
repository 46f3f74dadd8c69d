//! The peer numbers that one step adds, removes or relabels, with the facets by which groupings distinguish them.

use policy::directory::{Directory, FacetId};
use policy::endpoint_view::NamedPorts;
use policy::grouping::FacetChange;
use std::collections::{BTreeMap, BTreeSet};

/// Changes of peer numbers, those of namespaces included.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerChanges {
    /// Added peers.
    pub(crate) added: BTreeMap<u32, PeerFacets>,
    /// Removed peers.
    pub(crate) removed: BTreeMap<u32, PeerFacets>,
    /// Peers that a workload left: its address rows name them until they are written.
    pub(crate) left: BTreeSet<u32>,
    /// Those relabelled in place, by namespace and number; a namespace comes before its peers.
    changed: BTreeMap<(u32, u32), (FacetChange, NamedPorts)>,
}

/// The properties by which policies distinguish a peer from others.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerFacets {
    /// The facets with a selector that the peer has, sorted.
    pub(crate) facets: Vec<FacetId>,
    /// Facets that either the peer or its namespace has, but not both.
    pub(crate) beyond: Vec<FacetId>,
    /// Its named ports.
    pub(crate) ports: NamedPorts,
    /// False for a workload without a namespace label, and for peers that are no workloads: groupings evaluate every facet for them.
    pub(crate) is_ordinary: bool,
}

/// Changed peers of one namespace; the namespace itself comes first, if it changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamespaceChanges {
    pub(crate) changes: Vec<FacetChange>,
    /// The facets lost or gained, sorted: groupings that track one of these must follow the changes.
    pub(crate) facets: Vec<FacetId>,
    pub(crate) ports: Vec<NamedPorts>,
}

impl PeerChanges {
    /// Records an added peer.
    pub(crate) fn add(&mut self, peer: u32, peer_facets: PeerFacets) {
        self.added.insert(peer, peer_facets);
    }

    /// A peer that is added and removed in one step leaves no trace; one that is removed and added again is replaced.
    pub(crate) fn remove(&mut self, peer: u32, peer_facets: PeerFacets) {
        if self.added.remove(&peer).is_none() {
            self.removed.insert(peer, peer_facets);
        }
    }

    /// Records the facets that a peer lost and gained by a relabelling in place.
    pub(crate) fn change(
        &mut self,
        peer: u32,
        namespace: Option<u32>,
        [had, has]: [&[FacetId]; 2],
        ports: NamedPorts,
    ) {
        let change = FacetChange { peer, lost: lacking(had, has), gained: lacking(has, had) };
        self.changed.insert(place(peer, namespace), (change, ports));
    }

    /// Forgets the relabelling of a peer that is removed in the same step. Returns the facets that the relabelling of the peer, or
    /// of its namespace, changed.
    pub(crate) fn revert(&mut self, peer: u32, namespace: Option<u32>) -> Vec<FacetId> {
        let own = self.changed.remove(&place(peer, namespace));
        let around = namespace.and_then(|namespace| self.changed.get(&(namespace, 0)));
        let changes = own.iter().chain(around).map(|(change, _)| change);
        changes.flat_map(FacetChange::facets).copied().collect()
    }

    /// Changes by namespace. A peer that joined a namespace in the same step first gets the change of the namespace; its own
    /// labels follow.
    pub(crate) fn by_namespace(&self, directory: &Directory) -> Vec<NamespaceChanges> {
        let mut namespaces: Vec<(u32, NamespaceChanges)> = Vec::new();
        for ((namespace, _), (change, ports)) in &self.changed {
            if namespaces.last().is_none_or(|(last, _)| last != namespace) {
                namespaces.push((*namespace, NamespaceChanges::default()));
            }
            let (_, namespace_changes) = namespaces.last_mut().expect("one was pushed if there was none");
            namespace_changes.facets.extend(change.facets());
            namespace_changes.ports.push(ports.clone());
            namespace_changes.changes.push(change.clone());
        }
        for (namespace, namespace_changes) in &mut namespaces {
            namespace_changes.facets.sort_unstable();
            namespace_changes.facets.dedup();
            if namespace_changes.changes[0].peer != *namespace {
                continue;
            }
            let added = directory.members(*namespace).iter().filter(|peer| self.added.contains_key(peer));
            let along = namespace_changes.changes[0].clone();
            namespace_changes.changes.extend(added.map(|peer| FacetChange { peer: *peer, ..along.clone() }));
        }
        namespaces.into_iter().map(|(_, namespace_changes)| namespace_changes).collect()
    }
}

/// Where a change is kept. A namespace has no namespace, so it comes before its peers.
fn place(peer: u32, namespace: Option<u32>) -> (u32, u32) {
    namespace.map_or((peer, 0), |namespace| (namespace, peer))
}

/// Members of exactly one of two sorted sets.
pub(crate) fn differing(one: &[FacetId], other: &[FacetId]) -> Vec<FacetId> {
    let mut all = lacking(one, other);
    all.extend(lacking(other, one));
    all
}

/// Members of `these` that `those` lacks; both are sorted.
fn lacking(these: &[FacetId], those: &[FacetId]) -> Vec<FacetId> {
    these.iter().filter(|facet| those.binary_search(facet).is_err()).copied().collect()
}
