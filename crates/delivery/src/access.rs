//! What the agents and the operator request from the API server: the one list that their roles are made of.

use serde_json::{Value, json};

/// Requests to some resources.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resources, in the plural.
    pub resources: &'static [&'static str],
    /// The names of the objects; empty for all. The API server cannot restrict creations by name.
    pub names: &'static [&'static str],
    /// The verbs.
    pub verbs: &'static [&'static str],
}

/// Verbs of a watch.
const WATCH: &[&str] = &["list", "watch"];

/// The definitions of custom resources, by their full names.
pub const DEFINITIONS: &[&str] = &[
    "ciliumnetworkpolicies.cilium.io",
    "ciliumclusterwidenetworkpolicies.cilium.io",
    "ciliumcidrgroups.cilium.io",
    "ciliumidentities.cilium.io",
    "ciliumendpoints.cilium.io",
    "ciliumendpointslices.cilium.io",
    "ciliumnodes.cilium.io",
];

/// The name of the objects of the operator: Lease, Secret, Service, webhook.
pub const OPERATOR_NAME: &str = "nexin-operator";

/// What an agent requests, in all namespaces.
pub const AGENT: &[Access] = &[
    of("", &["namespaces", "nodes", "pods", "services"], WATCH),
    of("discovery.k8s.io", &["endpointslices"], WATCH),
    of("networking.k8s.io", &["networkpolicies"], WATCH),
    of(
        "policy.networking.k8s.io",
        &["clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies"],
        WATCH,
    ),
    of(
        "cilium.io",
        &[
            "ciliumnetworkpolicies",
            "ciliumclusterwidenetworkpolicies",
            "ciliumcidrgroups",
            "ciliumidentities",
            "ciliumendpointslices",
        ],
        WATCH,
    ),
    // One for each pod of the node. Server-side apply of a new object needs `create` and `patch`.
    of("cilium.io", &["ciliumendpoints"], &["list", "watch", "create", "patch", "delete"]),
    // One for the node itself.
    of("cilium.io", &["ciliumnodes"], &["list", "watch", "create", "patch"]),
    // Whether a policy is valid, and why not.
    of("cilium.io", &["ciliumnetworkpolicies/status", "ciliumclusterwidenetworkpolicies/status"], &["patch"]),
    of(
        "policy.networking.k8s.io",
        &[
            "clusternetworkpolicies/status",
            "adminnetworkpolicies/status",
            "baselineadminnetworkpolicies/status",
        ],
        &["patch"],
    ),
    // When the kinds above begin to be served.
    of("apiextensions.k8s.io", &["customresourcedefinitions"], WATCH),
    // On pods of the node.
    of("", &["events"], &["create", "patch"]),
];

/// What the operator requests, in all namespaces.
pub const OPERATOR: &[Access] = &[
    of("", &["namespaces", "nodes", "pods"], WATCH),
    of("cilium.io", &["ciliumendpoints"], WATCH),
    of("cilium.io", &["ciliumidentities"], &["list", "watch", "create", "delete"]),
    // Server-side apply of a new object needs both verbs.
    of("cilium.io", &["ciliumnodes"], &["list", "watch", "create", "patch"]),
    of("apiextensions.k8s.io", &["customresourcedefinitions"], &["list", "watch", "create"]),
    Access {
        names: DEFINITIONS,
        ..of("apiextensions.k8s.io", &["customresourcedefinitions"], &["get", "patch"])
    },
    Access {
        names: &[OPERATOR_NAME],
        ..of("admissionregistration.k8s.io", &["validatingwebhookconfigurations"], &["patch"])
    },
];

/// What the operator requests in its own namespace.
pub const OPERATOR_AT_HOME: &[Access] = &[
    of("coordination.k8s.io", &["leases"], &["create"]),
    Access { names: &[OPERATOR_NAME], ..of("coordination.k8s.io", &["leases"], &["get", "update"]) },
    of("", &["secrets"], &["create"]),
    Access { names: &[OPERATOR_NAME], ..of("", &["secrets"], &["get", "update"]) },
];

const fn of(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Access {
    Access { group, resources, names: &[], verbs }
}

/// The resources that these requests watch, each as its group and its name in the plural, in order.
pub fn watched(accesses: &[Access]) -> Vec<(&'static str, &'static str)> {
    let watches = accesses.iter().filter(|access| WATCH.iter().all(|verb| access.verbs.contains(verb)));
    let resources = watches.flat_map(|access| access.resources.iter().map(|name| (access.group, *name)));
    let mut watched: Vec<_> = resources.collect();
    watched.sort_unstable();
    watched
}

impl Access {
    /// The rule of a role.
    pub(crate) fn rule(&self) -> Value {
        let mut rule = json!({"apiGroups": [self.group], "resources": self.resources});
        if !self.names.is_empty() {
            rule["resourceNames"] = json!(self.names);
        }
        rule["verbs"] = json!(self.verbs);
        rule
    }
}
