//! Labels as Kubernetes lets them be written, wherever one is read.

use crate::item::Item;
use crate::name::{is_label_key, is_label_value};
use identity::key;
use std::collections::BTreeMap;
use std::fmt;

/// Why a text is no part of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelError {
    /// It is no key.
    Key(String),
    /// It is a key with a source, as selectors have it; here is the key.
    Source(String, String),
    /// It is no value.
    Value(String),
}

/// Sees to a label of a workload, a node or another object.
///
/// # Errors
/// Its key or its value is none.
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

/// Reads the labels of an object; those that are none are reported.
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

/// Whether the cluster itself sets labels with this key, whatever a workload says of itself.
fn is_set_by_cluster(name: &str) -> bool {
    matches!(name, key::NAMESPACE | key::CLUSTER | key::SERVICE_ACCOUNT)
        || name.starts_with(key::NAMESPACE_LABELS)
}

/// The labels that a workload may give itself. Of the others the cluster knows better: a workload that could give itself
/// the labels of a namespace, or an account, could give itself what policies allow these.
pub(crate) fn own(mut labels: BTreeMap<String, String>, item: &Item<'_>) -> BTreeMap<String, String> {
    labels.retain(|key, _| {
        let is_own = !is_set_by_cluster(key);
        if !is_own {
            item.warn(format!("the cluster itself sets the label `{key}`; this one does not count"));
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
                "{key:?} is no label key; write a name of at most 63 letters, digits, `-`, `_` and `.`, \
                 with or without a domain before it (example.com/name)"
            ),
            Self::Source(key, rest) => {
                write!(f, "{key:?} is no label key; selectors alone name a source, so write {rest:?}")
            }
            Self::Value(value) => write!(
                f,
                "{value:?} is no label value; write at most 63 letters, digits, `-`, `_` and `.`, \
                 beginning and ending with a letter or digit"
            ),
        }
    }
}

impl std::error::Error for LabelError {}
