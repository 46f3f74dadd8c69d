//! The same HTTP rules, as a policy of Nexin and as RBAC of Envoy.

use serde_json::{Value, json};

/// The port of the servers.
pub(crate) const PORT: u16 = 80;
/// The method of requests.
const METHOD: &str = "GET";

/// The path that the last of so many rules allows, and no other.
pub(crate) fn allowed_path(rules: usize) -> String {
    format!("/api/v1/resource-{}/items", rules - 1)
}

/// The paths that a rule allows.
fn pattern(rule: usize) -> String {
    format!("/api/v1/resource-{rule}/.*")
}

/// A policy for the server with this label: so many HTTP rules, or the port alone.
pub(crate) fn policy(server: &str, rules: Option<usize>) -> String {
    let mut port = json!({"ports": [{"port": PORT.to_string(), "protocol": "TCP"}]});
    if let Some(rules) = rules {
        let http: Vec<Value> =
            (0..rules).map(|rule| json!({"method": METHOD, "path": pattern(rule)})).collect();
        port["rules"] = json!({ "http": http });
    }
    json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": server, "namespace": "default"},
        "spec": {
            "endpointSelector": {"matchLabels": {"app": server}},
            "ingress": [{"fromEndpoints": [{"matchLabels": {"app": "client"}}], "toPorts": [port]}],
        },
    })
    .to_string()
}

/// The same rules as one policy of Envoy's RBAC filter.
pub(crate) fn rbac(rules: usize) -> Value {
    let permission = |rule: usize| {
        json!({"and_rules": {"rules": [
            {"header": {"name": ":method", "string_match": {"exact": METHOD}}},
            {"url_path": {"path": {"safe_regex": {"regex": pattern(rule)}}}},
        ]}})
    };
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {"rules": {
                "permissions": (0..rules).map(permission).collect::<Vec<_>>(),
                "principals": [{"any": true}],
            }}},
        },
    })
}
