//! Everyone a policy may meet, by peer number, and whom each selector selects.

use crate::party::{NamedPorts, Party};
use abi::identity::{FIRST_ALLOCATED, FIRST_NODE, WORLD_IPV4, is_workload, reserved_name};
use identity::{Labels, Selector, Source, key};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeBounds;

/// The known peers. Whom a selector selects is worked out when it is first asked, and kept up to date from then on.
#[derive(Clone, Debug)]
pub struct Directory {
    peers: BTreeMap<u32, Known>,
    selections: HashMap<Selector, BTreeSet<u32>>,
    by_port_name: HashMap<String, BTreeSet<u32>>,
    /// Workloads without the label that every workload has; wildcards must not be taken to select them.
    without_namespace: BTreeSet<u32>,
}

/// What is known of a peer.
#[derive(Clone, Debug)]
struct Known {
    labels: Labels,
    ports: NamedPorts,
}

impl Default for Directory {
    fn default() -> Self {
        let mut directory = Self {
            peers: BTreeMap::new(),
            selections: HashMap::new(),
            by_port_name: HashMap::new(),
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

    /// Adds a peer, or replaces the one with its number.
    pub fn insert(&mut self, number: u32, labels: Labels, ports: NamedPorts) {
        self.remove(number);
        for (selector, selected) in &mut self.selections {
            if selector.selects(&labels) {
                selected.insert(number);
            }
        }
        for name in ports.names() {
            self.by_port_name.entry(name.to_owned()).or_default().insert(number);
        }
        if is_workload(number) && labels.value(Some(&Source::K8s), key::NAMESPACE).is_none() {
            self.without_namespace.insert(number);
        }
        self.peers.insert(number, Known { labels, ports });
    }

    /// Removes a peer.
    pub fn remove(&mut self, number: u32) {
        let Some(known) = self.peers.remove(&number) else { return };
        for selected in self.selections.values_mut() {
            selected.remove(&number);
        }
        for name in known.ports.names() {
            if let Some(peers) = self.by_port_name.get_mut(name) {
                peers.remove(&number);
            }
        }
        self.without_namespace.remove(&number);
    }

    /// The peer with this number; its address is not known here.
    pub fn party(&self, number: u32) -> Option<Party<'_>> {
        let Known { labels, ports } = self.peers.get(&number)?;
        Some(Party { ports, ..Party::new(number, labels) })
    }

    /// Forgets whom selectors select for which the answer is no: those that no policy in force has any more.
    pub fn retain_selectors(&mut self, in_force: impl Fn(&Selector) -> bool) {
        self.selections.retain(|selector, _| in_force(selector));
    }

    /// The numbers of peers that are not workloads: the reserved ones, and nodes with numbers of their own.
    pub(crate) fn apart(&self) -> impl Iterator<Item = u32> {
        self.numbers(..FIRST_ALLOCATED).chain(self.numbers(FIRST_NODE..))
    }

    /// Whom the selector selects.
    pub(crate) fn selected(&mut self, selector: &Selector) -> &BTreeSet<u32> {
        if !self.selections.contains_key(selector) {
            let selects = self.peers.iter().filter(|(_, known)| selector.selects(&known.labels));
            let selected = selects.map(|(number, _)| *number).collect();
            self.selections.insert(selector.clone(), selected);
        }
        &self.selections[selector]
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::Operator;

    #[test]
    fn a_selection_follows_peers_that_come_and_go() {
        let mut directory = Directory::new();
        let web = Selector::default().with(Some(Source::K8s), "app", Operator::equals("web"));
        let labels = |app| Labels::of_workload("default", [], [("app", app)]);
        directory.insert(300, labels("web"), NamedPorts::default());
        assert_eq!(*directory.selected(&web), BTreeSet::from([300]));
        directory.insert(301, labels("web"), NamedPorts::default());
        directory.insert(302, labels("db"), NamedPorts::default());
        assert_eq!(*directory.selected(&web), BTreeSet::from([300, 301]));
        directory.insert(300, labels("db"), NamedPorts::default());
        directory.remove(301);
        assert!(directory.selected(&web).is_empty());
    }

    #[test]
    fn reserved_peers_are_known_from_the_start() {
        let directory = Directory::new();
        assert_eq!(directory.apart().collect::<Vec<_>>(), (0..=8).collect::<Vec<_>>());
        assert_eq!(*directory.party(1).unwrap().labels, Labels::reserved("host"));
    }
}
