//! Labels with the syntax of Kubernetes.

use crate::item::Item;
use crate::name::{is_label_key, is_label_value};
use identity::key;
use std::collections::BTreeMap;
use std::fmt;

/// Why a text is not part of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelError {
    /// It is not a valid key.
    Key(String),
    /// It is a key with a source, which only selectors allow; the second text is the key.
    Source(String, String),
    /// It is not a valid value.
    Value(String),
}

/// Checks a label of a workload, a node or another object.
///
/// # Errors
/// The key or the value is invalid.
pub fn check(key: &str, value: &str) -> Result<(), LabelError> {
    check_key(key)?;
    check_value(value)
}

pub(crate) fn check_key(key: &str) -> Result<(), LabelError> {
    match key.split_once(':') {
        _ if is_label_key(key) => Ok(()),
        Some(("k8s" | "any" | "reserved", rest)) if is_label_key(rest) => {
            Err(LabelError::Source(key.to_owned(), rest.to_owned()))
        }
        _ => Err(LabelError::Key(key.to_owned())),
    }
}

pub(crate) fn check_value(value: &str) -> Result<(), LabelError> {
    if is_label_value(value) { Ok(()) } else { Err(LabelError::Value(value.to_owned())) }
}

/// Reads the labels of an object, and reports invalid ones.
pub(crate) fn read(item: &Item<'_>) -> BTreeMap<String, String> {
    let labels = item.entries().into_iter().filter_map(|(key, value)| {
        let text = value.text()?;
        if let Err(error) = check(key, text) {
            value.error(error.to_string());
            return None;
        }
        Some((key.to_owned(), text.to_owned()))
    });
    labels.collect()
}

/// Whether the cluster sets labels with this key, so that a workload cannot.
fn is_set_by_cluster(name: &str) -> bool {
    matches!(name, key::NAMESPACE | key::CLUSTER | key::SERVICE_ACCOUNT)
        || name.starts_with(key::NAMESPACE_LABELS)
}

/// Drops the labels that only the cluster may set. A workload that sets the labels of a namespace or a service account
/// would gain what policies allow these.
pub(crate) fn own(mut labels: BTreeMap<String, String>, item: &Item<'_>) -> BTreeMap<String, String> {
    labels.retain(|key, _| {
        let is_own = !is_set_by_cluster(key);
        if !is_own {
            item.warn(format!("the cluster itself sets the label `{key}`; this label is ignored"));
        }
        is_own
    });
    labels
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(
                f,
                "{key:?} is not a valid label key; write a name of at most 63 letters, digits, `-`, `_` and `.`, \
                 with or without a domain before it (example.com/name)"
            ),
            Self::Source(key, rest) => {
                write!(f, "{key:?} is not a valid label key; only selectors name a source; write {rest:?}")
            }
            Self::Value(value) => write!(
                f,
                "{value:?} is not a valid label value; write at most 63 letters, digits, `-`, `_` and `.`, \
                 beginning and ending with a letter or digit"
            ),
        }
    }
}

impl std::error::Error for LabelError {}
