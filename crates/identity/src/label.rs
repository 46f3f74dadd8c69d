//! A label: where it comes from, its key and its value.

use std::collections::BTreeMap;
use std::fmt;

/// Who vouches for a label. Written before the key: `k8s:app=web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Kubernetes, or whoever plays its part on a single host.
    K8s,
    /// Nexin itself: `reserved:host`, `reserved:world`.
    Reserved,
    /// Any other source, by its name.
    Other(String),
}

/// Source and key of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelKey {
    /// Who vouches for it.
    pub source: Source,
    /// The key without the source.
    pub name: String,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Source and key.
    pub key: LabelKey,
    /// The value; may be empty.
    pub value: String,
}

/// A set of labels, at most one value a key; what an identity stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(BTreeMap<LabelKey, String>);

/// Keys with a meaning of their own.
pub mod key {
    /// Name of the namespace that a workload is in.
    pub const NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// Prefix of the labels of that namespace.
    pub const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels.";
    /// Name of the cluster that a workload is in.
    pub const CLUSTER: &str = "io.cilium.k8s.policy.cluster";
    /// The label that Kubernetes puts on every namespace.
    pub const METADATA_NAME: &str = "kubernetes.io/metadata.name";
}

impl Labels {
    /// The labels of a workload: its own, its namespace's name, and its namespace's labels under
    /// [`key::NAMESPACE_LABELS`], all of source `k8s`. `kubernetes.io/metadata.name`
    /// is always the name, as Kubernetes sees to.
    pub fn of_workload<'a>(
        namespace: &str,
        namespace_labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        own: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut labels = Self::default();
        for (name, value) in own {
            labels.insert(Source::K8s, name, value);
        }
        for (name, value) in namespace_labels {
            labels.insert(Source::K8s, format!("{}{name}", key::NAMESPACE_LABELS), value);
        }
        labels.insert(Source::K8s, format!("{}{}", key::NAMESPACE_LABELS, key::METADATA_NAME), namespace);
        labels.insert(Source::K8s, key::NAMESPACE, namespace);
        labels
    }

    /// The single label of a reserved identity: `reserved:<name>`.
    pub fn reserved(name: &str) -> Self {
        let mut labels = Self::default();
        labels.insert(Source::Reserved, name, "");
        labels
    }

    /// Sets a label.
    pub fn insert(&mut self, source: Source, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(LabelKey { source, name: name.into() }, value.into());
    }

    /// The value of the label with this source and key; with no source given, of any source.
    pub fn value(&self, source: Option<&Source>, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key.name == name && source.is_none_or(|source| *source == key.source))
            .map(|(_, value)| value.as_str())
    }

    /// All labels in order.
    pub fn iter(&self) -> impl Iterator<Item = (&LabelKey, &str)> {
        self.0.iter().map(|(key, value)| (key, value.as_str()))
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(LabelKey, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (LabelKey, String)>>(labels: I) -> Self {
        Self(labels.into_iter().collect())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::K8s => "k8s",
            Self::Reserved => "reserved",
            Self::Other(name) => name,
        })
    }
}

impl fmt::Display for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.name)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)?;
        if self.value.is_empty() { Ok(()) } else { write!(f, "={}", self.value) }
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            key.fmt(f)?;
            if !value.is_empty() {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}
