//! CiliumIdentity: the number of a set of labels. The number is the object's name.

use super::{CustomKind, ObjectMetadata};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A CiliumIdentity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CiliumIdentity {
    api_version: String,
    kind: String,
    /// Its name is the number.
    pub metadata: ObjectMetadata,
    /// The labels, each under source and key: `k8s:app`.
    #[serde(rename = "security-labels", default)]
    pub security_labels: BTreeMap<String, String>,
}

impl CustomKind for CiliumIdentity {
    const KIND: &'static str = "CiliumIdentity";
    const PLURAL: &'static str = "ciliumidentities";
}

impl CiliumIdentity {
    /// The object of a number. `labels` are those that `kubectl get -l` selects by.
    pub fn new(
        number: u32,
        security_labels: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Self {
        Self {
            api_version: Self::API_VERSION.into(),
            kind: Self::KIND.into(),
            metadata: ObjectMetadata { name: number.to_string(), labels, ..ObjectMetadata::default() },
            security_labels,
        }
    }

    /// The number; none for a name that is no number.
    pub fn number(&self) -> Option<u32> {
        self.metadata.name.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_written_as_cilium_writes_it() {
        let labels: BTreeMap<String, String> = [("k8s:app".to_owned(), "web".to_owned())].into();
        let identity = CiliumIdentity::new(4711, labels, [("app".to_owned(), "web".to_owned())].into());
        let golden = r#"{"apiVersion":"cilium.io/v2","kind":"CiliumIdentity","metadata":{"name":"4711","labels":{"app":"web"}},"security-labels":{"k8s:app":"web"}}"#;
        assert_eq!(serde_json::to_string(&identity).unwrap(), golden);
        let read: CiliumIdentity = serde_json::from_str(golden).unwrap();
        assert_eq!((read.number(), &read), (Some(4711), &identity));
        assert_eq!(CiliumIdentity::path(None, "4711"), "/apis/cilium.io/v2/ciliumidentities/4711");
    }
}
