//! Everyone a policy may meet, by peer number, and whom each selector selects.

use crate::party::{NamedPorts, Party};
use abi::identity::{FIRST_ALLOCATED, FIRST_NODE, WORLD_IPV4, is_workload, reserved_name};
use foldhash::HashMap;
use identity::index::{LabelIndex, SelectorIndex};
use identity::{Labels, Selector, Source, key};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;
use std::sync::Arc;

/// The known peers, and the selectors that policies in force ask of them.
///
/// Whom such a selector selects is worked out when it is first held, and kept up to date while it is held.
#[derive(Clone, Debug)]
pub struct Directory {
    peers: BTreeMap<u32, Known>,
    by_label: LabelIndex<u32>,
    ids: HashMap<Arc<Selector>, SelectorId>,
    /// Selectors by their ids; what nobody holds any more is empty and named in `free`.
    held: Vec<Option<Held>>,
    free: Vec<SelectorId>,
    by_anchor: SelectorIndex<SelectorId>,
    by_port_name: HashMap<String, BTreeSet<u32>>,
    /// Workloads without the label that every workload has; wildcards must not be taken to select them.
    without_namespace: BTreeSet<u32>,
}

/// Stands for a selector while somebody holds it, and for another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SelectorId(u32);

/// What is known of a peer.
#[derive(Clone, Debug)]
struct Known {
    labels: Arc<Labels>,
    ports: NamedPorts,
}

/// A selector that somebody holds, and whom it selects, in order.
#[derive(Clone, Debug)]
struct Held {
    selector: Arc<Selector>,
    holders: usize,
    selected: Vec<u32>,
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
            without_namespace: BTreeSet::new(),
        };
        // The world has one number until someone says that its families are told apart.
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

    /// Adds a peer, in place of the one with its number; the selectors that select it are returned, of those that
    /// somebody holds.
    pub fn insert(
        &mut self,
        number: u32,
        labels: impl Into<Arc<Labels>>,
        ports: NamedPorts,
    ) -> Vec<SelectorId> {
        self.remove(number);
        let labels = labels.into();
        let selecting = self.selecting(&labels);
        for id in &selecting {
            let selected = &mut self.of_mut(*id).selected;
            if let Err(place) = selected.binary_search(&number) {
                selected.insert(place, number);
            }
        }
        for name in ports.names() {
            self.by_port_name.entry(name.to_owned()).or_default().insert(number);
        }
        if is_workload(number) && labels.value(Some(&Source::K8s), key::NAMESPACE).is_none() {
            self.without_namespace.insert(number);
        }
        self.by_label.insert(&labels, number);
        self.peers.insert(number, Known { labels, ports });
        selecting
    }

    /// Removes a peer; the selectors that selected it are returned, of those that somebody holds.
    pub fn remove(&mut self, number: u32) -> Vec<SelectorId> {
        let Some(known) = self.peers.remove(&number) else { return Vec::new() };
        let selecting = self.selecting(&known.labels);
        for id in &selecting {
            let selected = &mut self.of_mut(*id).selected;
            if let Ok(place) = selected.binary_search(&number) {
                selected.remove(place);
            }
        }
        for name in known.ports.names() {
            if let Some(peers) = self.by_port_name.get_mut(name)
                && peers.remove(&number)
                && peers.is_empty()
            {
                self.by_port_name.remove(name);
            }
        }
        self.without_namespace.remove(&number);
        self.by_label.remove(&known.labels, number);
        selecting
    }

    /// The peer with this number; its address is not known here.
    pub fn party(&self, number: u32) -> Option<Party<'_>> {
        let Known { labels, ports } = self.peers.get(&number)?;
        Some(Party { ports, ..Party::new(number, labels) })
    }

    /// Whether policies need no row for the peer where no selector and no port name of theirs tells it apart: it is
    /// a workload like any other.
    pub fn is_ordinary(&self, number: u32) -> bool {
        is_workload(number) && !self.without_namespace.contains(&number)
    }

    /// Whom the selector selects, in order.
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

    /// Holds a selector once more, and tells what it is known by.
    pub fn intern(&mut self, selector: &Selector) -> SelectorId {
        if let Some(id) = self.ids.get(selector).copied() {
            self.of_mut(id).holders += 1;
            return id;
        }
        let selector = Arc::new(selector.clone());
        let held = Some(Held { selected: self.matching(&selector), selector: selector.clone(), holders: 1 });
        let id = self.free.pop().unwrap_or(SelectorId(self.held.len() as u32));
        match self.held.get_mut(id.0 as usize) {
            Some(free) => *free = held,
            None => self.held.push(held),
        }
        self.by_anchor.insert(&selector, id);
        self.ids.insert(selector, id);
        id
    }

    /// Gives up one hold of a selector.
    pub fn release(&mut self, id: SelectorId) {
        let held = self.of_mut(id);
        held.holders -= 1;
        if held.holders == 0 {
            let selector = held.selector.clone();
            self.held[id.0 as usize] = None;
            self.free.push(id);
            self.by_anchor.remove(&selector, &id);
            self.ids.remove(&selector);
        }
    }

    /// The selector itself.
    pub fn selector(&self, id: SelectorId) -> &Selector {
        &self.of(id).selector
    }

    /// Whom a selector that somebody holds selects, in order.
    pub fn selected(&self, id: SelectorId) -> &[u32] {
        &self.of(id).selected
    }

    /// Whether a selector that somebody holds selects this peer.
    pub fn selects(&self, id: SelectorId, number: u32) -> bool {
        self.selected(id).binary_search(&number).is_ok()
    }

    /// The numbers of peers that are not workloads: the reserved ones, and nodes with numbers of their own.
    pub(crate) fn apart(&self) -> impl Iterator<Item = u32> {
        self.numbers(..FIRST_ALLOCATED).chain(self.numbers(FIRST_NODE..))
    }

    /// Who has a port of this name.
    pub(crate) fn with_port_name(&self, name: &str) -> impl Iterator<Item = u32> {
        self.by_port_name.get(name).into_iter().flatten().copied()
    }

    /// Workloads that wildcards for workloads may miss.
    pub(crate) fn without_namespace(&self) -> impl Iterator<Item = u32> {
        self.without_namespace.iter().copied()
    }

    fn numbers(&self, range: impl RangeBounds<u32>) -> impl Iterator<Item = u32> {
        self.peers.range(range).map(|(number, _)| *number)
    }

    /// The selectors that somebody holds and that select these labels.
    fn selecting(&self, labels: &Labels) -> Vec<SelectorId> {
        let candidates = self.by_anchor.candidates(labels).into_iter().copied();
        candidates.filter(|id| self.selector(*id).selects(labels)).collect()
    }

    fn of(&self, id: SelectorId) -> &Held {
        self.held[id.0 as usize].as_ref().expect("who has an id holds its selector")
    }

    fn of_mut(&mut self, id: SelectorId) -> &mut Held {
        self.held[id.0 as usize].as_mut().expect("who has an id holds its selector")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::Operator;

    fn app(name: &str) -> Selector {
        Selector::default().with(Some(Source::K8s), "app", Operator::equals(name))
    }

    #[test]
    fn a_selection_follows_peers_that_come_and_go() {
        let mut directory = Directory::new();
        let labels = |app| Labels::of_workload("default", [], [("app", app)]);
        directory.insert(300, labels("web"), NamedPorts::default());
        let web = directory.intern(&app("web"));
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
    fn a_selector_is_forgotten_with_its_last_hold() {
        let mut directory = Directory::new();
        let web = directory.intern(&app("web"));
        assert_eq!(directory.intern(&app("web")), web);
        directory.release(web);
        assert_eq!(directory.selector(web), &app("web"));
        directory.release(web);
        let labels = Labels::of_workload("default", [], [("app", "web")]);
        assert_eq!(directory.insert(300, labels, NamedPorts::default()), []);
        assert_eq!(directory.intern(&app("db")), web, "its id is given to the next");
    }

    #[test]
    fn reserved_peers_are_known_from_the_start() {
        let directory = Directory::new();
        assert_eq!(directory.apart().collect::<Vec<_>>(), (0..=8).collect::<Vec<_>>());
        assert_eq!(*directory.party(1).unwrap().labels, Labels::reserved("host"));
    }
}
