//! What a policy says of labels: a list of requirements that must all hold.

use crate::label::{Labels, Source, key};
use crate::values::Values;
use std::fmt;

/// All requirements must hold; with none, every set of labels is selected.
///
/// Scoping (a policy's own namespace, "any workload" in a clusterwide policy) has been written into the requirements
/// by whoever read the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// The requirements, in the order of the manifest.
    pub requirements: Vec<Requirement>,
}

/// One requirement on one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The source that must vouch for the label, or any.
    pub source: Option<Source>,
    /// The key without the source.
    pub name: String,
    /// What must hold of the value.
    pub operator: Operator,
}

/// What a requirement asks of a key's value; meaning as of Kubernetes label selectors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// The key is there with one of these values.
    In(Values),
    /// The key is absent, or has none of these values.
    NotIn(Values),
    /// The key is there.
    Exists,
    /// The key is absent.
    DoesNotExist,
}

impl Selector {
    /// Adds a requirement.
    #[must_use]
    pub fn with(mut self, source: Option<Source>, name: impl Into<String>, operator: Operator) -> Self {
        self.requirements.push(Requirement { source, name: name.into(), operator });
        self
    }

    /// Whether the labels meet every requirement.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }

    /// The one namespace whose workloads it can select, where its requirements pin it down.
    pub fn namespace(&self) -> Option<&str> {
        self.requirements.iter().find_map(Requirement::namespace)
    }
}

impl Requirement {
    /// Whether the labels meet this requirement.
    pub fn holds(&self, labels: &Labels) -> bool {
        let value = labels.value(self.source.as_ref(), &self.name);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }

    /// Whether it fails wherever no label has its key.
    pub(crate) fn asks_for_a_label(&self) -> bool {
        matches!(self.operator, Operator::In(_) | Operator::Exists)
    }

    /// The namespace that it asks for, and no other.
    pub(crate) fn namespace(&self) -> Option<&str> {
        match &self.operator {
            Operator::In(values) if values.len() == 1 && self.name == key::NAMESPACE => values.first(),
            _ => None,
        }
    }
}

impl Operator {
    /// The key is there with this one value.
    pub fn equals(value: impl AsRef<str>) -> Self {
        Self::In(Values::from([value.as_ref()]))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.requirements.is_empty() {
            return f.write_str("{}");
        }
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match &self.source {
            Some(source) => format!("{source}:{}", self.name),
            None => self.name.clone(),
        };
        let list = |values: &Values| values.iter().collect::<Vec<_>>().join(", ");
        match &self.operator {
            Operator::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Operator::In(values) => write!(f, "{key} in ({})", list(values)),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
            Operator::Exists => f.write_str(&key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}
