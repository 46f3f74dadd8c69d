//! Every peer that a rule may match, by peer number, and which peers have which facet.

use crate::endpoint_view::{EndpointView, NamedPorts};
use crate::facet::Facet;
use crate::rule::{Entity, Peer};
use abi::identity::{FIRST_ALLOCATED, FIRST_NAMESPACE, FIRST_NODE, WORLD_IPV4, is_workload, reserved_name};
use foldhash::HashMap;
use identity::index::{LabelIndex, SelectorIndex};
use identity::{Labels, Selector, Source, key};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;
use std::sync::Arc;

/// The known peers, and the facets by which rules distinguish them.
///
/// The peers with a facet are computed when a grouping first tracks the facet, and kept up to date while one tracks it.
#[derive(Clone, Debug)]
pub struct Directory {
    peers: BTreeMap<u32, Known>,
    by_label: LabelIndex<u32>,
    ids: HashMap<Arc<Facet>, FacetId>,
    /// Facets by their ids. This is no [`identity::Holders`]: no row holds an id, so a released id is reused at once, and
    /// the lookups of a compiler index a dense list. A released facet leaves an empty place, listed in `free`.
    held: Vec<Option<Held>>,
    free: Vec<FacetId>,
    by_anchor: SelectorIndex<FacetId>,
    by_port_name: HashMap<String, BTreeSet<u32>>,
    /// The peers in each namespace, by its number.
    members: HashMap<u32, Vec<u32>>,
    /// Workloads without the label that every workload has. A wildcard for workloads need not select them.
    without_namespace: BTreeSet<u32>,
}

/// The number of a facet while the facet is held. A later facet may get the number again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FacetId(u32);

/// A peer with its labels, ports and tracked facets.
#[derive(Clone, Debug)]
struct Known {
    labels: Arc<Labels>,
    ports: NamedPorts,
    /// The number of its namespace; 0 where it is in none.
    namespace: u32,
    /// The facets with a selector that it has, in order, of those that are tracked.
    facets: Vec<FacetId>,
}

/// A held facet and, while it is tracked, the peers of [`Facet::selector`] in order.
#[derive(Clone, Debug)]
struct Held {
    facet: Arc<Facet>,
    holders: u32,
    trackers: u32,
    selected: Vec<u32>,
}

impl Held {
    fn select(&mut self, peer: u32) {
        insert(&mut self.selected, peer);
    }

    fn deselect(&mut self, peer: u32) {
        remove(&mut self.selected, &peer);
    }
}

/// Adds an item to an ordered list, unless the list has it.
fn insert<T: Ord>(list: &mut Vec<T>, item: T) {
    if let Err(place) = list.binary_search(&item) {
        list.insert(place, item);
    }
}

/// Removes an item from an ordered list, if the list has it.
fn remove<T: Ord>(list: &mut Vec<T>, item: &T) {
    if let Ok(place) = list.binary_search(item) {
        list.remove(place);
    }
}

impl FacetId {
    /// The local node, which the built-in rules match.
    pub(crate) const HOST: Self = Self(0);
}

impl Default for Directory {
    fn default() -> Self {
        let mut directory = Self {
            peers: BTreeMap::new(),
            by_label: LabelIndex::new(),
            ids: HashMap::default(),
            held: Vec::new(),
            free: Vec::new(),
            by_anchor: SelectorIndex::new(),
            by_port_name: HashMap::default(),
            members: HashMap::default(),
            without_namespace: BTreeSet::new(),
        };
        let host = directory.hold(&Peer::Entity(Entity::Host));
        debug_assert_eq!(host, Some(FacetId::HOST));
        // Both families of the world have one number.
        for number in 0..WORLD_IPV4 {
            if let Some(name) = reserved_name(number) {
                directory.insert(number, Labels::reserved(name), NamedPorts::default());
            }
        }
        directory
    }
}

impl Directory {
    /// Only the reserved peers are known, the world as one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a peer, in place of the one with its number; the facets with a selector that it has are returned, in order,
    /// of those that are tracked.
    pub fn insert(&mut self, number: u32, labels: impl Into<Arc<Labels>>, ports: NamedPorts) -> Vec<FacetId> {
        self.remove(number);
        let labels = labels.into();
        let selecting = self.selecting(&labels);
        selecting.iter().for_each(|id| self.of_mut(*id).select(number));
        for name in ports.names() {
            self.by_port_name.entry(name.to_owned()).or_default().insert(number);
        }
        self.note_namespace(number, &labels);
        self.by_label.insert(&labels, number);
        self.peers.insert(number, Known { labels, ports, namespace: 0, facets: selecting.clone() });
        selecting
    }

    /// Records the namespace of a peer. The namespace is a peer too: a workload of the namespace without own labels.
    pub fn join(&mut self, number: u32, namespace: u32) {
        let Some(known) = self.peers.get_mut(&number) else { return };
        known.namespace = namespace;
        self.members.entry(namespace).or_default().push(number);
    }

    /// Removes a peer; the facets with a selector that it had are returned, in order, of those that are tracked.
    pub fn remove(&mut self, number: u32) -> Vec<FacetId> {
        let Some(known) = self.peers.remove(&number) else { return Vec::new() };
        known.facets.iter().for_each(|id| self.of_mut(*id).deselect(number));
        for name in known.ports.names() {
            if let Some(peers) = self.by_port_name.get_mut(name)
                && peers.remove(&number)
                && peers.is_empty()
            {
                self.by_port_name.remove(name);
            }
        }
        if let Some(members) = self.members.get_mut(&known.namespace) {
            members.retain(|member| *member != number);
            if members.is_empty() {
                self.members.remove(&known.namespace);
            }
        }
        self.without_namespace.remove(&number);
        self.by_label.remove(&known.labels, number);
        known.facets
    }

    /// Gives a peer other labels; the facets with a selector that it had and has are returned, each in order, of those
    /// that are tracked.
    pub fn relabel(&mut self, number: u32, labels: Arc<Labels>) -> (Vec<FacetId>, Vec<FacetId>) {
        let has = self.selecting(&labels);
        let Some(known) = self.peers.get_mut(&number) else { return (Vec::new(), Vec::new()) };
        let before = std::mem::replace(&mut known.labels, labels.clone());
        let had = std::mem::replace(&mut known.facets, has.clone());
        self.by_label.relabel(&before, &labels, number);
        self.note_namespace(number, &labels);
        for id in had.iter().filter(|id| has.binary_search(id).is_err()) {
            self.of_mut(*id).deselect(number);
        }
        for id in has.iter().filter(|id| had.binary_search(id).is_err()) {
            self.of_mut(*id).select(number);
        }
        (had, has)
    }

    /// The peer with this number. The view has no address, since the directory knows none.
    pub fn view(&self, number: u32) -> Option<EndpointView<'_>> {
        let Known { labels, ports, .. } = self.peers.get(&number)?;
        Some(EndpointView { ports, ..EndpointView::new(number, labels) })
    }

    /// The namespace that a peer is in.
    pub fn namespace_of(&self, number: u32) -> Option<u32> {
        self.peers.get(&number).map(|known| known.namespace).filter(|namespace| *namespace != 0)
    }

    /// The facets with a selector that a peer has, in order, of those that are tracked.
    pub fn facets_of(&self, number: u32) -> &[FacetId] {
        self.peers.get(&number).map_or(&[], |known| &known.facets)
    }

    /// The peers in a namespace.
    pub fn members(&self, namespace: u32) -> &[u32] {
        self.members.get(&namespace).map_or(&[], |members| members)
    }

    /// Whether the peer is a workload or a namespace whose facets are only those that [`Self::insert`] and
    /// [`Self::remove`] return, and those that every workload has.
    pub fn is_ordinary(&self, number: u32) -> bool {
        (is_workload(number) && !self.without_namespace.contains(&number)) || number >= FIRST_NAMESPACE
    }

    /// The peers that the selector selects, in order.
    pub fn matching(&self, selector: &Selector) -> Vec<u32> {
        match self.by_label.candidates(selector) {
            Some(mut numbers) => {
                numbers.retain(|number| selector.selects(&self.peers[number].labels));
                numbers
            }
            None => {
                let all = self.peers.iter().filter(|(_, known)| selector.selects(&known.labels));
                all.map(|(number, _)| *number).collect()
            }
        }
    }

    /// Adds a holder to the facet of a rule's peer, and returns its id; none if the rule matches every peer.
    pub(crate) fn hold(&mut self, peer: &Peer) -> Option<FacetId> {
        let facet = Facet::of(peer)?;
        if let Some(id) = self.ids.get(&facet).copied() {
            self.of_mut(id).holders += 1;
            return Some(id);
        }
        let facet = Arc::new(facet);
        let held = Some(Held { facet: facet.clone(), holders: 1, trackers: 0, selected: Vec::new() });
        let id = self.free.pop().unwrap_or(FacetId(self.held.len() as u32));
        match self.held.get_mut(id.0 as usize) {
            Some(free) => *free = held,
            None => self.held.push(held),
        }
        self.ids.insert(facet, id);
        Some(id)
    }

    /// Removes a holder of a facet.
    pub(crate) fn release(&mut self, id: FacetId) {
        let held = self.of_mut(id);
        held.holders -= 1;
        if held.holders == 0 {
            let facet = held.facet.clone();
            self.held[id.0 as usize] = None;
            self.free.push(id);
            self.ids.remove(&facet);
        }
    }

    /// Adds a holder to a facet, and keeps its list of peers up to date from now on.
    pub(crate) fn track(&mut self, id: FacetId) {
        let held = self.of_mut(id);
        held.holders += 1;
        held.trackers += 1;
        if held.trackers == 1
            && let Some(selector) = held.facet.clone().selector()
        {
            let selected = self.matching(selector);
            for peer in &selected {
                insert(self.facets_of_mut(*peer), id);
            }
            self.of_mut(id).selected = selected;
            self.by_anchor.insert(selector, id);
        }
    }

    /// Reverts one [`Self::track`].
    pub(crate) fn untrack(&mut self, id: FacetId) {
        let held = self.of_mut(id);
        held.trackers -= 1;
        if held.trackers == 0
            && let Some(selector) = held.facet.clone().selector()
        {
            let selected = std::mem::take(&mut self.of_mut(id).selected);
            for peer in &selected {
                remove(self.facets_of_mut(*peer), &id);
            }
            self.by_anchor.remove(selector, &id);
        }
        self.release(id);
    }

    /// The facet itself.
    pub(crate) fn facet(&self, id: FacetId) -> &Facet {
        &self.of(id).facet
    }

    /// The peers that the selector of a tracked facet selects, in order.
    pub(crate) fn selected(&self, id: FacetId) -> &[u32] {
        &self.of(id).selected
    }

    /// Whether the peer has a facet.
    pub(crate) fn has(&self, number: u32, id: FacetId) -> bool {
        self.peers.get(&number).is_some_and(|known| self.facet(id).selects(number, &known.labels))
    }

    /// The numbers of peers that are not workloads: the reserved ones, and nodes with numbers of their own.
    pub(crate) fn apart(&self) -> impl Iterator<Item = u32> {
        self.numbers(..FIRST_ALLOCATED).chain(self.numbers(FIRST_NODE..FIRST_NAMESPACE))
    }

    /// The peers that have a port of this name.
    pub(crate) fn with_port_name(&self, name: &str) -> impl Iterator<Item = u32> {
        self.by_port_name.get(name).into_iter().flatten().copied()
    }

    /// Workloads that wildcards for workloads may miss.
    pub(crate) fn without_namespace(&self) -> impl Iterator<Item = u32> {
        self.without_namespace.iter().copied()
    }

    fn note_namespace(&mut self, number: u32, labels: &Labels) {
        if is_workload(number) && labels.value(Some(&Source::K8s), key::NAMESPACE).is_none() {
            self.without_namespace.insert(number);
        } else {
            self.without_namespace.remove(&number);
        }
    }

    fn numbers(&self, range: impl RangeBounds<u32>) -> impl Iterator<Item = u32> {
        self.peers.range(range).map(|(number, _)| *number)
    }

    /// The tracked facets whose selectors select these labels, in order.
    fn selecting(&self, labels: &Labels) -> Vec<FacetId> {
        let selects = |id: &FacetId| self.facet(*id).selector().is_some_and(|one| one.selects(labels));
        self.by_anchor.selecting(labels, selects).into_iter().copied().collect()
    }

    fn facets_of_mut(&mut self, number: u32) -> &mut Vec<FacetId> {
        &mut self.peers.get_mut(&number).expect("a selected peer is known").facets
    }

    fn of(&self, id: FacetId) -> &Held {
        self.held[id.0 as usize].as_ref().expect("who has an id holds its facet")
    }

    fn of_mut(&mut self, id: FacetId) -> &mut Held {
        self.held[id.0 as usize].as_mut().expect("who has an id holds its facet")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::Operator;

    fn app(name: &str) -> Selector {
        Selector::default().with(Some(Source::K8s), "app", Operator::equals(name))
    }

    fn hold(directory: &mut Directory, name: &str) -> FacetId {
        directory.hold(&Peer::Labels(app(name))).unwrap()
    }

    #[test]
    fn the_peers_of_a_facet_follow_added_and_removed_peers() {
        let mut directory = Directory::new();
        let labels = |app| Labels::of_workload("default", [], [("app", app)]);
        directory.insert(300, labels("web"), NamedPorts::default());
        let web = hold(&mut directory, "web");
        directory.track(web);
        assert_eq!(directory.selected(web), [300]);
        assert_eq!(directory.insert(301, labels("web"), NamedPorts::default()), [web]);
        assert_eq!(directory.insert(302, labels("db"), NamedPorts::default()), []);
        assert_eq!(directory.selected(web), [300, 301]);
        directory.insert(300, labels("db"), NamedPorts::default());
        assert_eq!(directory.remove(301), [web]);
        assert_eq!(directory.selected(web), []);
        assert_eq!(directory.matching(&app("db")), [300, 302]);
    }

    #[test]
    fn the_peers_of_a_facet_follow_relabelled_peers() {
        let mut directory = Directory::new();
        let labels = |app| Arc::new(Labels::of_workload("default", [], [("app", app), ("tier", "front")]));
        directory.insert(300, labels("web"), NamedPorts::default());
        let (web, db) = (hold(&mut directory, "web"), hold(&mut directory, "db"));
        [web, db].iter().for_each(|facet| directory.track(*facet));
        assert_eq!(directory.relabel(300, labels("db")), (vec![web], vec![db]));
        assert_eq!((directory.selected(web), directory.selected(db)), (&[][..], &[300][..]));
        assert_eq!((directory.matching(&app("web")), directory.matching(&app("db"))), (vec![], vec![300]));
        assert_eq!(directory.remove(300), [db]);
        assert_eq!(directory.matching(&app("db")), []);
    }

    #[test]
    fn a_facet_that_is_not_tracked_is_not_followed() {
        let mut directory = Directory::new();
        let labels = || Labels::of_workload("default", [], [("app", "web")]);
        let web = hold(&mut directory, "web");
        assert_eq!(directory.insert(300, labels(), NamedPorts::default()), []);
        directory.track(web);
        assert_eq!(directory.selected(web), [300]);
        directory.untrack(web);
        assert_eq!(directory.insert(301, labels(), NamedPorts::default()), []);
        assert!(directory.has(301, web));
    }

    #[test]
    fn a_facet_is_forgotten_with_its_last_hold() {
        let mut directory = Directory::new();
        let web = hold(&mut directory, "web");
        assert_eq!(hold(&mut directory, "web"), web);
        directory.track(web);
        directory.release(web);
        directory.release(web);
        assert_eq!(directory.facet(web).selector(), Some(&app("web")));
        directory.untrack(web);
        let labels = Labels::of_workload("default", [], [("app", "web")]);
        assert_eq!(directory.insert(300, labels, NamedPorts::default()), []);
        assert_eq!(hold(&mut directory, "db"), web, "its id is given to the next");
    }

    #[test]
    fn reserved_peers_are_known_from_the_start() {
        let directory = Directory::new();
        assert_eq!(directory.apart().collect::<Vec<_>>(), (0..=8).collect::<Vec<_>>());
        assert_eq!(*directory.view(1).unwrap().labels, Labels::reserved("host"));
        assert!(directory.has(1, FacetId::HOST) && !directory.has(2, FacetId::HOST));
    }
}
