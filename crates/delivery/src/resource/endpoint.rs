//! CiliumEndpoint, an endpoint as its node reports it, and CiliumEndpointSlice, many of them in one object.

use crate::custom_resource::{CustomResource, PrinterColumn, ServedVersion, V2, root};
use crate::schema::{
    Schema, boolean, integer, list, long, object, one_of, open_object, text, text_map, time,
};

pub(super) const RESOURCE: CustomResource = CustomResource {
    kind: "CiliumEndpoint",
    plural: "ciliumendpoints",
    short_names: &["cep", "ciliumep"],
    categories: &["cilium"],
    is_namespaced: true,
    // As Cilium's, the status is no subresource: an agent writes an endpoint in one request.
    has_status: false,
    columns: &[
        PrinterColumn::new("Security Identity", "integer", ".status.identity.id"),
        PrinterColumn::wide("Ingress Enforcement", "string", ".status.policy.ingress.state"),
        PrinterColumn::wide("Egress Enforcement", "string", ".status.policy.egress.state"),
        PrinterColumn::new("Endpoint State", "string", ".status.state"),
        PrinterColumn::new("IPv4", "string", ".status.networking.addressing[0].ipv4"),
        PrinterColumn::new("IPv6", "string", ".status.networking.addressing[0].ipv6"),
    ],
    versions: V2,
    schema,
};

pub(super) const SLICE: CustomResource = CustomResource {
    kind: "CiliumEndpointSlice",
    plural: "ciliumendpointslices",
    short_names: &["ces"],
    categories: &["cilium"],
    is_namespaced: false,
    has_status: false,
    columns: &[],
    versions: &[ServedVersion { name: "v2alpha1", is_deprecated: false }],
    schema: slice,
};

const STATES: &[&str] = &[
    "creating",
    "waiting-for-identity",
    "not-ready",
    "waiting-to-regenerate",
    "regenerating",
    "restoring",
    "ready",
    "disconnecting",
    "disconnected",
    "invalid",
];

fn schema() -> Schema {
    let identity = object([
        ("id", long().about("The number of the identity.")),
        ("labels", list(text()).about("The labels of the identity, each as `k8s:app=web`.")),
    ]);
    let policy = object([("ingress", direction()), ("egress", direction())]);
    let log = object([("code", text()), ("message", text()), ("state", text()), ("timestamp", text())]);
    let status = object([
        ("id", long().about("The number of the endpoint on its node.")),
        ("state", one_of(STATES.iter().copied())),
        ("identity", identity),
        ("networking", networking()),
        ("named-ports", named_ports()),
        ("policy", policy),
        ("service-account", text()),
        ("external-identifiers", external_identifiers()),
        ("encryption", encryption()),
        ("health", health()),
        ("controllers", list(open_object())),
        ("log", list(log)),
    ]);
    root("An endpoint as the agent of its node reports it.", [("status", status)]).requires(["metadata"])
}

fn slice() -> Schema {
    let endpoint = object([
        ("name", text().about("The name of the CiliumEndpoint.")),
        ("id", long().about("The number of the identity.")),
        ("networking", networking()),
        ("named-ports", named_ports()),
        ("encryption", encryption()),
        ("pod-uid", text()),
        ("service-account", text()),
    ]);
    let fields = [
        ("namespace", text().about("The namespace of all endpoints of the slice.")),
        ("endpoints", list(endpoint)),
    ];
    root("Many endpoints of one namespace.", fields).requires(["endpoints", "metadata"])
}

fn networking() -> Schema {
    let pair = object([("ipv4", text()), ("ipv6", text())]);
    let node = text().about("An address of the endpoint's node that other nodes reach.");
    object([("addressing", list(pair)), ("node", node)]).requires(["addressing"])
}

fn named_ports() -> Schema {
    list(object([("name", text()), ("port", integer()), ("protocol", text())]))
}

fn external_identifiers() -> Schema {
    object([
        ("cni-attachment-id", text()),
        ("container-id", text()),
        ("container-name", text()),
        ("k8s-namespace", text()),
        ("k8s-pod-name", text()),
        ("pod-name", text()),
        ("docker-endpoint-id", text()),
        ("docker-network-id", text()),
    ])
}

fn encryption() -> Schema {
    object([("key", integer())])
}

fn health() -> Schema {
    object([("bpf", text()), ("connected", boolean()), ("overallHealth", text()), ("policy", text())])
}

fn direction() -> Schema {
    let tuple = || {
        list(object([
            ("identity", long()),
            ("identity-labels", text_map()),
            ("dest-port", integer()),
            ("protocol", integer()),
        ]))
    };
    object([
        ("enforcing", boolean()),
        ("state", text()),
        ("allowed", tuple()),
        ("denied", tuple()),
        ("adding", tuple()),
        ("removing", tuple()),
    ])
    .requires(["enforcing"])
}

/// The conditions of a status.
pub(super) fn conditions() -> Schema {
    let condition = object([
        ("type", text().about("What the condition is about: `Valid`.")),
        ("status", one_of(["True", "False", "Unknown"])),
        ("reason", text()),
        ("message", text()),
        ("lastTransitionTime", time()),
        ("observedGeneration", long()),
    ])
    .requires(["status", "type"]);
    list(condition).with("x-kubernetes-list-type", "map").with("x-kubernetes-list-map-keys", vec!["type"])
}
