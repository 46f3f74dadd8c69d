//! Labels: source, key and value.

use crate::key;
use crate::name::Name;
use std::fmt;
use std::iter;
use std::sync::{Arc, LazyLock};

/// The source of a label. Written before the key: `k8s:app=web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Kubernetes, or the agent on a single host.
    K8s,
    /// Nexin itself: `reserved:host`, `reserved:world`.
    Reserved,
    /// Any other source, by its name.
    Other(String),
}

/// Source and key of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelKey {
    /// The source.
    pub source: Source,
    /// The key without the source.
    pub name: Name,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Source and key.
    pub key: LabelKey,
    /// The value; may be empty.
    pub value: String,
}

/// A set of labels with at most one value a key, in the order of keys; an identity stands for such a set. Clones share
/// their texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Vec<(LabelKey, Arc<str>)>);

/// [`key::DEFAULT`] as a value, which nearly all workloads share.
static DEFAULT_VALUE: LazyLock<Arc<str>> = LazyLock::new(|| key::DEFAULT.into());

impl Labels {
    /// The labels of a workload: its own labels, its namespace's name, its namespace's labels under
    /// [`key::NAMESPACE_LABELS`], the name of the cluster and the service account, all with source `k8s`.
    /// `kubernetes.io/metadata.name` always is the name of the namespace, as in Kubernetes. The cluster is
    /// [`key::DEFAULT`]; so is the service account, unless the workload's own labels have [`key::SERVICE_ACCOUNT`].
    pub fn of_workload<'a>(
        namespace: &str,
        namespace_labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        own: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        Self::of_namespace(namespace, namespace_labels).with_own(own)
    }

    /// The labels of a workload without own labels in this namespace.
    pub fn of_namespace<'a>(namespace: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let prefixed = |name: &str| Name::from(format!("{}{name}", key::NAMESPACE_LABELS));
        let labels = labels.into_iter().map(|(name, value)| (prefixed(name), value.into()));
        let name: Arc<str> = namespace.into();
        let names = |key: &str| iter::once((Name::from(key), name.clone()));
        // Later labels override earlier ones.
        let labels = labels.chain(names(key::NAMESPACE_METADATA_NAME)).chain(names(key::NAMESPACE));
        let labels = labels.chain(iter::once((Name::from(key::CLUSTER), key::DEFAULT.into())));
        labels.map(|(name, value)| (LabelKey { source: Source::K8s, name }, value)).collect()
    }

    /// The labels of a workload with these own labels in the namespace that `self` describes. Labels of the namespace
    /// override the workload's own.
    pub fn with_own<'a>(&self, own: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let of = |name: &str| LabelKey { source: Source::K8s, name: name.into() };
        let account = iter::once((of(key::SERVICE_ACCOUNT), DEFAULT_VALUE.clone()));
        let own = own.into_iter().map(|(name, value)| (of(name), value.into()));
        account.chain(own).chain(self.0.iter().cloned()).collect()
    }

    /// The label of a reserved identity: `reserved:<name>`. An API server that is no node also has the label of the
    /// world.
    pub fn reserved(name: &str) -> Self {
        let mut labels = Self::default();
        labels.insert(Source::Reserved, name, "");
        if name == key::KUBE_APISERVER {
            labels.insert(Source::Reserved, "world", "");
        }
        labels
    }

    /// Sets a label.
    pub fn insert(&mut self, source: Source, name: impl Into<Name>, value: impl AsRef<str>) {
        let label = (LabelKey { source, name: name.into() }, value.as_ref().into());
        match self.0.binary_search_by(|(key, _)| key.cmp(&label.0)) {
            Ok(place) => self.0[place] = label,
            Err(place) => self.0.insert(place, label),
        }
    }

    /// The value of the label with this source and key; without a source, of any source.
    pub fn value(&self, source: Option<&Source>, name: &str) -> Option<&str> {
        let Some(source) = source else {
            // Nearly all labels have source Kubernetes, which comes first.
            let others = || self.0.iter().find(|(key, _)| key.name == *name).map(|(_, value)| &**value);
            return self.value(Some(&Source::K8s), name).or_else(others);
        };
        let place = self.0.binary_search_by(|(key, _)| (&key.source, &*key.name).cmp(&(source, name)));
        place.ok().map(|place| &*self.0[place].1)
    }

    /// All labels in order.
    pub fn iter(&self) -> impl Iterator<Item = (&LabelKey, &str)> {
        self.0.iter().map(|(key, value)| (key, &**value))
    }

    /// Removes the labels whose keys are not wanted.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&LabelKey) -> bool) {
        self.0.retain(|(key, _)| wanted(key));
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The last value of a key wins.
impl<V: Into<Arc<str>>> FromIterator<(LabelKey, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (LabelKey, V)>>(labels: I) -> Self {
        let mut labels: Vec<(LabelKey, Arc<str>)> =
            labels.into_iter().map(|(key, value)| (key, value.into())).collect();
        labels.sort_by(|(one, _), (other, _)| one.cmp(other));
        labels.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                std::mem::swap(later, kept);
            }
            is_same
        });
        labels.shrink_to_fit();
        Self(labels)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn key(source: &Source, name: &str) -> LabelKey {
        LabelKey { source: source.clone(), name: name.into() }
    }

    #[test]
    fn labels_are_a_sorted_map() {
        let other = || Source::Other("vm".into());
        let list = [
            (Source::Reserved, "host", ""),
            (other(), "app", "x"),
            (Source::K8s, "tier", "front"),
            (Source::K8s, "app", "web"),
            (Source::K8s, "tier", "back"),
            (other(), "app", "y"),
        ];
        let labelled = || list.iter().map(|(source, name, value)| (key(source, name), *value));
        let map: BTreeMap<LabelKey, &str> = labelled().collect();
        let collected: Labels = labelled().collect();
        let mut inserted = Labels::default();
        for (source, name, value) in list.clone() {
            inserted.insert(source, name, value);
        }
        assert_eq!(collected, inserted);
        assert!(collected.iter().eq(map.iter().map(|(key, value)| (key, *value))));
        assert_eq!(collected.to_string(), "k8s:app=web,k8s:tier=back,reserved:host,vm:app=y");
    }

    #[test]
    fn a_value_is_found_by_its_source_or_by_any() {
        let mut labels = Labels::reserved("host");
        labels.insert(Source::Other("vm".into()), "app", "x");
        labels.insert(Source::Other("vm".into()), "os", "linux");
        labels.insert(Source::K8s, "app", "web");
        let vm = Some(Source::Other("vm".into()));
        assert_eq!(labels.value(None, "app"), Some("web"));
        assert_eq!(labels.value(vm.as_ref(), "app"), Some("x"));
        assert_eq!(labels.value(None, "os"), Some("linux"));
        assert_eq!(labels.value(Some(&Source::K8s), "os"), None);
        assert_eq!(labels.value(None, "host"), Some(""));
        assert_eq!(labels.value(None, "hos"), None);
    }

    #[test]
    fn a_workload_has_its_own_labels_and_its_namespaces() {
        let labels = Labels::of_workload(
            "shop",
            [("team", "a"), ("kubernetes.io/metadata.name", "other")],
            [("app", "web"), (key::NAMESPACE, "forged"), ("app", "db")],
        );
        let expected = "k8s:app=db,k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop,\
                        k8s:io.cilium.k8s.namespace.labels.team=a,k8s:io.cilium.k8s.policy.cluster=default,\
                        k8s:io.cilium.k8s.policy.serviceaccount=default,k8s:io.kubernetes.pod.namespace=shop";
        assert_eq!(labels.to_string(), expected);
        assert!(Labels::of_workload("shop", [], []).to_string().contains("metadata.name=shop"));
        let labels =
            Labels::of_workload("shop", [], [(key::SERVICE_ACCOUNT, "reader"), (key::CLUSTER, "forged")]);
        assert_eq!(labels.value(None, key::SERVICE_ACCOUNT), Some("reader"));
        assert_eq!(labels.value(None, key::CLUSTER), Some("default"));
    }
}
