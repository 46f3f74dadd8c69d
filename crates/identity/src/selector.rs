//! Label selectors: lists of requirements that must all hold.

use crate::key;
use crate::label::{Labels, Source};
use crate::name::Name;
use crate::values::Values;
use std::fmt;
use std::iter;
use std::sync::Arc;

/// All requirements must hold; without requirements, every set of labels is selected.
///
/// The requirements include the scope of a policy (its namespace, or any workload for a cluster-scoped policy), which
/// the parser of manifests adds. Clones share one allocation, so comparing them is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    requirements: Arc<[Requirement]>,
}

/// One requirement on one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The source of the label; none: any source.
    pub source: Option<Source>,
    /// The key without the source.
    pub name: Name,
    /// The condition on the value.
    pub operator: Operator,
}

/// The condition on a key's value, as in Kubernetes label selectors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// The key exists with one of these values.
    In(Values),
    /// The key does not exist, or has none of these values.
    NotIn(Values),
    /// The key exists.
    Exists,
    /// The key does not exist.
    DoesNotExist,
}

impl Selector {
    /// Adds a requirement.
    #[must_use]
    pub fn with(self, source: Option<Source>, name: impl Into<Name>, operator: Operator) -> Self {
        let added = Requirement { source, name: name.into(), operator };
        self.requirements.iter().cloned().chain(iter::once(added)).collect()
    }

    /// The requirements of both selectors; those of the other come last.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.requirements.iter().chain(other.requirements()).cloned().collect()
    }

    /// The requirements, in the order of the manifest.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether another clone exists.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.requirements) > 1
    }

    /// Whether the labels match every requirement.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// The namespace of the workloads that it selects, if the requirements fix it.
    pub fn namespace(&self) -> Option<&str> {
        self.requirements.iter().find_map(Requirement::namespace)
    }
}

impl FromIterator<Requirement> for Selector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        Self { requirements: requirements.into_iter().collect() }
    }
}

impl Requirement {
    /// Whether the labels match this requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.value(self.source.as_ref(), &self.name);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }

    /// Whether it fails for every set of labels without its key.
    pub fn requires_label(&self) -> bool {
        matches!(self.operator, Operator::In(_) | Operator::Exists)
    }

    /// The namespace that it requires.
    pub(crate) fn namespace(&self) -> Option<&str> {
        match &self.operator {
            Operator::In(values) if values.len() == 1 && self.name == key::NAMESPACE => values.first(),
            _ => None,
        }
    }
}

impl Operator {
    /// Its values.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::In(values) | Self::NotIn(values) => Some(values),
            Self::Exists | Self::DoesNotExist => None,
        }
        .into_iter()
        .flat_map(Values::iter)
    }

    /// The key exists with this value.
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
            None => self.name.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(names: &[&str]) -> Selector {
        names.iter().fold(Selector::default(), |selector, name| selector.with(None, *name, Operator::Exists))
    }

    #[test]
    fn clones_share_their_requirements() {
        let selector = asking(&["app", "env"]);
        assert!(Arc::ptr_eq(&selector.requirements, &selector.clone().requirements));
        assert!(!Arc::ptr_eq(&selector.requirements, &asking(&["app", "env"]).requirements));
        assert_eq!(selector, asking(&["app", "env"]));
        assert_ne!(selector, asking(&["env", "app"]));
    }

    #[test]
    fn extending_a_clone_leaves_the_original_unchanged() {
        let selector = asking(&["app"]);
        let narrower = selector.clone().with(None, "env", Operator::equals("prod"));
        assert_eq!(
            (selector.to_string(), narrower.to_string()),
            ("app".to_owned(), "app, env=prod".to_owned())
        );
        assert_eq!(selector.and(&narrower).to_string(), "app, app, env=prod");
        assert!(Selector::default().requirements().is_empty());
    }

    #[test]
    fn a_requirement_is_small() {
        // Tens of thousands of policies have several requirements each.
        assert!(size_of::<Requirement>() <= 72, "{}", size_of::<Requirement>());
        assert_eq!(size_of::<Selector>(), 16);
    }
}
