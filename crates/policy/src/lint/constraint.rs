//! The constraints of a selector on each label key: whether any labels satisfy them, and whether they imply the constraints of
//! another selector.

use identity::{Operator, Selector, Source, key};
use std::collections::{BTreeMap, BTreeSet};

/// The source that a key without source is looked up in first.
static K8S: Source = Source::K8s;

/// The constraints of a selector, by key.
#[derive(Debug)]
pub(super) struct Constraints<'a>(BTreeMap<Key<'a>, Constraint<'a>>);

/// The source, or none for any source, and the name.
type Key<'a> = (Option<&'a Source>, &'a str);

/// The constraint on one key.
#[derive(Clone, Debug)]
struct Constraint<'a> {
    may_lack: bool,
    values: AllowedValues<'a>,
}

/// The values that a key may have if the label exists.
#[derive(Clone, Debug)]
enum AllowedValues<'a> {
    Only(BTreeSet<&'a str>),
    AllBut(BTreeSet<&'a str>),
}

impl<'a> Constraints<'a> {
    /// The constraints of a selector.
    pub(super) fn of(selector: &'a Selector) -> Self {
        let mut constraints = BTreeMap::<Key<'a>, Constraint<'a>>::new();
        for requirement in selector.requirements() {
            let key = (requirement.source.as_ref(), requirement.name.as_str());
            let constraint = constraints.entry(key).or_insert(Constraint::unconstrained());
            *constraint = constraint.intersection(&Constraint::of(&requirement.operator));
        }
        Self(constraints)
    }

    /// Why no set of labels can satisfy the constraints, if none can.
    pub(super) fn contradiction(&self) -> Option<String> {
        if let Some((_, name)) = self.0.keys().find(|key| self.constraint(key).is_impossible()) {
            return Some(format!("the requirements on the label `{name}` contradict each other"));
        }
        // Both labels hold the name of the namespace, and a workload has both or neither.
        let label = format!("{}{}", key::NAMESPACE_LABELS, key::METADATA_NAME);
        let [own, of_namespace] = [key::NAMESPACE, &label].map(|name| self.constraint(&(Some(&K8S), name)));
        own.intersection(&of_namespace).is_impossible().then(|| {
            format!(
                "`{}` and `{label}` are both the name of the namespace, and cannot differ",
                key::NAMESPACE
            )
        })
    }

    /// Whether every set of labels that satisfies these constraints satisfies the others.
    pub(super) fn imply(&self, others: &Self) -> bool {
        others.0.iter().all(|(key, wanted)| self.constraint(key).is_within(wanted))
    }

    /// Whether a set of labels can satisfy both.
    pub(super) fn may_overlap(&self, others: &Self) -> bool {
        others.0.iter().all(|(key, wanted)| !self.constraint(key).intersection(wanted).is_impossible())
    }

    /// Whether every set of labels satisfies them.
    pub(super) fn are_none(&self) -> bool {
        self.0.values().all(|constraint| Constraint::unconstrained().is_within(constraint))
    }

    /// Whether a label with this name must exist.
    pub(super) fn need(&self, name: &str) -> bool {
        [None, Some(&K8S)].iter().any(|source| self.0.get(&(*source, name)).is_some_and(|one| !one.may_lack))
    }

    /// The labels that must exist with one certain value.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(|((_, name), constraint)| match &constraint.values {
            AllowedValues::Only(values) if values.len() == 1 && !constraint.may_lack => {
                values.first().map(|value| (*name, *value))
            }
            _ => None,
        })
    }

    /// The constraint on a key. A key without source is looked up in Kubernetes' labels first, so constraints on one
    /// form of a name affect the other.
    fn constraint(&self, key: &Key<'_>) -> Constraint<'a> {
        let (source, name) = *key;
        let own = self.0.get(&(source, name)).cloned().unwrap_or(Constraint::unconstrained());
        let any = self.0.get(&(None, name));
        match source {
            None => match self.0.get(&(Some(&K8S), name)) {
                Some(k8s) if !k8s.may_lack => own.intersection(k8s),
                _ => own,
            },
            Some(Source::K8s) => match any {
                Some(any) if any.has_value() => own.intersection(any),
                Some(any) => own.intersection(&Constraint { may_lack: true, ..any.clone() }),
                None => own,
            },
            Some(_) if any.is_some_and(|any| any.values.are_none()) => {
                own.intersection(&Constraint::absence())
            }
            Some(_) => own,
        }
    }
}

impl<'a> Constraint<'a> {
    fn unconstrained() -> Self {
        Self { may_lack: true, values: AllowedValues::AllBut(BTreeSet::new()) }
    }

    fn absence() -> Self {
        Self { may_lack: true, values: AllowedValues::Only(BTreeSet::new()) }
    }

    fn of(operator: &'a Operator) -> Self {
        let all = |values: &'a identity::Values| values.iter().collect();
        match operator {
            Operator::In(values) => Self { may_lack: false, values: AllowedValues::Only(all(values)) },
            Operator::NotIn(values) => Self { may_lack: true, values: AllowedValues::AllBut(all(values)) },
            Operator::Exists => Self { may_lack: false, ..Self::unconstrained() },
            Operator::DoesNotExist => Self::absence(),
        }
    }

    /// The constraint that holds if both do.
    fn intersection(&self, other: &Self) -> Self {
        Self { may_lack: self.may_lack && other.may_lack, values: self.values.intersection(&other.values) }
    }

    /// Whether the label must exist with a value that is not empty. Only labels of Kubernetes have values; reserved
    /// labels have none.
    fn has_value(&self) -> bool {
        !self.may_lack && matches!(&self.values, AllowedValues::Only(values) if !values.contains(""))
    }

    fn is_impossible(&self) -> bool {
        !self.may_lack && self.values.are_none()
    }

    fn is_within(&self, other: &Self) -> bool {
        (other.may_lack || !self.may_lack) && self.values.are_within(&other.values)
    }
}

impl AllowedValues<'_> {
    fn intersection(&self, other: &Self) -> Self {
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
