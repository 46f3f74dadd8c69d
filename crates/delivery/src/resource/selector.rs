//! Selectors and names in the schemas of policies.

use crate::schema::{Schema, list, map_of, object, one_of, text, text_like};
use manifest::vocabulary;
use serde_json::json;

/// `{matchLabels, matchExpressions}`.
pub(super) fn selector() -> Schema {
    let expression = object([
        ("key", text()),
        ("operator", one_of(vocabulary::operators())),
        ("values", list(label_value()).with("x-kubernetes-list-type", "atomic")),
    ])
    .requires(["key", "operator"])
    .with("oneOf", json!([
        {"properties": {"operator": {"enum": ["In", "NotIn"]}, "values": {"minItems": 1}}, "required": ["values"]},
        {"properties": {"operator": {"enum": ["Exists", "DoesNotExist"]}, "values": {"maxItems": 0}}},
    ]));
    object([
        ("matchLabels", map_of(label_value())),
        ("matchExpressions", list(expression).with("x-kubernetes-list-type", "atomic")),
    ])
    .with("x-kubernetes-map-type", "atomic")
}

/// A label value of Kubernetes; may be empty.
fn label_value() -> Schema {
    text_like("([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", 63)
}

/// The name of an object.
pub(super) fn object_name() -> Schema {
    let label = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";
    text_like(&format!(r"{label}(\.{label})*"), 253)
}

/// The name of a namespace.
pub(super) fn namespace() -> Schema {
    text_like("[a-z0-9]([-a-z0-9]*[a-z0-9])?", 63)
}

/// `{matchName}` or `{matchPattern}`.
pub(super) fn domain() -> Schema {
    let name = |of: &str| text_like(&format!(r"[{of}]+(\.[{of}]+)*\.?"), 255);
    object([("matchName", name("-a-zA-Z0-9_")), ("matchPattern", name("-a-zA-Z0-9_*"))])
        .exactly_one_of(["matchName", "matchPattern"])
}

/// `{namespace, name}` of a secret.
pub(super) fn secret() -> Schema {
    object([("namespace", text()), ("name", text().with("minLength", 1))]).requires(["name"])
}
