//! Where the API server has an object of an installation.

use serde_json::Value;

/// The place of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPlace {
    /// Its path.
    pub path: String,
    /// Its kind and name as kubectl prints them: `daemonset.apps/nexin-agent`.
    pub name: String,
}

/// The place of an object.
pub fn place(object: &Value) -> ObjectPlace {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (name, singular) = (text(&object["metadata"]["name"]), kind.to_ascii_lowercase());
    let plural = match singular.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{singular}s"),
    };
    let root = if version.contains('/') { "apis" } else { "api" };
    let within = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("namespaces/{namespace}/"),
        None => String::new(),
    };
    let group = version.split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    ObjectPlace {
        path: format!("/{root}/{version}/{within}{plural}/{name}"),
        name: format!("{singular}{group}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custom_resource::GROUP;
    use serde_json::json;

    #[test]
    fn an_object_is_where_the_api_server_has_it() {
        let check = |version: &str, kind: &str, namespace: Option<&str>, path: &str, name: &str| {
            let metadata = json!({"name": "a", "namespace": namespace});
            let place = place(&json!({"apiVersion": version, "kind": kind, "metadata": metadata}));
            assert_eq!((&*place.path, &*place.name), (path, name));
        };
        check("v1", "Namespace", None, "/api/v1/namespaces/a", "namespace/a");
        check(
            "apps/v1",
            "DaemonSet",
            Some("n"),
            "/apis/apps/v1/namespaces/n/daemonsets/a",
            "daemonset.apps/a",
        );
        let identity = "ciliumidentity.cilium.io/a";
        check(
            &format!("{GROUP}/v2"),
            "CiliumIdentity",
            None,
            "/apis/cilium.io/v2/ciliumidentities/a",
            identity,
        );
    }
}
