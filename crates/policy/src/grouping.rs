//! How some policies tell peers apart: by facets and by named ports, into groups.
//!
//! A grouping outlives the policies that speak of it: one that takes the place of another goes on with its grouping,
//! which learns the facets that it lacks (decision 006).

use crate::cidr::Side;
use crate::directory::{Directory, FacetId};
use crate::party::NamedPorts;
use abi::identity::is_workload;
use abi::policy::{GROUP_OF_OTHERS, GROUP_OF_WORKLOADS, GroupKey};
use abi::row::Row;
use foldhash::HashMap;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::Arc;

/// What policies can tell of peers, whatever their address, and who is in which group.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// The facets, in order; who has them is asked for in the directory.
    facets: Vec<FacetId>,
    /// Those that every workload has, in order.
    common: Vec<FacetId>,
    names: BTreeSet<PortName>,
    /// The profiles of the groups, by number.
    profiles: Vec<Profile>,
    /// Groups by the hash of their profiles.
    numbers: HashTable<u32>,
    hasher: FixedState,
    /// The groups of peers that are not in the group of all others of their kind.
    peers: HashMap<u32, u32>,
    /// Room to work in, empty between.
    room: Vec<FacetId>,
}

/// The name of a port that rules ask of peers with a facet; of all peers where no facet is named.
pub(crate) type PortName = (Option<FacetId>, Arc<str>);

/// What policies ask of peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Facets of peers, in order.
    pub(crate) facets: Vec<FacetId>,
    /// Facets of addresses, in order.
    pub(crate) of_addresses: Vec<FacetId>,
    pub(crate) names: BTreeSet<PortName>,
}

/// Peers that a grouping does not tell apart.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) kind: Kind,
    /// The facets that it has, in order; of workloads beyond those that all have.
    facets: Box<[FacetId]>,
    /// The named ports that rules about such peers may ask for.
    pub(crate) ports: NamedPorts,
}

/// What kind of peers are in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    World,
    /// Workloads with all facets that every workload has.
    Workload,
    /// Workloads that lack the label that every workload has: they are asked for each facet.
    Odd,
    /// Nodes and the cluster's reserved peers.
    Apart,
}

/// A peer that is in another group than before; none is that of all others of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    peer: u32,
    before: Option<u32>,
    after: Option<u32>,
}

impl Demand {
    /// Whether a grouping that asks for so many facets asks for too many that this does not.
    fn is_outgrown_by(&self, facets: usize) -> bool {
        facets > 2 * self.facets.len() + 16
    }
}

impl Grouping {
    /// The peers of the directory in groups by what is asked of them.
    pub fn new(demand: &Demand, directory: &mut Directory) -> Self {
        let mut grouping = Self {
            facets: Vec::new(),
            common: Vec::new(),
            names: BTreeSet::new(),
            profiles: Vec::new(),
            numbers: HashTable::new(),
            hasher: FixedState::default(),
            peers: HashMap::default(),
            room: Vec::new(),
        };
        let others = grouping.group(Kind::Apart, &[], NamedPorts::default());
        let workloads = grouping.group(Kind::Workload, &[], NamedPorts::default());
        debug_assert_eq!((others, workloads), (GROUP_OF_OTHERS, GROUP_OF_WORKLOADS));
        for peer in directory.apart() {
            grouping.place(peer, &[], &[], directory);
        }
        grouping.extend(demand, directory);
        grouping.profiles.shrink_to_fit();
        grouping
    }

    /// Whether it should rather be left than asked for this too: most of what it asks for would be asked in vain.
    pub fn is_outgrown(&self, demand: &Demand) -> bool {
        let lacking = demand.facets.iter().filter(|facet| self.facets.binary_search(facet).is_err());
        demand.is_outgrown_by(self.facets.len() + lacking.count())
    }

    /// Asks for more; whoever is in another group for it is returned. In the eyes of policies that did not ask for it
    /// the new group is as the old one.
    pub fn extend(&mut self, demand: &Demand, directory: &mut Directory) -> Vec<Moved> {
        let lacking = |facet: &&FacetId| self.facets.binary_search(facet).is_err();
        let facets: Vec<FacetId> = demand.facets.iter().filter(lacking).copied().collect();
        let names: Vec<PortName> = demand.names.difference(&self.names).cloned().collect();
        if facets.is_empty() && names.is_empty() {
            return Vec::new();
        }
        for facet in &facets {
            directory.ask(*facet);
            if directory.facet(*facet).is_of_any_workload() {
                self.common.push(*facet);
            }
        }
        self.facets.extend(&facets);
        self.facets.sort_unstable();
        self.common.sort_unstable();
        self.names.extend(names.iter().cloned());
        let mut begun: Vec<(u32, FacetId)> = Vec::new();
        for facet in &facets {
            begun.extend(directory.selected(*facet).iter().map(|peer| (*peer, *facet)));
        }
        begun.sort_unstable();
        let mut moved = Vec::new();
        for of_peer in begun.chunk_by(|(one, _), (other, _)| one == other) {
            let facets: Vec<FacetId> = of_peer.iter().map(|(_, facet)| *facet).collect();
            moved.extend(self.place(of_peer[0].0, &[], &facets, directory));
        }
        let named: BTreeSet<u32> =
            names.iter().flat_map(|(_, name)| directory.with_port_name(name)).collect();
        for peer in named.into_iter().chain(directory.apart()).chain(directory.without_namespace()) {
            moved.extend(self.place(peer, &[], &[], directory));
        }
        moved
    }

    /// Finds the group of a peer that is new in the directory, or lost or gained some facets with a selector; both are
    /// in order, and what is not asked for does not count.
    pub fn place(
        &mut self,
        peer: u32,
        ceased: &[FacetId],
        begun: &[FacetId],
        directory: &Directory,
    ) -> Option<Moved> {
        let kind = Kind::of(peer, directory);
        let before = self.peers.get(&peer).copied();
        let mut facets = std::mem::take(&mut self.room);
        match kind {
            Kind::Workload => {
                let known = before.map_or(&[][..], |group| &self.profiles[group as usize].facets);
                let kept = known.iter().filter(|facet| ceased.binary_search(facet).is_err());
                let is_asked = |facet: &&FacetId| self.facets.binary_search(facet).is_ok();
                let begun = begun.iter().filter(|facet| known.binary_search(facet).is_err()).filter(is_asked);
                facets.extend(kept.chain(begun));
                facets.sort_unstable();
            }
            _ => facets.extend(self.facets.iter().filter(|facet| directory.has(peer, **facet))),
        }
        let ports = self.ports(peer, kind, &facets, directory);
        let group = self.group(kind, &facets, ports);
        facets.clear();
        self.room = facets;
        let after = Some(group).filter(|group| *group != default_group(peer));
        match after {
            Some(group) => self.peers.insert(peer, group),
            None => self.peers.remove(&peer),
        };
        (before != after).then_some(Moved { peer, before, after })
    }

    /// Forgets a peer that no address has any more.
    pub fn forget(&mut self, peer: u32) -> Option<Moved> {
        let before = self.peers.remove(&peer);
        before.map(|group| Moved { peer, before: Some(group), after: None })
    }

    /// The facets that it asks for, in order.
    pub fn facets(&self) -> &[FacetId] {
        &self.facets
    }

    /// The names of ports that it asks of peers whatever their selectors.
    pub fn names(&self, directory: &Directory) -> impl Iterator<Item = &str> {
        let of_all =
            |facet: &Option<FacetId>| facet.is_none_or(|facet| directory.facet(facet).selector().is_none());
        self.names.iter().filter(move |(facet, _)| of_all(facet)).map(|(_, name)| &**name)
    }

    /// Every row.
    pub fn rows(&self, grouping: u32) -> impl Iterator<Item = Row> {
        self.peers.iter().map(move |(peer, group)| row(grouping, *peer, *group))
    }

    /// Gives up what it asked for.
    pub fn release(self, directory: &mut Directory) {
        self.facets.into_iter().for_each(|facet| directory.cease(facet));
    }

    /// How many groups there are.
    pub(crate) fn count(&self) -> u32 {
        self.profiles.len() as u32
    }

    /// What there is to know of the peers of a group.
    pub(crate) fn profile(&self, group: u32) -> &Profile {
        &self.profiles[group as usize]
    }

    /// All facets of the peers of a group, in order.
    pub(crate) fn facets_of(&self, group: u32) -> Vec<FacetId> {
        let Profile { kind, facets, .. } = self.profile(group);
        if *kind == Kind::Workload { merged(facets, &self.common) } else { facets.to_vec() }
    }

    /// The named ports of a peer that rules about it may ask for.
    fn ports(&self, peer: u32, kind: Kind, facets: &[FacetId], directory: &Directory) -> NamedPorts {
        let has = |facet: &FacetId| {
            facets.binary_search(facet).is_ok() || (kind == Kind::Workload && self.common.contains(facet))
        };
        let mut asked = self.names.iter().filter(|(facet, _)| facet.as_ref().is_none_or(has)).peekable();
        if asked.peek().is_none() {
            return NamedPorts::default();
        }
        let ports = directory.party(peer).map_or(NamedPorts::NONE, |party| party.ports);
        ports.filtered(|name| asked.clone().any(|(_, known)| **known == *name))
    }

    /// The number of the group of such peers.
    fn group(&mut self, kind: Kind, facets: &[FacetId], ports: NamedPorts) -> u32 {
        let Self { profiles, numbers, hasher, .. } = self;
        let is_this = |group: &u32| profiles[*group as usize].seen() == (kind, facets, &ports);
        let hash = hasher.hash_one((kind, facets, &ports));
        if let Some(group) = numbers.find(hash, is_this) {
            return *group;
        }
        let group = profiles.len() as u32;
        profiles.push(Profile { kind, facets: facets.into(), ports });
        numbers.insert_unique(hash, group, |group| hasher.hash_one(profiles[*group as usize].seen()));
        group
    }
}

impl Moved {
    /// The row of before, if there was one, and the row of now.
    pub fn rows(&self, grouping: u32) -> [Option<Row>; 2] {
        [self.before, self.after].map(|group| Some(row(grouping, self.peer, group?)))
    }
}

impl Profile {
    fn seen(&self) -> (Kind, &[FacetId], &NamedPorts) {
        (self.kind, &self.facets, &self.ports)
    }
}

impl Kind {
    /// The kind of a peer.
    fn of(peer: u32, directory: &Directory) -> Self {
        match is_workload(peer) {
            true if directory.is_ordinary(peer) => Self::Workload,
            true => Self::Odd,
            false if Side::of(peer) == Side::World => Self::World,
            false => Self::Apart,
        }
    }

    /// Where addresses of such peers are.
    pub(crate) fn side(self) -> Side {
        if self == Self::World { Side::World } else { Side::Inside }
    }

    /// Whether such peers are workloads.
    pub(crate) fn is_workload(self) -> bool {
        matches!(self, Self::Workload | Self::Odd)
    }
}

/// The members of both, in order; no member is in both.
pub(crate) fn merged(one: &[FacetId], other: &[FacetId]) -> Vec<FacetId> {
    let mut all = [one, other].concat();
    all.sort_unstable();
    all
}

/// The group of peers without a row.
fn default_group(peer: u32) -> u32 {
    if is_workload(peer) { GROUP_OF_WORKLOADS } else { GROUP_OF_OTHERS }
}

fn row(grouping: u32, peer: u32, group: u32) -> Row {
    Row::Group(GroupKey { grouping, peer }, group)
}
