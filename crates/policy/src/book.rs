//! The numbers by which rows name rules, layer-7 rule sets, columns and classes, and the objects behind the numbers.

use crate::class::{ClassChange, ClassId, Classes, Table};
use crate::rule::{HttpRule, PolicyId};
use abi::row::Row;
use foldhash::HashMap;
use identity::{Holders, Numbering, Sequence, SharedMap};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Number of a rule in rows and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// Number of a set of HTTP rules in rows and in the proxy's table; from 1, 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct L7SetId(pub u32);

/// The place of a rule in a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleOrigin {
    /// The policy of the rule.
    pub policy: Arc<PolicyId>,
    /// The path of the rule in the document.
    pub place: Arc<str>,
}

/// HTTP rules of which one must allow a request; sorted, each once.
pub type HttpRules = BTreeSet<HttpRule>;

/// The numbers of a policy's rules, by their places in the document.
type ByPlace = Box<[(Arc<str>, RuleId)]>;

/// Rules, sets of HTTP rules, columns and classes by number. A number keeps its meaning while it is in
/// force. It gets another meaning only after all other numbers of 32 bits were used.
#[derive(Clone, Debug)]
pub struct RuleBook {
    /// The numbered rules of each policy.
    rules: HashMap<Arc<PolicyId>, ByPlace>,
    origins: SharedMap<RuleId, RuleOrigin>,
    rule_numbers: Sequence,
    sets: Numbering<Arc<HttpRules>>,
    pub(crate) classes: Classes,
    /// A policy and its successor may share a column.
    columns: Holders<()>,
    set_changes: SetChanges,
}

/// Sets of HTTP rules that were added and removed; a set that was added and then removed is in neither list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetChanges {
    /// Added sets.
    pub added: BTreeSet<L7SetId>,
    /// Removed sets.
    pub removed: BTreeSet<L7SetId>,
}

impl RuleId {
    /// No rule: the default verdict applied.
    pub const DEFAULT: Self = Self(0);
    /// The only rule without a policy: a node may connect to its own workloads unless a rule denies it.
    ///
    /// Without this rule a policy would block the health probes of the node. Kubernetes allows traffic to a pod from its
    /// node.
    pub const LOCAL_HOST: Self = Self(1);
    /// The first number of a rule of a policy.
    const FIRST: u32 = 2;
}

impl Default for RuleBook {
    fn default() -> Self {
        Self {
            rules: HashMap::default(),
            origins: SharedMap::new(),
            rule_numbers: Sequence::new(RuleId::FIRST..=u32::MAX),
            sets: Numbering::new(1..=u32::MAX),
            classes: Classes::default(),
            columns: Holders::new(1..=u32::MAX),
            set_changes: SetChanges::default(),
        }
    }
}

impl RuleBook {
    /// Only [`RuleId::LOCAL_HOST`] has a number.
    pub fn new() -> Self {
        Self::default()
    }

    /// Numbers the rules of a policy, in the order of their places; a rule that comes again at the same place has the
    /// same number.
    pub fn number<'a>(
        &mut self,
        policy: &Arc<PolicyId>,
        places: impl IntoIterator<Item = &'a Arc<str>>,
    ) -> Vec<RuleId> {
        let known = self.rules.remove(policy).unwrap_or_default();
        let known_at = |place: &Arc<str>| known.binary_search_by(|(other, _)| other.cmp(place)).ok();
        let mut came = Vec::new();
        let number = |place: &Arc<str>| match known_at(place) {
            Some(at) => known[at].1,
            None => {
                let id = self.next_rule();
                self.origins.insert(id, RuleOrigin { policy: policy.clone(), place: place.clone() });
                came.push((place.clone(), id));
                id
            }
        };
        let numbers = places.into_iter().map(number).collect();
        let mut all: Vec<_> = known.into_iter().chain(came).collect();
        all.sort_unstable();
        self.rules.insert(policy.clone(), all.into());
        numbers
    }

    fn next_rule(&mut self) -> RuleId {
        let free = self.rule_numbers.take(|number| self.origins.contains_key(&RuleId(number)));
        RuleId(free.expect("fewer rules than numbers fit in memory"))
    }

    /// The number of the rule at a place.
    pub fn numbered(&self, policy: &PolicyId, place: &str) -> Option<RuleId> {
        let rules = self.rules.get(policy)?;
        let at = rules.binary_search_by(|(known, _)| (**known).cmp(place)).ok()?;
        Some(rules[at].1)
    }

    /// The numbers of a policy's rules, each with its place.
    pub fn rules_of(&self, policy: &PolicyId) -> impl Iterator<Item = (RuleId, &Arc<str>)> {
        let rules = self.rules.get(policy).into_iter().flatten();
        rules.map(|(place, id)| (*id, place))
    }

    /// The policy and place of the rule with this number; none for the default and for the rule for the local host.
    pub fn origin(&self, id: RuleId) -> Option<&RuleOrigin> {
        self.origins.get(&id)
    }

    /// Releases the numbers of all rules of a removed policy.
    pub fn forget(&mut self, policy: &PolicyId) {
        for (_, id) in self.rules.remove(policy).into_iter().flatten() {
            self.origins.remove(&id);
        }
    }

    /// Adds a hold to a set of HTTP rules, and returns its number.
    pub fn acquire_set(&mut self, rules: impl Into<Arc<HttpRules>>) -> L7SetId {
        let rules = rules.into();
        let is_new = self.sets.number(&rules).is_none();
        let id = L7SetId(self.sets.acquire(&rules).expect("fewer sets than numbers fit in memory"));
        if is_new {
            self.set_changes.added.insert(id);
        }
        id
    }

    /// Releases one hold of a set.
    pub fn release_set(&mut self, id: L7SetId) {
        let is_gone = self.sets.release(id.0).is_some();
        if is_gone && !self.set_changes.added.remove(&id) {
            self.set_changes.removed.insert(id);
        }
    }

    /// The rules of a set.
    pub fn set(&self, id: L7SetId) -> Option<&Arc<HttpRules>> {
        self.sets.value(id.0)
    }

    /// Gives a set the number that it had before a restart, without a hold. A known number or set stays.
    pub fn restore_set(&mut self, number: u32, rules: impl Into<Arc<HttpRules>>) {
        let _ = self.sets.restore(number, rules.into());
    }

    /// Forgets restored sets without a hold.
    pub fn sweep_sets(&mut self) {
        self.sets.sweep();
    }

    /// The sets that were added and removed since the last call.
    pub fn take_set_changes(&mut self) -> SetChanges {
        std::mem::take(&mut self.set_changes)
    }

    /// All rules by number; a clone shares them.
    pub fn rules(&self) -> &SharedMap<RuleId, RuleOrigin> {
        &self.origins
    }

    /// Adds a hold to the class of these verdicts. The caller acquired each set once for each verdict that names it; these
    /// holds pass to a new class, and are released if the class exists.
    pub(crate) fn acquire_class(&mut self, table: &Table) -> ClassId {
        let (class, is_new) = self.classes.acquire(table);
        if !is_new {
            self.release_sets(table);
        }
        class
    }

    /// Adds a hold to a class that is held already.
    pub(crate) fn hold_class(&mut self, class: ClassId) {
        self.classes.hold(class);
    }

    /// Releases one hold of a class.
    pub(crate) fn release_class(&mut self, class: ClassId) {
        if let Some(table) = self.classes.release(class) {
            self.release_sets(&table);
        }
    }

    fn release_sets(&mut self, table: &Table) {
        let sets = table.iter().map(|(.., verdict)| verdict.l7).filter(|set| *set != 0);
        sets.for_each(|set| self.release_set(L7SetId(set)));
    }

    /// The rows of all classes in force.
    pub fn class_rows(&self) -> impl Iterator<Item = Row> {
        self.classes.rows()
    }

    /// The rows of classes that were added (`true`) and removed since the last call, in order.
    pub fn changed_class_rows(&mut self) -> impl Iterator<Item = (bool, Row)> {
        self.classes.take_changes().into_iter().flat_map(|changed| {
            let (came, class, table) = match changed {
                ClassChange::Added(class, table) => (true, class, table),
                ClassChange::Removed(class, table) => (false, class, table),
            };
            let rows: Vec<Row> = crate::class::rows(class, &table).collect();
            rows.into_iter().map(move |row| (came, row))
        })
    }

    /// Starts numbering classes above this number, which the maps may still contain.
    pub fn number_classes_above(&mut self, class: u32) {
        self.classes.number_above(class);
    }

    /// A new number for a column, with one hold.
    pub(crate) fn acquire_column(&mut self) -> u32 {
        self.columns.insert(()).expect("fewer columns than numbers fit in memory")
    }

    /// Adds a hold to the number of a column that is held already.
    pub(crate) fn hold_column(&mut self, number: u32) {
        self.columns.hold(number);
    }

    /// Releases one hold of the number of a column.
    pub(crate) fn release_column(&mut self, number: u32) {
        self.columns.release(number);
    }

    /// How many columns are in force.
    pub fn columns(&self) -> usize {
        self.columns.count()
    }

    /// Starts numbering columns above this number, which the maps may still contain.
    pub fn number_columns_above(&mut self, number: u32) {
        self.columns.continue_above(number);
    }

    /// Starts numbering rules and sets above these numbers, which rows, flows or files from before a restart may contain.
    pub fn number_above(&mut self, rule: u32, set: u32) {
        self.rule_numbers.continue_above(rule);
        self.sets.continue_above(set);
    }

    /// The highest number of a set so far, unless the numbers wrapped around.
    pub fn last_set(&self) -> u32 {
        self.sets.next().saturating_sub(1)
    }

    /// All sets in force, by number. The proxy must know them.
    pub fn sets(&self) -> impl Iterator<Item = (L7SetId, &Arc<HttpRules>)> {
        self.sets.iter().map(|(number, rules)| (L7SetId(number), rules))
    }
}

impl fmt::Display for RuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::PolicyKind;

    fn id(name: &str) -> Arc<PolicyId> {
        Arc::new(PolicyId {
            kind: PolicyKind::NetworkPolicy,
            namespace: Some("default".into()),
            name: name.into(),
        })
    }

    #[test]
    fn a_rule_keeps_its_number_until_its_policy_is_forgotten() {
        let mut book = RuleBook::new();
        let place: Arc<str> = "spec.ingress[0]".into();
        let other: Arc<str> = "spec.egress[0]".into();
        let first = book.number(&id("a"), [&place])[0];
        let both = book.number(&id("a"), [&other, &place]);
        assert_eq!((both[1], book.numbered(&id("a"), &other)), (first, Some(both[0])));
        assert_ne!(book.number(&id("b"), [&place]), [first]);
        assert_eq!(book.origin(first).unwrap().to_string(), "NetworkPolicy/default/a spec.ingress[0]");
        book.forget(&id("a"));
        assert_eq!(book.origin(first), None);
        assert_ne!(book.number(&id("a"), [&place]), [first], "a number is not handed out again");
    }

    #[test]
    fn equal_sets_share_a_number_while_held() {
        let mut book = RuleBook::new();
        let rules = HttpRules::from([HttpRule { method: Some("GET".into()), ..HttpRule::default() }]);
        let set = book.acquire_set(rules.clone());
        assert_eq!(book.acquire_set(rules.clone()), set);
        book.release_set(set);
        assert_eq!(book.set(set).map(|set| &**set), Some(&rules));
        book.release_set(set);
        assert_eq!(book.sets().count(), 0);
    }

    #[test]
    fn added_and_removed_sets_are_returned_once() {
        let mut book = RuleBook::new();
        let [one, two] = ["GET", "PUT"]
            .map(|method| HttpRules::from([HttpRule { method: Some(method.into()), ..HttpRule::default() }]));
        let stays = book.acquire_set(one.clone());
        book.acquire_set(one);
        let brief = book.acquire_set(two);
        book.release_set(brief);
        let came = SetChanges { added: [stays].into(), ..SetChanges::default() };
        assert_eq!(book.take_set_changes(), came);
        book.release_set(stays);
        assert_eq!(book.take_set_changes(), SetChanges::default(), "it is still held");
        book.release_set(stays);
        assert_eq!(book.take_set_changes(), SetChanges { removed: [stays].into(), ..SetChanges::default() });
    }
    #[test]
    fn a_set_that_is_restored_has_its_number_and_is_no_news() {
        let set =
            |method: &str| HttpRules::from([HttpRule { method: Some(method.into()), ..HttpRule::default() }]);
        let mut book = RuleBook::new();
        book.restore_set(7, set("GET"));
        book.restore_set(9, set("PUT"));
        assert_eq!(book.acquire_set(set("GET")), L7SetId(7));
        assert_eq!(book.take_set_changes(), SetChanges::default());
        book.sweep_sets();
        assert_eq!(book.sets().map(|(id, _)| id.0).collect::<Vec<_>>(), [7]);
        assert_eq!(book.acquire_set(set("PUT")), L7SetId(10), "a number keeps its meaning");
        book.release_set(L7SetId(7));
        assert_eq!(book.take_set_changes().removed, [L7SetId(7)].into());
    }
}
