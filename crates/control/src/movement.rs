//! Peer numbers that came, went, or mean something else, and by what policies can tell them from others.

use policy::directory::{Directory, FacetId};
use policy::grouping::Change;
use policy::party::NamedPorts;
use std::collections::BTreeMap;

/// What became of peer numbers, namespaces included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Movement {
    pub(crate) came: BTreeMap<u32, Marks>,
    pub(crate) went: BTreeMap<u32, Marks>,
    /// Those that neither came nor went, by namespace and number; a namespace comes before its peers.
    changed: BTreeMap<(u32, u32), Changed>,
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

/// A peer with other facets than before, and those in which it differed from its namespace before or does now.
#[derive(Clone, Debug, Default)]
struct Changed {
    change: Change,
    beyond: Vec<FacetId>,
    /// Of a namespace, all facets that it had and has.
    around: [Vec<FacetId>; 2],
    ports: NamedPorts,
}

/// Peers of one namespace that changed, that itself first where it is among them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Family {
    pub(crate) changes: Vec<Change>,
    /// Facets of which whoever asks for one must hear of the changes.
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
        let changed = Changed { change, ports: ports.clone(), ..Changed::default() };
        let Some(namespace) = directory.namespace_of(peer) else {
            let around = [had.to_vec(), has.to_vec()];
            self.changed.insert((peer, 0), Changed { around, ..changed });
            return;
        };
        // It changed before its peers, if it did.
        let around = match self.changed.get(&(namespace, 0)) {
            Some(namespace) => namespace.around.clone(),
            None => std::array::repeat(directory.facets_of(namespace)),
        };
        let mut beyond = differing(had, &around[0]);
        beyond.extend(differing(has, &around[1]));
        self.changed.insert((namespace, peer), Changed { beyond, ..changed });
    }

    /// What changed, by namespace. Whoever came to a namespace that changed goes along with it, until it is told what it
    /// has beyond it.
    pub(crate) fn families(&self, directory: &Directory) -> Vec<Family> {
        let mut families: Vec<(u32, Family)> = Vec::new();
        for ((namespace, member), Changed { change, beyond, ports, .. }) in &self.changed {
            if families.last().is_none_or(|(last, _)| last != namespace) {
                families.push((*namespace, Family::default()));
            }
            let (_, family) = families.last_mut().expect("one was pushed if there was none");
            if *member == 0 {
                family.facets.extend(change.ceased.iter().chain(&change.begun));
            }
            family.facets.extend(beyond);
            family.ports.push(ports.clone());
            family.changes.push(change.clone());
        }
        for (namespace, family) in &mut families {
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
