//! Peer numbers that came, went, or mean something else, and by what policies can tell them from others.

use policy::directory::{Directory, FacetId};
use policy::grouping::Change;
use policy::party::NamedPorts;
use std::collections::{BTreeMap, BTreeSet};

/// What became of peer numbers, namespaces included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Movement {
    pub(crate) came: BTreeMap<u32, Marks>,
    pub(crate) went: BTreeMap<u32, Marks>,
    /// Those that a workload left: its rows name them until they are written.
    pub(crate) left: BTreeSet<u32>,
    /// Those that neither came nor went, by namespace and number; a namespace comes before its peers.
    changed: BTreeMap<(u32, u32), (Change, NamedPorts)>,
}

/// By what policies can tell a peer from others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// The facets with a selector that it has, in order.
    pub(crate) facets: Vec<FacetId>,
    /// Those of them that its namespace has not, and those that it has not and its namespace has.
    pub(crate) beyond: Vec<FacetId>,
    pub(crate) ports: NamedPorts,
    /// Whether these, and what every workload has, are all that there is to know of it.
    pub(crate) is_ordinary: bool,
}

/// Peers of one namespace that changed, that itself first where it is among them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Family {
    pub(crate) changes: Vec<Change>,
    /// What was lost or gained, in order: whoever asks for one of these must hear of the changes.
    pub(crate) facets: Vec<FacetId>,
    pub(crate) ports: Vec<NamedPorts>,
}

impl Movement {
    pub(crate) fn comes(&mut self, peer: u32, marks: Marks) {
        self.came.insert(peer, marks);
    }

    /// Whoever came and went within one change was never there; whoever went and came was replaced.
    pub(crate) fn goes(&mut self, peer: u32, marks: Marks) {
        if self.came.remove(&peer).is_none() {
            self.went.insert(peer, marks);
        }
    }

    /// Notes that a peer which neither came nor went has other facets than before.
    pub(crate) fn changes(
        &mut self,
        peer: u32,
        [had, has]: [&[FacetId]; 2],
        ports: &NamedPorts,
        directory: &Directory,
    ) {
        let change = Change { peer, ceased: lacking(had, has), begun: lacking(has, had) };
        // A namespace is in none.
        let place = directory.namespace_of(peer).map_or((peer, 0), |namespace| (namespace, peer));
        self.changed.insert(place, (change, ports.clone()));
    }

    /// Takes note that a peer goes which may have changed before; the facets are returned in which it or its namespace, if
    /// it has one, were different before that.
    pub(crate) fn unchanged(&mut self, peer: u32, namespace: Option<u32>) -> Vec<FacetId> {
        let own = self.changed.remove(&namespace.map_or((peer, 0), |namespace| (namespace, peer)));
        let around = namespace.and_then(|namespace| self.changed.get(&(namespace, 0)));
        let changes = own.iter().chain(around).map(|(change, _)| change);
        changes.flat_map(Change::facets).copied().collect()
    }

    /// What changed, by namespace. Whoever came to a namespace that changed goes along with it, until it is told what it
    /// has beyond it.
    pub(crate) fn families(&self, directory: &Directory) -> Vec<Family> {
        let mut families: Vec<(u32, Family)> = Vec::new();
        for ((namespace, _), (change, ports)) in &self.changed {
            if families.last().is_none_or(|(last, _)| last != namespace) {
                families.push((*namespace, Family::default()));
            }
            let (_, family) = families.last_mut().expect("one was pushed if there was none");
            family.facets.extend(change.facets());
            family.ports.push(ports.clone());
            family.changes.push(change.clone());
        }
        for (namespace, family) in &mut families {
            family.facets.sort_unstable();
            family.facets.dedup();
            if family.changes[0].peer != *namespace {
                continue;
            }
            let came = directory.members(*namespace).iter().filter(|peer| self.came.contains_key(peer));
            let along = family.changes[0].clone();
            family.changes.extend(came.map(|peer| Change { peer: *peer, ..along.clone() }));
        }
        families.into_iter().map(|(_, family)| family).collect()
    }
}

/// Those that only one of two sets has; both are in order.
pub(crate) fn differing(one: &[FacetId], other: &[FacetId]) -> Vec<FacetId> {
    let mut all = lacking(one, other);
    all.extend(lacking(other, one));
    all
}

/// Those that the other lacks.
fn lacking(these: &[FacetId], those: &[FacetId]) -> Vec<FacetId> {
    these.iter().filter(|facet| those.binary_search(facet).is_err()).copied().collect()
}
