//! Peer numbers that came, went, or mean something else, and by what policies can tell them from others.

use policy::directory::FacetId;
use policy::party::NamedPorts;
use std::collections::BTreeMap;

/// What became of peer numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Movement {
    pub(crate) came: BTreeMap<u32, Marks>,
    pub(crate) went: BTreeMap<u32, Marks>,
    pub(crate) changed: BTreeMap<u32, Change>,
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

/// The facets with a selector that an ordinary peer lost, and those that it gained, each in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) ceased: Vec<FacetId>,
    pub(crate) begun: Vec<FacetId>,
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
    pub(crate) fn changes(&mut self, peer: u32, before: &[FacetId], after: &[FacetId]) {
        let beyond = |these: &[FacetId], those: &[FacetId]| {
            these.iter().filter(|facet| those.binary_search(facet).is_err()).copied().collect()
        };
        let change = Change { ceased: beyond(before, after), begun: beyond(after, before) };
        self.changed.insert(peer, change);
    }
}
