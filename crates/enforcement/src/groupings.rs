//! The groupings in force with their policies, and which groupings a change of a peer affects.

use crate::peer_changes::{NamespaceChanges, PeerChanges, PeerFacets};
use crate::row_changes::RowChanges;
use abi::endpoint;
use abi::identity::FIRST_NAMESPACE;
use abi::row::Row;
use foldhash::{HashMap, HashSet};
use identity::Sequence;
use policy::book::RuleBook;
use policy::compile::CompiledPolicy;
use policy::directory::{Directory, FacetId};
use policy::endpoint_view::NamedPorts;
use policy::grouping::{Demand, Grouping, Regrouped, Regroupings, namespace_of};
use policy::registry::Registry;
use std::collections::BTreeSet;

/// Groupings by number.
#[derive(Clone, Debug)]
pub(crate) struct Groupings {
    in_force: InForce,
    subscriptions: Subscriptions,
    numbers: Sequence,
}

/// A grouping, and the policies that use it, by number.
#[derive(Clone, Debug)]
pub(crate) struct Grouped {
    pub(crate) grouping: Grouping,
    policies: Vec<(u32, CompiledPolicy)>,
    /// The number of groups, from 0, for which all policies have classes.
    filled_up_to: u32,
}

#[derive(Clone, Debug, Default)]
struct InForce(HashMap<u32, Grouped>);

/// Which groupings distinguish peers by a facet, or by the name of a port.
#[derive(Clone, Debug, Default)]
struct Subscriptions {
    /// Groupings in order.
    by_facet: HashMap<FacetId, Vec<u32>>,
    /// By the port names that they match for peers without labels of their own too.
    by_port_name: HashMap<String, Vec<u32>>,
}

impl Default for Groupings {
    fn default() -> Self {
        let numbers = Sequence::new(1..=endpoint::GroupingNumber::MAX);
        Self { in_force: InForce::default(), subscriptions: Subscriptions::default(), numbers }
    }
}

impl Groupings {
    /// Starts numbering above this number, which the maps may still hold.
    pub(crate) fn number_above(&mut self, number: u32) {
        self.numbers.continue_above(number);
    }

    /// The grouping with this number, and the policies that use it.
    pub(crate) fn of(&self, number: u32) -> &Grouped {
        &self.in_force.0[&number]
    }

    /// The grouping with this number, and the policies that use it, to be changed.
    pub(crate) fn of_mut(&mut self, number: u32) -> &mut Grouped {
        self.in_force.of(number)
    }

    /// A grouping that satisfies a demand: the grouping of the policy's predecessor, or a new one.
    pub(crate) fn answering(
        &mut self,
        demand: &Demand,
        before: Option<u32>,
        Registry { directory, book, .. }: &mut Registry,
        rows: &mut RowChanges,
    ) -> u32 {
        let Some(number) = before.filter(|number| !self.of(*number).grouping.is_too_broad_for(demand)) else {
            let number = self.next();
            let grouping = Grouping::new(demand, directory);
            rows.put(grouping.rows(number));
            self.subscriptions.note(number, &grouping, &[], directory);
            self.in_force
                .0
                .insert(number, Grouped { filled_up_to: grouping.count(), grouping, policies: Vec::new() });
            return number;
        };
        let grouped = self.in_force.of(number);
        let facets = grouped.grouping.facets().to_vec();
        let regrouped = grouped.grouping.extend(demand, directory);
        grouped.report(number, regrouped, book, rows);
        self.subscriptions.note(number, &grouped.grouping, &facets, directory);
        number
    }

    /// Removes a policy; a grouping is removed with its last policy.
    pub(crate) fn retire(
        &mut self,
        number: u32,
        policy: u32,
        Registry { directory, .. }: &mut Registry,
        rows: &mut RowChanges,
    ) -> Option<CompiledPolicy> {
        let grouped = self.in_force.0.get_mut(&number)?;
        let place = grouped.place(policy)?;
        let (_, compiled) = grouped.policies.remove(place);
        if grouped.policies.is_empty()
            && let Some(Grouped { grouping, .. }) = self.in_force.0.remove(&number)
        {
            rows.remove(grouping.rows(number));
            self.subscriptions.forget(number, &grouping, directory);
            grouping.release(directory);
        }
        Some(compiled)
    }

    /// Moves removed, added and changed peers. The groupings are returned in which a peer that stays changed group.
    pub(crate) fn follow(
        &mut self,
        peer_changes: &PeerChanges,
        registry: &mut Registry,
        rows: &mut RowChanges,
    ) -> HashSet<u32> {
        let is_odd = |one: &PeerFacets| !one.is_ordinary;
        let all: BTreeSet<u32> =
            match peer_changes.removed.values().chain(peer_changes.added.values()).any(is_odd) {
                true => self.in_force.0.keys().copied().collect(),
                false => BTreeSet::new(),
            };
        for (peer, facets) in &peer_changes.removed {
            for number in self.subscriptions.affected_by_peer(facets, &all) {
                let forgotten = self.in_force.of(number).grouping.forget(*peer);
                rows.remove(forgotten.and_then(|regrouped| regrouped.rows(number)[0]));
            }
        }
        let changed = self.follow_changed(peer_changes, registry, rows);
        let Registry { directory, book, .. } = registry;
        // Namespaces first: a peer without a row has the group of its namespace.
        let (namespaces, peers): (Vec<_>, Vec<_>) =
            peer_changes.added.iter().partition(|(peer, _)| **peer >= FIRST_NAMESPACE);
        for (peer, facets) in namespaces.into_iter().chain(peers) {
            for number in self.subscriptions.affected_by_peer(facets, &all) {
                let grouped = self.in_force.of(number);
                let regrouped = grouped.grouping.place(*peer, &facets.facets, directory);
                grouped.report(number, regrouped, book, rows);
            }
        }
        changed
    }

    /// Moves changed peers that stay; the groupings are returned in which one of them changed group.
    fn follow_changed(
        &mut self,
        peer_changes: &PeerChanges,
        registry: &mut Registry,
        rows: &mut RowChanges,
    ) -> HashSet<u32> {
        let Registry { directory, book, .. } = registry;
        let Self { in_force, subscriptions, .. } = self;
        let mut changed = HashSet::default();
        let (mut groups, mut tracked, mut regroupings) = (Vec::new(), Vec::new(), Regroupings::default());
        for of_namespace in peer_changes.by_namespace(directory) {
            let namespace = namespace_of(&of_namespace.changes, directory);
            let affected = subscriptions.affected(&of_namespace);
            let affected = || affected.chunk_by(|(one, _), (other, _)| one == other);
            // The state of groupings lies far apart in memory: a processor fetches it for all at once, where each on its
            // own would be waited for.
            groups.clear();
            groups
                .extend(affected().map(|facets| in_force.of(facets[0].0).grouping.group_with_row(namespace)));
            for (facets, around) in affected().zip(&groups) {
                let number = facets[0].0;
                tracked.clear();
                tracked.extend(facets.iter().filter_map(|(_, facet)| *facet));
                let grouped = in_force.of(number);
                let changes = &of_namespace.changes;
                grouped.grouping.follow(changes, &tracked, *around, directory, &mut regroupings);
                if !regroupings.regrouped.is_empty() {
                    changed.insert(number);
                }
                grouped.report(number, regroupings.regrouped.drain(..), book, rows);
            }
        }
        changed
    }

    /// The rows of all groupings.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        self.in_force.0.iter().flat_map(|(number, grouped)| grouped.grouping.rows(*number))
    }

    fn next(&mut self) -> u32 {
        let free = self.numbers.take(|number| self.in_force.0.contains_key(&number));
        free.expect("groupings in force are fewer than their numbers")
    }
}

impl InForce {
    fn of(&mut self, number: u32) -> &mut Grouped {
        self.0.get_mut(&number).expect("a number stands for a grouping in force")
    }
}

impl Grouped {
    /// The policy with this number.
    pub(crate) fn policy(&self, number: u32) -> Option<&CompiledPolicy> {
        Some(&self.policies[self.place(number)?].1)
    }

    /// Adds a policy with a number that no policy had before.
    pub(crate) fn insert(&mut self, number: u32, compiled: CompiledPolicy) {
        // Mostly it is the only one.
        self.policies.reserve_exact(1);
        self.policies.push((number, compiled));
    }

    /// The policy with this number, if there is one, to be changed, and its grouping.
    pub(crate) fn policy_mut(&mut self, policy: Option<u32>) -> (Option<&mut CompiledPolicy>, &Grouping) {
        let place = policy.and_then(|policy| self.place(policy));
        (place.map(|place| &mut self.policies[place].1), &self.grouping)
    }

    fn place(&self, policy: u32) -> Option<usize> {
        self.policies.iter().position(|(number, _)| *number == policy)
    }

    /// Puts the rows of peers that changed group, after all policies of the grouping have classes for new groups.
    fn report(
        &mut self,
        number: u32,
        regrouped: impl IntoIterator<Item = Regrouped>,
        book: &mut RuleBook,
        rows: &mut RowChanges,
    ) {
        if self.filled_up_to != self.grouping.count() {
            for (_, compiled) in &mut self.policies {
                rows.put(compiled.extend_to(&self.grouping, book));
            }
            self.filled_up_to = self.grouping.count();
        }
        for regrouped in regrouped {
            let [before, after] = regrouped.rows(number);
            rows.remove(before);
            rows.put(after);
        }
    }
}

impl Subscriptions {
    /// The groupings that distinguish a peer with these facets from others of its namespace.
    fn affected_by_peer(&self, facets: &PeerFacets, all: &BTreeSet<u32>) -> Vec<u32> {
        if !facets.is_ordinary {
            return all.iter().copied().collect();
        }
        self.subscriptions(&facets.beyond, &facets.ports)
    }

    /// The groupings that these changes affect, in order, each with the changed facets that it distinguishes. A grouping that
    /// distinguishes all peers by ports is returned without a facet.
    fn affected(&self, namespace_changes: &NamespaceChanges) -> Vec<(u32, Option<FacetId>)> {
        let by_facet = namespace_changes
            .facets
            .iter()
            .filter_map(|facet| Some((Some(*facet), self.by_facet.get(facet)?)));
        let by_name = namespace_changes.ports.iter().flat_map(NamedPorts::names);
        let by_name = by_name.filter_map(|name| Some((None, self.by_port_name.get(name)?)));
        let lists = by_facet.chain(by_name);
        let pairs = lists.flat_map(|(facet, numbers)| numbers.iter().map(move |number| (*number, facet)));
        let mut affected: Vec<(u32, Option<FacetId>)> = pairs.collect();
        affected.sort_unstable();
        affected.dedup();
        affected
    }

    /// The groupings that distinguish one of these facets, or all peers by ports of these names.
    fn subscriptions(&self, facets: &[FacetId], ports: &NamedPorts) -> Vec<u32> {
        let by_name = ports.names().filter_map(|name| self.by_port_name.get(name));
        let lists = facets.iter().filter_map(|facet| self.by_facet.get(facet)).chain(by_name);
        let mut numbers: Vec<u32> = lists.flatten().copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Subscribes a grouping to its facets and port names that are not among these.
    fn note(&mut self, number: u32, grouping: &Grouping, before: &[FacetId], directory: &Directory) {
        for facet in grouping.facets().iter().filter(|facet| before.binary_search(facet).is_err()) {
            insert(self.by_facet.entry(*facet).or_default(), number);
        }
        for name in grouping.names(directory) {
            insert(self.by_port_name.entry(name.to_owned()).or_default(), number);
        }
    }

    fn forget(&mut self, number: u32, grouping: &Grouping, directory: &Directory) {
        for facet in grouping.facets() {
            if self.by_facet.get_mut(facet).is_some_and(|numbers| is_last(numbers, number)) {
                self.by_facet.remove(facet);
            }
        }
        for name in grouping.names(directory) {
            if self.by_port_name.get_mut(name).is_some_and(|numbers| is_last(numbers, number)) {
                self.by_port_name.remove(name);
            }
        }
    }
}

fn insert(numbers: &mut Vec<u32>, number: u32) {
    if let Err(place) = numbers.binary_search(&number) {
        numbers.insert(place, number);
    }
}

/// Removes a number, and returns whether the list is empty then.
fn is_last(numbers: &mut Vec<u32>, number: u32) -> bool {
    if let Ok(place) = numbers.binary_search(&number) {
        numbers.remove(place);
    }
    numbers.is_empty()
}
