//! The name of a label, without its source.

use crate::key;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

/// A shared text; names that every workload's labels have are allocated once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The names of [`key`] that all workloads, and so many selectors, have.
static COMMON_NAMES: LazyLock<[Name; 4]> = LazyLock::new(|| {
    let names = [key::NAMESPACE, key::NAMESPACE_METADATA_NAME, key::CLUSTER, key::SERVICE_ACCOUNT];
    names.map(|name| Name(name.into()))
});

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        let shared = COMMON_NAMES.iter().find(|shared| shared.as_str() == name);
        shared.cloned().unwrap_or_else(|| Self(name.into()))
    }
}

impl From<&String> for Name {
    fn from(name: &String) -> Self {
        name.as_str().into()
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_are_one_allocation() {
        let is_shared = |name: &str| Arc::ptr_eq(&Name::from(name).0, &Name::from(name.to_owned()).0);
        assert!(is_shared(key::NAMESPACE));
        assert!(is_shared(&format!("{}{}", key::NAMESPACE_LABELS, key::METADATA_NAME)));
        assert!(!is_shared("app"));
        assert_eq!(Name::from("app"), Name::from("app"));
    }
}
