//! The numbers by which rows name rules and layer-7 rule sets, and what they stand for.

use crate::rule::{HttpRule, PolicyId};
use foldhash::HashMap;
use identity::Numbering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Number of a rule in rows and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// Number of a set of HTTP rules in rows and in the proxy's table; from 1, 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct L7SetId(pub u32);

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleOrigin {
    /// The policy it is part of.
    pub policy: Arc<PolicyId>,
    /// Where in the document.
    pub place: Arc<str>,
}

/// HTTP rules of which one must allow a request; sorted, each once.
pub type HttpRules = BTreeSet<HttpRule>;

/// Rules and sets of HTTP rules by number. A number keeps its meaning while it is in force, and is not given another
/// before four thousand million others were.
#[derive(Clone, Debug)]
pub struct RuleBook {
    rules: HashMap<Arc<PolicyId>, BTreeMap<Arc<str>, RuleId>>,
    origins: BTreeMap<RuleId, RuleOrigin>,
    /// The number that is tried first for the next rule.
    next_rule: u32,
    sets: Numbering<Arc<HttpRules>>,
    set_changes: SetChanges,
}

/// Sets of HTTP rules that came into force and went out of it; one that did both is in neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetChanges {
    /// Those that are in force and were not.
    pub came: BTreeSet<L7SetId>,
    /// Those that were in force and are not.
    pub went: BTreeSet<L7SetId>,
}

impl RuleId {
    /// No rule decided: the default did.
    pub const DEFAULT: Self = Self(0);
    /// The one rule that no policy holds: a node may always speak to its own workloads, whatever policies say.
    ///
    /// Without it a policy would cut off the node's health probes, and Kubernetes promises that traffic from the node
    /// a pod runs on is let in.
    pub const LOCAL_HOST: Self = Self(1);
    /// The first number that is given to a rule of a policy.
    const FIRST: u32 = 2;

    fn after(number: u32) -> u32 {
        number.checked_add(1).unwrap_or(Self::FIRST)
    }
}

impl Default for RuleBook {
    fn default() -> Self {
        Self {
            rules: HashMap::default(),
            origins: BTreeMap::new(),
            next_rule: RuleId::FIRST,
            sets: Numbering::new(1..=u32::MAX),
            set_changes: SetChanges::default(),
        }
    }
}

impl RuleBook {
    /// No number stands for anything but [`RuleId::LOCAL_HOST`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of a rule; a rule that comes again at the same place of the same policy has the same number.
    pub fn rule(&mut self, policy: &Arc<PolicyId>, place: &Arc<str>) -> RuleId {
        let rules = self.rules.entry(policy.clone()).or_default();
        if let Some(id) = rules.get(place) {
            return *id;
        }
        while self.origins.contains_key(&RuleId(self.next_rule)) {
            self.next_rule = RuleId::after(self.next_rule);
        }
        let id = RuleId(self.next_rule);
        self.next_rule = RuleId::after(self.next_rule);
        rules.insert(place.clone(), id);
        self.origins.insert(id, RuleOrigin { policy: policy.clone(), place: place.clone() });
        id
    }

    /// The number that a rule has already.
    pub fn numbered(&self, policy: &PolicyId, place: &str) -> Option<RuleId> {
        self.rules.get(policy)?.get(place).copied()
    }

    /// Where the rule with this number stands; nothing for the default and the rule for the local host.
    pub fn origin(&self, id: RuleId) -> Option<&RuleOrigin> {
        self.origins.get(&id)
    }

    /// Gives up the numbers of all rules of a policy that is gone.
    pub fn forget(&mut self, policy: &PolicyId) {
        for (_, id) in self.rules.remove(policy).into_iter().flatten() {
            self.origins.remove(&id);
        }
    }

    /// Holds a set of HTTP rules once more and tells its number.
    pub fn acquire_set(&mut self, rules: impl Into<Arc<HttpRules>>) -> L7SetId {
        let rules = rules.into();
        let is_new = self.sets.number(&rules).is_none();
        let id = L7SetId(self.sets.acquire(&rules).expect("fewer sets than numbers fit in memory"));
        if is_new {
            self.set_changes.came.insert(id);
        }
        id
    }

    /// Gives up one hold of a set.
    pub fn release_set(&mut self, id: L7SetId) {
        let is_gone = self.sets.release(id.0).is_some();
        if is_gone && !self.set_changes.came.remove(&id) {
            self.set_changes.went.insert(id);
        }
    }

    /// The rules of a set.
    pub fn set(&self, id: L7SetId) -> Option<&Arc<HttpRules>> {
        self.sets.value(id.0)
    }

    /// The sets that came and went since this was asked last.
    pub fn take_set_changes(&mut self) -> SetChanges {
        std::mem::take(&mut self.set_changes)
    }

    /// All rules by number.
    pub fn rules(&self) -> impl Iterator<Item = (RuleId, &RuleOrigin)> {
        self.origins.iter().map(|(id, origin)| (*id, origin))
    }

    /// Continues above numbers that rows, flows or files may still hold from before a restart.
    pub fn number_above(&mut self, rule: u32, set: u32) {
        // A number at the very end of its range wraps around, as the numbering itself does.
        self.next_rule = self.next_rule.max(RuleId::after(rule));
        let _ = self.sets.continue_at(self.sets.next().max(set.saturating_add(1)));
    }

    /// The highest number that a set of rules was given, while numbers have not wrapped around.
    pub fn last_set(&self) -> u32 {
        self.sets.next().saturating_sub(1)
    }

    /// All sets in force, by number: what the proxy must know.
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
    use crate::rule::Kind;

    fn id(name: &str) -> Arc<PolicyId> {
        Arc::new(PolicyId { kind: Kind::NetworkPolicy, namespace: Some("default".into()), name: name.into() })
    }

    #[test]
    fn a_rule_keeps_its_number_until_its_policy_is_forgotten() {
        let mut book = RuleBook::new();
        let place: Arc<str> = "spec.ingress[0]".into();
        let first = book.rule(&id("a"), &place);
        assert_eq!(book.rule(&id("a"), &place), first);
        assert_ne!(book.rule(&id("b"), &place), first);
        assert_eq!(book.origin(first).unwrap().to_string(), "NetworkPolicy/default/a spec.ingress[0]");
        book.forget(&id("a"));
        assert_eq!(book.origin(first), None);
        assert_ne!(book.rule(&id("a"), &place), first, "a number is not handed out again");
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
    fn sets_that_came_or_went_are_told_once() {
        let mut book = RuleBook::new();
        let [one, two] = ["GET", "PUT"]
            .map(|method| HttpRules::from([HttpRule { method: Some(method.into()), ..HttpRule::default() }]));
        let stays = book.acquire_set(one.clone());
        book.acquire_set(one);
        let brief = book.acquire_set(two);
        book.release_set(brief);
        let came = SetChanges { came: [stays].into(), ..SetChanges::default() };
        assert_eq!(book.take_set_changes(), came);
        book.release_set(stays);
        assert_eq!(book.take_set_changes(), SetChanges::default(), "somebody holds it still");
        book.release_set(stays);
        assert_eq!(book.take_set_changes(), SetChanges { went: [stays].into(), ..SetChanges::default() });
    }
}
