//! The name of an object of the API server as a source of objects, beside the paths of policy files.

use kubernetes::ResourceName;

/// Prefix of the sources. No path of a file begins with it.
const PREFIX: &str = "kubernetes:";

/// The source that stands for a file: `kubernetes:NetworkPolicy/shop/web`.
pub(crate) fn source_of(kind: &str, name: &ResourceName) -> String {
    format!("{PREFIX}{kind}/{name}")
}

/// The kind and the name that a source stands for.
pub(crate) fn object_of(source: &str) -> Option<(&str, ResourceName)> {
    let (kind, name) = source.strip_prefix(PREFIX)?.split_once('/')?;
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, name),
    };
    Some((kind, ResourceName { namespace, name: name.to_owned() }))
}

/// Whether a source is an object of the API server, and not a file.
pub(crate) fn is_cluster_source(source: &str) -> bool {
    source.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_kind_and_name() {
        for (source, namespace) in
            [("kubernetes:Node/n1", None), ("kubernetes:NetworkPolicy/shop/n1", Some("shop".to_owned()))]
        {
            let (kind, name) = object_of(source).unwrap();
            assert_eq!(name, ResourceName { namespace, name: "n1".into() });
            assert_eq!(source_of(kind, &name), source);
        }
        assert!(is_cluster_source("kubernetes:Node/n1") && !is_cluster_source("/etc/nexin/policies/n1.yaml"));
    }
}
