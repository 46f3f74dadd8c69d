//! All label sets that selectors distinguish: for each combination of selectors that can select the same set, a set
//! with as few labels as possible.

use super::breadth::{MAX_LABEL_SETS, TooMany};
use identity::{LabelKey, Labels, Requirement, Selector, Source};
use std::collections::{BTreeMap, BTreeSet};

/// Generated labels of source `k8s`.
pub(super) type Own = BTreeMap<String, String>;

/// Which selectors select a label set: first in the old scenario, then in the new.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Selected(Vec<bool>);

/// Every combination of selectors that can select the same label set, with the smallest such set. `fixed` are labels
/// that all sets have unless a generated label replaces them, in the old and in the new scenario; `is_free` accepts
/// the keys of generated labels.
///
/// Keys are processed one after another: a key is absent, has a value that a selector names, or has another value.
/// Sets that the same selectors can still select are merged, so that only distinct combinations cost time.
pub(super) fn kinds(
    selectors: &[&Selector],
    fixed: &[Labels; 2],
    is_free: impl Fn(&str) -> bool,
) -> Result<BTreeMap<Selected, Own>, TooMany> {
    let is_free = |one: &Requirement| matches!(one.source, None | Some(Source::K8s)) && is_free(&one.name);
    let holds = |selector: &Selector, labels: &Labels| {
        selector.requirements().iter().filter(|one| !is_free(one)).all(|one| one.matches(labels))
    };
    let start = fixed.iter().flat_map(|labels| selectors.iter().map(move |selector| holds(selector, labels)));
    let mut kinds = BTreeMap::from([(Selected(start.collect()), Own::new())]);
    for (key, places) in by_key(selectors, is_free) {
        let mut next = BTreeMap::<Selected, Own>::new();
        for value in values(&places) {
            let of_world = |at: usize| {
                let failing = failing(&places, key, value.as_deref(), &fixed[at]);
                failing.map(move |place| place + at * selectors.len())
            };
            let failing: BTreeSet<usize> = (0..fixed.len()).flat_map(of_world).collect();
            for (selected, own) in &kinds {
                let mut selected = selected.clone();
                failing.iter().for_each(|at| selected.0[*at] = false);
                let mut own = own.clone();
                own.extend(value.clone().map(|value| (key.to_owned(), value)));
                let is_full = next.len() == MAX_LABEL_SETS;
                match next.get_mut(&selected) {
                    Some(known) if known.len() <= own.len() => {}
                    Some(known) => *known = own,
                    None if is_full => return Err(TooMany::Kinds),
                    None => drop(next.insert(selected, own)),
                }
            }
        }
        kinds = next;
    }
    Ok(kinds)
}

/// The requirements on each key, with the indices of their selectors.
fn by_key<'a>(
    selectors: &[&'a Selector],
    is_free: impl Fn(&Requirement) -> bool,
) -> BTreeMap<&'a str, Vec<(usize, &'a Requirement)>> {
    let mut keys = BTreeMap::<&str, Vec<_>>::new();
    for (place, selector) in selectors.iter().enumerate() {
        for one in selector.requirements().iter().filter(|one| is_free(one)) {
            keys.entry(&one.name).or_default().push((place, one));
        }
    }
    keys
}

/// The indices of requirements on a key that fail for this value, or for the fixed value without one.
fn failing<'a>(
    places: &'a [(usize, &Requirement)],
    key: &str,
    value: Option<&str>,
    fixed: &Labels,
) -> impl Iterator<Item = usize> + 'a {
    let value = value.or_else(|| fixed.value(Some(&Source::K8s), key));
    let label = value.map(|value| (LabelKey { source: Source::K8s, name: key.into() }, value));
    let labels: Labels = label.into_iter().collect();
    places.iter().filter(move |(_, one)| !one.matches(&labels)).map(|(place, _)| *place)
}

/// The possible values of a key: absent, each named value, and one that is not named.
fn values(places: &[(usize, &Requirement)]) -> Vec<Option<String>> {
    let named: BTreeSet<&str> = places.iter().flat_map(|(_, one)| one.operator.values()).collect();
    let mut others =
        ["any", "other"].map(str::to_owned).into_iter().chain((1..).map(|at| format!("other{at}")));
    let other = others.find(|value| !named.contains(value.as_str()));
    [None].into_iter().chain(named.into_iter().map(|value| Some(value.to_owned()))).chain([other]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::Operator;

    fn found(selectors: &[Selector]) -> Vec<String> {
        let selectors: Vec<&Selector> = selectors.iter().collect();
        let found = kinds(&selectors, &Default::default(), |_| true).unwrap();
        let words =
            |own: Own| own.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        let mut found: Vec<String> = found.into_values().map(words).collect();
        found.sort();
        found
    }

    fn one(key: &str, operator: Operator) -> Selector {
        Selector::default().with(None, key, operator)
    }

    #[test]
    fn each_named_value_occurs_if_selectors_distinguish_it() {
        let some = |values: &[&str]| Operator::In(values.iter().copied().collect());
        assert_eq!(found(&[one("r", some(&["a", "b"])), one("r", some(&["a"]))]), ["", "r=a", "r=b"]);
        let none = |values: &[&str]| Operator::NotIn(values.iter().copied().collect());
        assert_eq!(found(&[one("r", none(&["a", "b"])), one("r", none(&["a"]))]), ["", "r=a", "r=b"]);
        assert_eq!(found(&[Selector::default(), one("r", Operator::DoesNotExist)]), ["", "r=any"]);
        assert_eq!(found(&[one("r", some(&["any"])), one("r", Operator::Exists)]), ["", "r=any", "r=other"]);
    }

    #[test]
    fn keys_are_combined() {
        let both = one("a", Operator::equals("1")).with(None, "b", Operator::equals("2"));
        assert_eq!(found(std::slice::from_ref(&both)), ["", "a=1,b=2"]);
        assert_eq!(found(&[both, one("a", Operator::Exists)]), ["", "a=1,b=2", "a=any"]);
    }

    #[test]
    fn too_many_combinations_are_refused() {
        let selectors: Vec<Selector> = (0..13).map(|at| one(&format!("k{at}"), Operator::Exists)).collect();
        let selectors: Vec<&Selector> = selectors.iter().collect();
        assert_eq!(kinds(&selectors, &Default::default(), |_| true), Err(TooMany::Kinds));
        assert_eq!(
            kinds(&selectors[..12], &Default::default(), |_| true).map(|kinds| kinds.len()),
            Ok(MAX_LABEL_SETS)
        );
    }
}
