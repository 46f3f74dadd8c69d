//! Labels as the objects of an API server hold them.

use crate::key;
use crate::label::{Labels, Source};
use std::collections::BTreeMap;

/// The `security-labels` of a CiliumIdentity: each label under its source and key, `k8s:app`.
pub fn security_labels(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (format!("{}:{}", key.source, key.name), value.to_owned())).collect()
}

/// The labels that `security-labels` hold; none if a key has no source.
pub fn from_security_labels<'a>(written: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Labels> {
    let mut labels = Labels::default();
    for (key, value) in written {
        let (source, name) = key.split_once(':')?;
        let source = match source {
            "k8s" => Source::K8s,
            "reserved" => Source::Reserved,
            other => Source::Other(other.to_owned()),
        };
        labels.insert(source, name, value);
    }
    Some(labels)
}

/// The labels of the object itself, by which `kubectl get -l` finds it: those of the pods, and the name of their
/// namespace. The labels of the namespace are left out, since their prefixed keys can be longer than a key may be.
pub fn object_labels(labels: &Labels) -> BTreeMap<String, String> {
    let is_of_object = |name: &str| name == key::NAMESPACE || !name.starts_with(INTERNAL);
    let of_pods = labels.iter().filter(|(key, _)| key.source == Source::K8s && is_of_object(&key.name));
    of_pods.map(|(key, value)| (key.name.to_string(), value.to_owned())).collect()
}

/// The prefix of the labels that the agent derives from namespace, service account and cluster.
const INTERNAL: &str = "io.cilium.k8s.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_as_they_were_written() {
        let labels = Labels::of_workload("shop", [("team", "a")], [("app", "web"), ("example.com/tier", "")]);
        let written = security_labels(&labels);
        assert_eq!(written["k8s:app"], "web");
        let read = from_security_labels(written.iter().map(|(key, value)| (&**key, &**value)));
        assert_eq!(read, Some(labels.clone()));
        assert_eq!(from_security_labels([("app", "web")]), None);
        let own: Vec<_> = object_labels(&labels).into_keys().collect();
        assert_eq!(own, ["app", "example.com/tier", "io.kubernetes.pod.namespace"]);
    }
}
