//! What a selector demands of each key; when that cannot be met, and when it is all that another selector demands.

use identity::{Operator, Selector, Source, key};
use std::collections::{BTreeMap, BTreeSet};

/// The source that a key without one is looked for first.
static K8S: Source = Source::K8s;

/// What a selector demands, key by key.
#[derive(Debug)]
pub(super) struct Demands<'a>(BTreeMap<Key<'a>, Demand<'a>>);

/// Source, or any, and name.
type Key<'a> = (Option<&'a Source>, &'a str);

/// What may be there under a key.
#[derive(Clone, Debug)]
struct Demand<'a> {
    may_lack: bool,
    values: Values<'a>,
}

/// The values that a key may have where it is there.
#[derive(Clone, Debug)]
enum Values<'a> {
    Only(BTreeSet<&'a str>),
    AllBut(BTreeSet<&'a str>),
}

impl<'a> Demands<'a> {
    /// What the selector demands.
    pub(super) fn of(selector: &'a Selector) -> Self {
        let mut demands = BTreeMap::<Key<'a>, Demand<'a>>::new();
        for requirement in selector.requirements() {
            let key = (requirement.source.as_ref(), requirement.name.as_str());
            let demand = demands.entry(key).or_insert(Demand::nothing());
            *demand = demand.meet(&Demand::of(&requirement.operator));
        }
        Self(demands)
    }

    /// Why no labels meet the demands, where that is so.
    pub(super) fn contradiction(&self) -> Option<String> {
        if let Some((_, name)) = self.0.keys().find(|key| self.demand(key).is_impossible()) {
            return Some(format!("what is demanded of the label `{name}` contradicts itself"));
        }
        // Both name the namespace, and wherever one of them is, so is the other.
        let label = format!("{}{}", key::NAMESPACE_LABELS, key::METADATA_NAME);
        let [own, of_namespace] = [key::NAMESPACE, &label].map(|name| self.demand(&(Some(&K8S), name)));
        own.meet(&of_namespace).is_impossible().then(|| {
            format!(
                "`{}` and `{label}` are both the name of the namespace, and cannot differ",
                key::NAMESPACE
            )
        })
    }

    /// Whether all labels that meet these demands meet the others.
    pub(super) fn imply(&self, others: &Self) -> bool {
        others.0.iter().all(|(key, wanted)| self.demand(key).is_within(wanted))
    }

    /// Whether some labels could meet both these demands and the others.
    pub(super) fn may_meet(&self, others: &Self) -> bool {
        others.0.iter().all(|(key, wanted)| !self.demand(key).meet(wanted).is_impossible())
    }

    /// Whether nothing is demanded.
    pub(super) fn are_none(&self) -> bool {
        self.0.values().all(|demand| Demand::nothing().is_within(demand))
    }

    /// Whether a label with this name must be there.
    pub(super) fn need(&self, name: &str) -> bool {
        [None, Some(&K8S)].iter().any(|source| self.0.get(&(*source, name)).is_some_and(|one| !one.may_lack))
    }

    /// The names that must have one certain value, with it.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(|((_, name), demand)| match &demand.values {
            Values::Only(values) if values.len() == 1 && !demand.may_lack => {
                values.first().map(|value| (*name, *value))
            }
            _ => None,
        })
    }

    /// What is demanded of a key, by its own name and, since a key without source is that of Kubernetes where there is
    /// one, by the other.
    fn demand(&self, key: &Key<'_>) -> Demand<'a> {
        let (source, name) = *key;
        let own = self.0.get(&(source, name)).cloned().unwrap_or(Demand::nothing());
        let any = self.0.get(&(None, name));
        match source {
            None => match self.0.get(&(Some(&K8S), name)) {
                Some(k8s) if !k8s.may_lack => own.meet(k8s),
                _ => own,
            },
            Some(Source::K8s) => match any {
                Some(any) if any.has_value() => own.meet(any),
                Some(any) => own.meet(&Demand { may_lack: true, ..any.clone() }),
                None => own,
            },
            Some(_) if any.is_some_and(|any| any.values.are_none()) => own.meet(&Demand::absence()),
            Some(_) => own,
        }
    }
}

impl<'a> Demand<'a> {
    fn nothing() -> Self {
        Self { may_lack: true, values: Values::AllBut(BTreeSet::new()) }
    }

    fn absence() -> Self {
        Self { may_lack: true, values: Values::Only(BTreeSet::new()) }
    }

    fn of(operator: &'a Operator) -> Self {
        let all = |values: &'a identity::Values| values.iter().collect();
        match operator {
            Operator::In(values) => Self { may_lack: false, values: Values::Only(all(values)) },
            Operator::NotIn(values) => Self { may_lack: true, values: Values::AllBut(all(values)) },
            Operator::Exists => Self { may_lack: false, ..Self::nothing() },
            Operator::DoesNotExist => Self::absence(),
        }
    }

    /// Both demands at once.
    fn meet(&self, other: &Self) -> Self {
        Self { may_lack: self.may_lack && other.may_lack, values: self.values.meet(&other.values) }
    }

    /// Whether it asks for a value of its own. None but Kubernetes vouches for labels with values: those of reserved
    /// peers have none.
    fn has_value(&self) -> bool {
        !self.may_lack && matches!(&self.values, Values::Only(values) if !values.contains(""))
    }

    fn is_impossible(&self) -> bool {
        !self.may_lack && self.values.are_none()
    }

    fn is_within(&self, other: &Self) -> bool {
        (other.may_lack || !self.may_lack) && self.values.are_within(&other.values)
    }
}

impl Values<'_> {
    fn meet(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Only(some), Self::Only(others)) => Self::Only(some & others),
            (Self::Only(some), Self::AllBut(none)) | (Self::AllBut(none), Self::Only(some)) => {
                Self::Only(some - none)
            }
            (Self::AllBut(none), Self::AllBut(others)) => Self::AllBut(none | others),
        }
    }

    fn are_none(&self) -> bool {
        matches!(self, Self::Only(values) if values.is_empty())
    }

    fn are_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Only(some), Self::Only(others)) => some.is_subset(others),
            (Self::Only(some), Self::AllBut(none)) => some.is_disjoint(none),
            (Self::AllBut(none), Self::AllBut(others)) => others.is_subset(none),
            (Self::AllBut(_), Self::Only(_)) => false,
        }
    }
}
