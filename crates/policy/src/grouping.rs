//! Groupings: how policies distinguish peers, by facets and by named ports, as groups.
//!
//! A grouping outlives its policies: the successor of a policy uses the same grouping, which is extended by the facets
//! that it lacks (decision 006).

use crate::cidr::AddressSide;
use crate::directory::{Directory, FacetId};
use crate::endpoint_view::NamedPorts;
use abi::identity::{FIRST_NAMESPACE, is_workload};
use abi::policy::{GROUP_OF_OTHERS, GROUP_OF_WORKLOADS, GroupKey};
use abi::row::Row;
use foldhash::HashMap;
use identity::NumberIndex;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// The facets and ports by which policies distinguish peers, and the group of each peer.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// The facets, in order. The directory tracks the peers of each.
    facets: Vec<FacetId>,
    /// The facets that every workload has, in order.
    common: Vec<FacetId>,
    names: BTreeSet<PortName>,
    /// The profiles of the groups, by number. A group has no holders, since rows of policies name it as long as the
    /// grouping exists.
    profiles: Vec<Profile>,
    /// The facets of all profiles, one after the other.
    of_profiles: Vec<FacetId>,
    /// Groups by their profiles.
    numbers: NumberIndex,
    /// The groups of peers that are not in the group of their namespace, and of namespaces that are not in the group of
    /// all others.
    peers: HashMap<u32, u32>,
    /// Whether ports can distinguish a peer from its namespace although both have the same facets.
    compares_ports: bool,
}

/// A peer, the facets with a selector that it lost, and those that it gained, each in order.
#[derive(Clone, Debug, Default)]
pub struct FacetChange {
    /// The number of the peer or namespace.
    pub peer: u32,
    /// The facets that it lost.
    pub lost: Vec<FacetId>,
    /// The facets that it gained.
    pub gained: Vec<FacetId>,
}

/// The name of a port that rules match for peers with a facet; without a facet, for all peers.
pub(crate) type PortName = (Option<FacetId>, Arc<str>);

/// The facets and port names that policies match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Facets of peers, in order.
    pub(crate) facets: Vec<FacetId>,
    /// Facets of addresses, in order.
    pub(crate) of_addresses: Vec<FacetId>,
    pub(crate) names: BTreeSet<PortName>,
}

/// The attributes of the peers of one group.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) kind: Kind,
    /// Where in [`Grouping::of_profiles`] the facets are, in order; for workloads without the facets that all workloads have.
    facets: Range<u32>,
    /// The named ports that rules for such peers match.
    pub(crate) ports: NamedPorts,
}

/// The kind of the peers in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    World,
    /// Workloads with all facets that every workload has.
    Workload,
    /// Workloads that lack the label that every workload has: each facet is checked for them.
    Odd,
    /// Nodes and the cluster's reserved peers.
    Apart,
}

/// A peer that changed group. None is the group of all other peers of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regrouped {
    peer: u32,
    before: Option<u32>,
    after: Option<u32>,
}

/// The results of changes, with a scratch buffer that is used again: one change may affect many groupings.
#[derive(Clone, Debug, Default)]
pub struct Regroupings {
    /// The peers that changed group.
    pub regrouped: Vec<Regrouped>,
    /// Scratch: the facets of one peer.
    facets: Vec<FacetId>,
}

impl Demand {
    /// Whether a grouping with so many facets has too many that are not in this demand.
    fn is_exceeded_by(&self, facets: usize) -> bool {
        facets > 2 * self.facets.len() + 16
    }
}

impl Grouping {
    /// A grouping that satisfies a demand, with the group of each peer in the directory.
    pub fn new(demand: &Demand, directory: &mut Directory) -> Self {
        let mut grouping = Self {
            facets: Vec::new(),
            common: Vec::new(),
            names: BTreeSet::new(),
            profiles: Vec::new(),
            of_profiles: Vec::new(),
            numbers: NumberIndex::default(),
            peers: HashMap::default(),
            compares_ports: false,
        };
        let others = grouping.group(Kind::Apart, &[], NamedPorts::default());
        let workloads = grouping.group(Kind::Workload, &[], NamedPorts::default());
        debug_assert_eq!((others, workloads), (GROUP_OF_OTHERS, GROUP_OF_WORKLOADS));
        for peer in directory.apart() {
            grouping.place(peer, &[], directory);
        }
        grouping.extend(demand, directory);
        grouping.profiles.shrink_to_fit();
        grouping.of_profiles.shrink_to_fit();
        grouping
    }

    /// Whether a new grouping is better for this demand: most facets of this one would be tracked in vain.
    pub fn is_too_broad_for(&self, demand: &Demand) -> bool {
        let lacking = demand.facets.iter().filter(|facet| self.facets.binary_search(facet).is_err());
        demand.is_exceeded_by(self.facets.len() + lacking.count())
    }

    /// Adds the facets and port names that the demand has beyond this grouping, and returns the peers that change group.
    /// Policies that do not match them treat the new group like the old one.
    pub fn extend(&mut self, demand: &Demand, directory: &mut Directory) -> Vec<Regrouped> {
        let lacking = |facet: &&FacetId| self.facets.binary_search(facet).is_err();
        let facets: Vec<FacetId> = demand.facets.iter().filter(lacking).copied().collect();
        let names: Vec<PortName> = demand.names.difference(&self.names).cloned().collect();
        if facets.is_empty() && names.is_empty() {
            return Vec::new();
        }
        for facet in &facets {
            directory.track(*facet);
            if directory.facet(*facet).is_of_any_workload() {
                self.common.push(*facet);
            }
        }
        self.facets.extend(&facets);
        self.facets.sort_unstable();
        self.common.sort_unstable();
        self.compares_ports |=
            names.iter().any(|(facet, _)| matches_peers_without_own_labels(*facet, directory));
        self.names.extend(names.iter().cloned());
        let mut regroupings = Regroupings::default();
        for family in families(&facets, &names, directory) {
            let around = self.group_with_row(namespace_of(&family, directory));
            self.regroup(&family, (&facets, !names.is_empty()), around, directory, &mut regroupings);
        }
        regroupings.regrouped
    }

    /// Assigns a group to a peer that is new in the directory; `facets` are the peer's facets with a selector, in order.
    /// The namespace of the peer must have its group before.
    pub fn place(&mut self, peer: u32, facets: &[FacetId], directory: &Directory) -> Option<Regrouped> {
        let facets: Vec<FacetId> = facets.iter().filter(|facet| self.tracks(facet)).copied().collect();
        self.put(peer, &facets, directory)
    }

    /// Regroups the changed peers of one namespace (the namespace first, if it changed), or one peer without a namespace.
    /// `tracked` are the changed facets that this grouping distinguishes. `around` is the group of the namespace before the
    /// change, if the namespace has a row. Peers without a row that did not change stay in the group of their namespace.
    pub fn follow(
        &mut self,
        family: &[FacetChange],
        tracked: &[FacetId],
        around: Option<u32>,
        directory: &Directory,
        regroupings: &mut Regroupings,
    ) {
        self.regroup(family, (tracked, self.compares_ports), around, directory, regroupings);
    }

    /// The group of a peer with a row of its own.
    pub fn group_with_row(&self, peer: Option<u32>) -> Option<u32> {
        self.peers.get(&peer?).copied()
    }

    /// Regroups as [`Self::follow`] does. If `by_ports`, all members of the namespace are regrouped, since ports may distinguish them from it.
    fn regroup(
        &mut self,
        family: &[FacetChange],
        (tracked, by_ports): (&[FacetId], bool),
        around: Option<u32>,
        directory: &Directory,
        Regroupings { regrouped, facets }: &mut Regroupings,
    ) {
        let Some(first) = family.first() else { return };
        let is_namespace = first.peer >= FIRST_NAMESPACE;
        let members = if is_namespace { &family[1..] } else { family };
        let moves_namespace = is_namespace && first.touches(tracked);
        if moves_namespace {
            first.apply(self.known(around), tracked, facets);
            regrouped.extend(self.put(first.peer, facets, directory));
        }
        for change in members {
            let own = self.group_with_row(Some(change.peer));
            let is_concerned = match moves_namespace {
                true => by_ports || own.is_some() || !change.is_equal_in(first, tracked),
                false => by_ports || !is_namespace || change.touches(tracked),
            };
            if is_concerned {
                // What it has, it may have by its namespace.
                change.apply(self.known(own.or(around)), tracked, facets);
                regrouped.extend(self.put(change.peer, facets, directory));
            }
        }
        // Mostly all members are there.
        let all = if moves_namespace { directory.members(first.peer) } else { &[] };
        if all.len() > members.len() {
            for peer in all.iter().filter(|peer| members.iter().all(|change| change.peer != **peer)) {
                // A peer that had a row may now have the profile of its namespace, and needs no row then.
                let known = self.group_with_row(Some(*peer)).or(around);
                facets.clear();
                facets.extend_from_slice(self.known(known));
                regrouped.extend(self.put(*peer, facets, directory));
            }
        }
    }

    /// The facets with a selector that the peers of a group have; without a group none.
    fn known(&self, group: Option<u32>) -> &[FacetId] {
        group.map_or(&[], |group| self.facets_in(self.profile(group)))
    }

    fn facets_in(&self, profile: &Profile) -> &[FacetId] {
        &self.of_profiles[profile.facets.start as usize..profile.facets.end as usize]
    }

    fn tracks(&self, facet: &FacetId) -> bool {
        self.facets.binary_search(facet).is_ok()
    }

    /// Puts a workload into the group of peers with these facets. For any other peer each facet of the grouping is
    /// checked.
    fn put(&mut self, peer: u32, facets: &[FacetId], directory: &Directory) -> Option<Regrouped> {
        let kind = Kind::of(peer, directory);
        let before = self.peers.get(&peer).copied();
        let tracked: Vec<FacetId>;
        let facets = match kind {
            Kind::Workload => facets,
            _ => {
                tracked = self.facets.iter().filter(|facet| directory.has(peer, **facet)).copied().collect();
                &tracked
            }
        };
        let ports = self.ports(peer, kind, facets, directory);
        let group = self.group(kind, facets, ports);
        let by_namespace = directory.namespace_of(peer).and_then(|namespace| self.peers.get(&namespace));
        let otherwise = by_namespace.copied().unwrap_or(default_group(peer));
        let after = Some(group).filter(|group| *group != otherwise);
        match after {
            Some(group) => self.peers.insert(peer, group),
            None => self.peers.remove(&peer),
        };
        (before != after).then_some(Regrouped { peer, before, after })
    }

    /// Removes a peer that no address has any more.
    pub fn forget(&mut self, peer: u32) -> Option<Regrouped> {
        let before = self.peers.remove(&peer);
        before.map(|group| Regrouped { peer, before: Some(group), after: None })
    }

    /// The facets that the grouping distinguishes, in order.
    pub fn facets(&self) -> &[FacetId] {
        &self.facets
    }

    /// The port names that can distinguish a peer from its namespace although both have the same facets.
    pub fn names(&self, directory: &Directory) -> impl Iterator<Item = &str> {
        let of_all = |(facet, _): &&PortName| matches_peers_without_own_labels(*facet, directory);
        self.names.iter().filter(of_all).map(|(_, name)| &**name)
    }

    /// Every row.
    pub fn rows(&self, grouping: u32) -> impl Iterator<Item = Row> {
        self.peers.iter().map(move |(peer, group)| row(grouping, *peer, *group))
    }

    /// Releases the tracked facets.
    pub fn release(self, directory: &mut Directory) {
        self.facets.into_iter().for_each(|facet| directory.untrack(facet));
    }

    /// The group that the packet path looks up for a peer.
    #[cfg(test)]
    pub(crate) fn group_of(&self, peer: u32, directory: &Directory) -> u32 {
        let by_namespace = || self.peers.get(&directory.namespace_of(peer)?);
        self.peers.get(&peer).or_else(by_namespace).copied().unwrap_or(default_group(peer))
    }

    /// How many groups there are.
    pub fn count(&self) -> u32 {
        self.profiles.len() as u32
    }

    /// The profile of a group.
    pub(crate) fn profile(&self, group: u32) -> &Profile {
        &self.profiles[group as usize]
    }

    /// Whether the peers of a group have one of these facets.
    pub(crate) fn has_any(&self, group: u32, wanted: &[FacetId]) -> bool {
        let profile = self.profile(group);
        let (facets, is_workload) = (self.facets_in(profile), profile.kind == Kind::Workload);
        let has = |facet: &FacetId| {
            facets.binary_search(facet).is_ok() || (is_workload && self.common.binary_search(facet).is_ok())
        };
        wanted.iter().any(has)
    }

    /// All facets of the peers of a group, in order.
    pub(crate) fn facets_of(&self, group: u32) -> Vec<FacetId> {
        let profile = self.profile(group);
        let facets = self.facets_in(profile);
        if profile.kind == Kind::Workload { merged(facets, &self.common) } else { facets.to_vec() }
    }

    /// The named ports of a peer that rules for it match.
    fn ports(&self, peer: u32, kind: Kind, facets: &[FacetId], directory: &Directory) -> NamedPorts {
        let has = |facet: &FacetId| {
            facets.binary_search(facet).is_ok() || (kind == Kind::Workload && self.common.contains(facet))
        };
        let mut tracked = self.names.iter().filter(|(facet, _)| facet.as_ref().is_none_or(has)).peekable();
        if tracked.peek().is_none() {
            return NamedPorts::default();
        }
        let ports = directory.view(peer).map_or(NamedPorts::NONE, |party| party.ports);
        ports.filtered(|name| tracked.clone().any(|(_, known)| **known == *name))
    }

    /// The number of the group of such peers.
    fn group(&mut self, kind: Kind, facets: &[FacetId], ports: NamedPorts) -> u32 {
        let hash = self.numbers.hash((kind, facets, &ports));
        if let Some(group) = self.numbers.find(hash, |group| self.seen(group) == (kind, facets, &ports)) {
            return group;
        }
        let (group, first) = (self.count(), self.of_profiles.len() as u32);
        self.of_profiles.extend_from_slice(facets);
        self.profiles.push(Profile { kind, facets: first..self.of_profiles.len() as u32, ports });
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.insert(hash, group, |group| self.seen(group));
        self.numbers = numbers;
        group
    }

    /// The key of a group among all groups.
    fn seen(&self, group: u32) -> (Kind, &[FacetId], &NamedPorts) {
        let profile = self.profile(group);
        (profile.kind, self.facets_in(profile), &profile.ports)
    }
}

/// The namespace of the peers of a family, if they have one.
pub fn namespace_of(family: &[FacetChange], directory: &Directory) -> Option<u32> {
    let first = family.first()?.peer;
    if first >= FIRST_NAMESPACE { Some(first) } else { directory.namespace_of(first) }
}

impl FacetChange {
    /// The facets that are lost or gained.
    pub fn facets(&self) -> impl Iterator<Item = &FacetId> {
        self.lost.iter().chain(&self.gained)
    }

    /// Whether one of these facets is lost or gained.
    fn touches(&self, tracked: &[FacetId]) -> bool {
        self.facets().any(|facet| tracked.contains(facet))
    }

    /// Whether both changes are the same for a grouping that distinguishes only these facets.
    fn is_equal_in(&self, other: &Self, tracked: &[FacetId]) -> bool {
        let is_tracked = |facet: &&FacetId| tracked.contains(facet);
        let same = |these: &[FacetId], those: &[FacetId]| {
            these == those || these.iter().filter(is_tracked).eq(those.iter().filter(is_tracked))
        };
        same(&self.lost, &other.lost) && same(&self.gained, &other.gained)
    }

    /// Writes the known facets without the lost ones and with the gained ones that are tracked, in order.
    fn apply(&self, known: &[FacetId], tracked: &[FacetId], facets: &mut Vec<FacetId>) {
        let kept = known.iter().filter(|facet| self.lost.binary_search(facet).is_err());
        let is_new = |facet: &&FacetId| tracked.contains(facet) && known.binary_search(facet).is_err();
        facets.clear();
        facets.extend(kept);
        facets.extend(self.gained.iter().filter(is_new));
        facets.sort_unstable();
    }
}

impl Regrouped {
    /// The row before the change and the row after it, if there are such.
    pub fn rows(&self, grouping: u32) -> [Option<Row>; 2] {
        [self.before, self.after].map(|group| Some(row(grouping, self.peer, group?)))
    }
}

impl Kind {
    /// The kind of a peer.
    fn of(peer: u32, directory: &Directory) -> Self {
        match is_workload(peer) || peer >= FIRST_NAMESPACE {
            true if directory.is_ordinary(peer) => Self::Workload,
            true => Self::Odd,
            false if AddressSide::of(peer) == AddressSide::World => Self::World,
            false => Self::Apart,
        }
    }

    /// Where addresses of such peers are.
    pub(crate) fn side(self) -> AddressSide {
        if self == Self::World { AddressSide::World } else { AddressSide::Inside }
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

/// The group where neither the peer nor its namespace has a row.
fn default_group(peer: u32) -> u32 {
    if is_workload(peer) || peer >= FIRST_NAMESPACE { GROUP_OF_WORKLOADS } else { GROUP_OF_OTHERS }
}

/// Whether rules with this facet match a port name also for peers that have no facet beyond those of their namespace.
fn matches_peers_without_own_labels(facet: Option<FacetId>, directory: &Directory) -> bool {
    facet.is_none_or(|facet| !directory.facet(facet).is_of_own_labels())
}

fn row(grouping: u32, peer: u32, group: u32) -> Row {
    Row::Group(GroupKey { grouping, peer }, group)
}

/// The peers that these facets and port names may distinguish from others, as changes by namespace.
fn families(facets: &[FacetId], names: &[PortName], directory: &Directory) -> Vec<Vec<FacetChange>> {
    let mut touched: Vec<(u32, bool, u32, Option<FacetId>)> = Vec::new();
    let place = |peer: u32, facet| match directory.namespace_of(peer) {
        Some(namespace) => (namespace, true, peer, facet),
        // A namespace comes before its peers.
        None => (peer, false, peer, facet),
    };
    for facet in facets {
        touched.extend(directory.selected(*facet).iter().map(|peer| place(*peer, Some(*facet))));
    }
    let named = names.iter().flat_map(|(_, name)| directory.with_port_name(name));
    let others = named.chain(directory.apart()).chain(directory.without_namespace());
    touched.extend(others.map(|peer| place(peer, None)));
    touched.sort_unstable();
    let change = |of_peer: &[(u32, bool, u32, Option<FacetId>)]| FacetChange {
        peer: of_peer[0].2,
        gained: of_peer.iter().filter_map(|(.., facet)| *facet).collect(),
        lost: Vec::new(),
    };
    let families = touched.chunk_by(|(one, ..), (other, ..)| one == other);
    families
        .map(|family| family.chunk_by(|(.., one, _), (.., other, _)| one == other).map(change).collect())
        .collect()
}
