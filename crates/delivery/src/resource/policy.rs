//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy.

use super::endpoint::conditions;
use super::rules;
use super::selector::selector;
use crate::custom_resource::{CustomResource, PrinterColumn, V2, root};
use crate::schema::{Schema, boolean, list, object, open_object, text};

const COLUMNS: &[PrinterColumn] = &[
    PrinterColumn::new("Age", "date", ".metadata.creationTimestamp"),
    PrinterColumn::new("Valid", "string", ".status.conditions[?(@.type=='Valid')].status"),
];

pub(super) const NAMESPACED: CustomResource = CustomResource {
    kind: "CiliumNetworkPolicy",
    plural: "ciliumnetworkpolicies",
    short_names: &["cnp", "ciliumnp"],
    categories: &["cilium", "ciliumpolicy"],
    is_namespaced: true,
    has_status: true,
    columns: COLUMNS,
    versions: V2,
    schema: namespaced,
};

pub(super) const CLUSTERWIDE: CustomResource = CustomResource {
    kind: "CiliumClusterwideNetworkPolicy",
    plural: "ciliumclusterwidenetworkpolicies",
    short_names: &["ccnp"],
    categories: &["cilium", "ciliumpolicy"],
    is_namespaced: false,
    has_status: true,
    columns: COLUMNS,
    versions: V2,
    schema: clusterwide,
};

const SECTIONS: [&str; 4] = ["ingress", "ingressDeny", "egress", "egressDeny"];

fn namespaced() -> Schema {
    policy("A policy for endpoints of its namespace.", false)
}

fn clusterwide() -> Schema {
    policy("A policy for endpoints of all namespaces, or for nodes.", true)
}

fn policy(about: &str, selects_nodes: bool) -> Schema {
    let status = object([("conditions", conditions()), ("derivativePolicies", open_object())]);
    let listed = spec(selects_nodes).one_filled_of(SECTIONS);
    let listed = match selects_nodes {
        true => listed.exactly_one_of(["endpointSelector", "nodeSelector"]),
        false => listed.requires(["endpointSelector"]),
    };
    root(
        about,
        [
            ("spec", with_messages(spec(selects_nodes), selects_nodes)),
            ("specs", list(listed).about("Several specs in one policy.")),
            ("status", status),
        ],
    )
    .requires(["metadata"])
    .rule("has(self.spec) || has(self.specs)", "`spec` and `specs` are missing; a policy needs at least one")
}

/// The rules on a whole spec in CEL, with the messages of the agent. In `specs` the API server's limit on the cost of
/// rules leaves room for structural rules only.
fn with_messages(spec: Schema, selects_nodes: bool) -> Schema {
    let filled = SECTIONS.map(|name| format!("(has(self.{name}) && size(self.{name}) > 0)")).join(" || ");
    let spec = spec.rule(
        &filled,
        "the spec has no rule; write at least one of `ingress`, `ingressDeny`, `egress`, `egressDeny`",
    );
    if !selects_nodes {
        return spec.rule(
            "has(self.endpointSelector)",
            "`endpointSelector` is missing; write `{}` for every workload",
        );
    }
    spec.rule(
        "has(self.endpointSelector) || has(self.nodeSelector)",
        "`endpointSelector` is missing; write `{}` for every workload",
    )
    .rule(
        "!has(self.endpointSelector) || !has(self.nodeSelector)",
        "`nodeSelector` cannot be combined with `endpointSelector`; keep one of the two",
    )
}

fn spec(selects_nodes: bool) -> Schema {
    let label = object([("key", text()), ("value", text()), ("source", text())]).requires(["key"]);
    let value = text().with("maxLength", 32);
    let fields = [
        ("endpointSelector", selector().about("The endpoints that the policy applies to; `{}` selects all.")),
        ("ingress", list(rules::ingress(false)).about("Allowed connections to the endpoints.")),
        ("ingressDeny", list(rules::ingress(true)).about("Denied connections to the endpoints; deny wins.")),
        ("egress", list(rules::egress(false)).about("Allowed connections from the endpoints.")),
        ("egressDeny", list(rules::egress(true)).about("Denied connections from the endpoints; deny wins.")),
        (
            "enableDefaultDeny",
            object([("ingress", boolean()), ("egress", boolean())]).about(
                "Whether connections that no rule allows are denied; true where the direction has rules.",
            ),
        ),
        ("description", text()),
        ("labels", list(label)),
        ("log", object([("value", value)]).requires(["value"]).about("A text for events of the policy.")),
    ];
    let spec = object(fields.map(|(name, field)| (name, field.keeping_nulls())));
    if selects_nodes {
        let nodes = selector().keeping_nulls().about("The nodes that the policy applies to.");
        spec.and("nodeSelector", nodes)
    } else {
        spec
    }
}
