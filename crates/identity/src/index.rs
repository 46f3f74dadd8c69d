//! Finding selectors by labels and labels by selectors, without asking each whether it selects the other.

use crate::label::{Labels, key};
use crate::selector::{Operator, Requirement, Selector};
use foldhash::HashMap;
use std::collections::BTreeSet;

/// Items that have selectors, found by labels.
///
/// An item lies under one requirement of its selector that some label must be there for, its anchor, within the
/// namespace that the selector is for. A set of labels looks only under its own labels.
#[derive(Clone, Debug)]
pub struct SelectorIndex<T> {
    anywhere: Scope<T>,
    by_namespace: HashMap<String, Scope<T>>,
}

/// The items for one namespace, or for no one namespace.
#[derive(Clone, Debug)]
struct Scope<T> {
    by_name: HashMap<String, Anchored<T>>,
    /// Those whose selectors ask for no label.
    loose: BTreeSet<T>,
}

/// The items under one key of labels.
#[derive(Clone, Debug)]
struct Anchored<T> {
    by_value: HashMap<String, BTreeSet<T>>,
    of_any_value: BTreeSet<T>,
}

impl<T> Default for SelectorIndex<T> {
    fn default() -> Self {
        Self { anywhere: Scope::default(), by_namespace: HashMap::default() }
    }
}

impl<T> Default for Scope<T> {
    fn default() -> Self {
        Self { by_name: HashMap::default(), loose: BTreeSet::new() }
    }
}

impl<T> Default for Anchored<T> {
    fn default() -> Self {
        Self { by_value: HashMap::default(), of_any_value: BTreeSet::new() }
    }
}

impl<T: Clone + Ord> SelectorIndex<T> {
    /// No item.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an item.
    pub fn insert(&mut self, selector: &Selector, item: T) {
        let scope = match selector.namespace() {
            Some(namespace) => self.by_namespace.entry(namespace.to_owned()).or_default(),
            None => &mut self.anywhere,
        };
        scope.insert(selector, item);
    }

    /// Removes an item that was added with this selector.
    pub fn remove(&mut self, selector: &Selector, item: &T) {
        let Some(namespace) = selector.namespace() else {
            return self.anywhere.remove(selector, item);
        };
        if let Some(scope) = self.by_namespace.get_mut(namespace) {
            scope.remove(selector, item);
            if scope.is_empty() {
                self.by_namespace.remove(namespace);
            }
        }
    }

    /// The items whose selectors may select these labels, in order; every other item's does not.
    pub fn candidates(&self, labels: &Labels) -> Vec<&T> {
        let namespaces = labels.iter().filter(|(known, _)| known.name == key::NAMESPACE);
        let within = namespaces.filter_map(|(_, namespace)| self.by_namespace.get(namespace));
        let mut found: Vec<&T> = Vec::new();
        for scope in std::iter::once(&self.anywhere).chain(within) {
            found.extend(&scope.loose);
            for (known, value) in labels.iter() {
                if let Some(anchored) = scope.by_name.get(known.name.as_str()) {
                    found.extend(anchored.by_value.get(value).into_iter().flatten());
                    found.extend(&anchored.of_any_value);
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

impl<T: Clone + Ord> Scope<T> {
    fn insert(&mut self, selector: &Selector, item: T) {
        // Where few others lie, few labels come by in vain.
        let emptiest = anchors(selector).min_by_key(|anchor| self.crowd(anchor));
        let Some(anchor) = emptiest else {
            self.loose.insert(item);
            return;
        };
        let anchored = self.by_name.entry(anchor.name.to_string()).or_default();
        match &anchor.operator {
            Operator::In(values) => {
                for value in values.iter() {
                    anchored.by_value.entry(value.to_owned()).or_default().insert(item.clone());
                }
            }
            _ => drop(anchored.of_any_value.insert(item)),
        }
    }

    /// Which anchor was the emptiest once is not remembered, so all are looked under.
    fn remove(&mut self, selector: &Selector, item: &T) {
        self.loose.remove(item);
        for anchor in anchors(selector) {
            let Some(anchored) = self.by_name.get_mut(anchor.name.as_str()) else { continue };
            anchored.of_any_value.remove(item);
            if let Operator::In(values) = &anchor.operator {
                for value in values.iter() {
                    if anchored
                        .by_value
                        .get_mut(value)
                        .is_some_and(|items| items.remove(item) && items.is_empty())
                    {
                        anchored.by_value.remove(value);
                    }
                }
            }
            if anchored.by_value.is_empty() && anchored.of_any_value.is_empty() {
                self.by_name.remove(anchor.name.as_str());
            }
        }
    }

    /// Whether any value will do, and how many items lie under the anchor already.
    fn crowd(&self, anchor: &Requirement) -> (bool, usize) {
        let anchored = self.by_name.get(anchor.name.as_str());
        match &anchor.operator {
            Operator::In(values) => {
                let under = values.iter().filter_map(|value| anchored?.by_value.get(value));
                (false, under.map(BTreeSet::len).sum::<usize>() + values.len())
            }
            _ => (true, anchored.map_or(0, |anchored| anchored.of_any_value.len())),
        }
    }

    fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.loose.is_empty()
    }
}

/// The requirements that some label must be there for, but for the one that the scope stands for.
fn anchors(selector: &Selector) -> impl Iterator<Item = &Requirement> {
    let scoped = selector.namespace().is_some();
    let asking = selector.requirements().iter().filter(|requirement| requirement.asks_for_a_label());
    asking.filter(move |requirement| !(scoped && requirement.namespace().is_some()))
}

/// Members that have labels, found by selectors.
#[derive(Clone, Debug)]
pub struct LabelIndex<T> {
    by_name: HashMap<String, HashMap<String, BTreeSet<T>>>,
}

impl<T> Default for LabelIndex<T> {
    fn default() -> Self {
        Self { by_name: HashMap::default() }
    }
}

impl<T: Copy + Ord> LabelIndex<T> {
    /// No member.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member.
    pub fn insert(&mut self, labels: &Labels, member: T) {
        for (known, value) in labels.iter() {
            // Most labels are there already: nothing is copied for them.
            match self.by_name.get_mut(known.name.as_str()).and_then(|values| values.get_mut(value)) {
                Some(members) => drop(members.insert(member)),
                None => {
                    let values = self.by_name.entry(known.name.to_string()).or_default();
                    values.insert(value.to_owned(), BTreeSet::from([member]));
                }
            }
        }
    }

    /// Removes a member that was added with these labels.
    pub fn remove(&mut self, labels: &Labels, member: T) {
        for (known, value) in labels.iter() {
            let Some(values) = self.by_name.get_mut(known.name.as_str()) else { continue };
            if values.get_mut(value).is_some_and(|members| members.remove(&member) && members.is_empty()) {
                values.remove(value);
            }
            if values.is_empty() {
                self.by_name.remove(known.name.as_str());
            }
        }
    }

    /// The members that the selector may select, in order; it selects no other. None where the selector asks for no
    /// label, so that anybody may be selected.
    pub fn candidates(&self, selector: &Selector) -> Option<Vec<T>> {
        let asking = selector.requirements().iter().filter(|requirement| requirement.asks_for_a_label());
        let fewest =
            asking.min_by_key(|requirement| self.with(requirement).map(BTreeSet::len).sum::<usize>())?;
        let mut members: Vec<T> = self.with(fewest).flatten().copied().collect();
        members.sort();
        members.dedup();
        Some(members)
    }

    /// The members with a label that the requirement asks for, by value.
    fn with<'a>(&'a self, requirement: &'a Requirement) -> impl Iterator<Item = &'a BTreeSet<T>> {
        let values = self.by_name.get(requirement.name.as_str());
        let (some, any) = match &requirement.operator {
            Operator::In(wanted) => (Some(wanted.iter().filter_map(move |value| values?.get(value))), None),
            _ => (None, Some(values.into_iter().flat_map(HashMap::values))),
        };
        some.into_iter().flatten().chain(any.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Source;

    fn labels(namespace: &str, own: &[(&str, &str)]) -> Labels {
        Labels::of_workload(namespace, [], own.iter().copied())
    }

    /// Selectors of every operator, with and without a namespace, for one key or two.
    fn selectors() -> Vec<Selector> {
        let some = || ["a".to_owned(), "b".to_owned()].into();
        let operators = || {
            let equal = ["a", "b"].map(Operator::equals);
            equal.into_iter().chain([
                Operator::In(some()),
                Operator::NotIn(some()),
                Operator::Exists,
                Operator::DoesNotExist,
            ])
        };
        let namespaces = || {
            let within = ["x", "y"].map(Operator::equals).into_iter();
            let others = [
                Operator::In(["x".to_owned(), "y".to_owned()].into()),
                Operator::Exists,
                Operator::DoesNotExist,
            ];
            let with = |operator| Selector::default().with(None, key::NAMESPACE, operator);
            std::iter::once(Selector::default()).chain(within.chain(others).map(with))
        };
        let mut selectors: Vec<Selector> = namespaces().collect();
        for namespace in namespaces() {
            for operator in operators() {
                let one = namespace.clone().with(None, "app", operator);
                selectors
                    .extend(operators().map(|operator| one.clone().with(Some(Source::K8s), "env", operator)));
                selectors.push(one);
            }
        }
        selectors
    }

    fn sets_of_labels() -> Vec<Labels> {
        let mut sets = vec![Labels::default(), Labels::reserved("host")];
        for namespace in ["x", "y", "z"] {
            for app in ["a", "b", "c"] {
                sets.push(labels(namespace, &[("app", app)]));
                sets.extend(["a", "b", "c"].map(|env| labels(namespace, &[("app", app), ("env", env)])));
            }
        }
        sets
    }

    #[test]
    fn no_selector_that_selects_is_missed() {
        let (selectors, sets) = (selectors(), sets_of_labels());
        let mut index = SelectorIndex::new();
        for (number, selector) in selectors.iter().enumerate() {
            index.insert(selector, number);
        }
        for labels in &sets {
            let found = index.candidates(labels);
            for (number, selector) in selectors.iter().enumerate() {
                assert!(!selector.selects(labels) || found.contains(&&number), "{selector} selects {labels}");
            }
        }
        for (number, selector) in selectors.iter().enumerate() {
            index.remove(selector, &number);
        }
        assert!(index.anywhere.is_empty() && index.by_namespace.is_empty(), "nothing stays behind");
    }

    #[test]
    fn no_member_that_is_selected_is_missed() {
        let (selectors, sets) = (selectors(), sets_of_labels());
        let mut index = LabelIndex::new();
        for (number, labels) in sets.iter().enumerate() {
            index.insert(labels, number);
        }
        for selector in &selectors {
            let Some(found) = index.candidates(selector) else { continue };
            for (number, labels) in sets.iter().enumerate() {
                assert!(!selector.selects(labels) || found.contains(&number), "{selector} selects {labels}");
            }
        }
        for (number, labels) in sets.iter().enumerate() {
            index.remove(labels, number);
        }
        assert!(index.by_name.is_empty(), "nothing stays behind");
    }

    #[test]
    fn only_selectors_under_its_own_labels_are_asked() {
        let mut index = SelectorIndex::new();
        for number in 0..100_u32 {
            let crowded = Selector::default().with(None, "part-of", Operator::equals("shop"));
            index.insert(&crowded.with(None, "app", Operator::equals(number.to_string())), number);
        }
        let found = index.candidates(&labels("x", &[("part-of", "shop"), ("app", "7")]));
        assert!(found.len() <= 2 && found.contains(&&7), "{found:?}");
    }

    #[test]
    fn only_members_with_the_rarest_label_are_asked() {
        let mut index = LabelIndex::new();
        for number in 0..100_u32 {
            index.insert(&labels("x", &[("part-of", "shop"), ("app", &number.to_string())]), number);
        }
        let one = Selector::default().with(None, "part-of", Operator::Exists).with(
            None,
            "app",
            Operator::equals("7"),
        );
        assert_eq!(index.candidates(&one), Some(vec![7]));
        assert_eq!(index.candidates(&Selector::default().with(None, "app", Operator::DoesNotExist)), None);
    }
}
