//! The kinds of objects that an agent watches, and what their objects are for it.

use kubernetes::{KeptFields, WatchedKind};

/// What the objects of a kind are for the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectRole {
    /// A manifest, as a policy file has it.
    Manifest,
    /// A pod of this node.
    NodePod,
    /// The blocks of a node without `podCIDRs`.
    NodeBlocks,
    /// The number of a set of labels.
    Identity,
    /// A pod of any node, with its addresses and the labels of its identity.
    Peer,
    /// Many pods of any nodes, each with its addresses and the number of its identity.
    PeerSlice,
}

const NONE: KeptFields = KeptFields { metadata: &[], whole: &[], spec: &[], status: &[], containers: false };
/// Annotations give a policy its tier and order.
const SPEC: KeptFields = KeptFields { metadata: &["annotations"], whole: &["spec"], ..NONE };

/// The watched kinds. Namespaces and nodes come first: what selects by their labels comes later.
const KINDS: [(ObjectRole, WatchedKind); 16] = [
    manifest("", &["v1"], ("Namespace", "namespaces"), NONE),
    manifest(
        "",
        &["v1"],
        ("Node", "nodes"),
        KeptFields { spec: &["podCIDRs", "podCIDR"], status: &["addresses"], ..NONE },
    ),
    manifest("", &["v1"], ("Service", "services"), SPEC),
    manifest(
        "discovery.k8s.io",
        &["v1"],
        ("EndpointSlice", "endpointslices"),
        KeptFields { whole: &["addressType", "endpoints", "ports"], ..NONE },
    ),
    manifest("networking.k8s.io", &["v1"], ("NetworkPolicy", "networkpolicies"), SPEC),
    manifest("cilium.io", &["v2"], ("CiliumNetworkPolicy", "ciliumnetworkpolicies"), SPECS),
    manifest(
        "cilium.io",
        &["v2"],
        ("CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies"),
        SPECS,
    ),
    manifest("cilium.io", &["v2", "v2alpha1"], ("CiliumCIDRGroup", "ciliumcidrgroups"), SPEC),
    manifest(
        "policy.networking.k8s.io",
        &["v1beta1", "v1alpha2"],
        ("ClusterNetworkPolicy", "clusternetworkpolicies"),
        SPEC_AND_CONDITIONS,
    ),
    manifest(
        "policy.networking.k8s.io",
        &["v1alpha1"],
        ("AdminNetworkPolicy", "adminnetworkpolicies"),
        SPEC_AND_CONDITIONS,
    ),
    manifest(
        "policy.networking.k8s.io",
        &["v1alpha1"],
        ("BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies"),
        SPEC_AND_CONDITIONS,
    ),
    watched(
        ObjectRole::NodePod,
        "",
        &["v1"],
        ("Pod", "pods"),
        KeptFields {
            metadata: &["annotations", "ownerReferences"],
            spec: &["containers", "initContainers", "hostNetwork", "serviceAccountName", "nodeName"],
            status: &["phase", "podIP", "podIPs"],
            containers: true,
            ..NONE
        },
    ),
    watched(
        ObjectRole::NodeBlocks,
        "cilium.io",
        &["v2"],
        ("CiliumNode", "ciliumnodes"),
        KeptFields { spec: &["addresses", "ipam"], ..NONE },
    ),
    watched(
        ObjectRole::Identity,
        "cilium.io",
        &["v2"],
        ("CiliumIdentity", "ciliumidentities"),
        KeptFields { whole: &["security-labels"], ..NONE },
    ),
    watched(
        ObjectRole::Peer,
        "cilium.io",
        &["v2"],
        ("CiliumEndpoint", "ciliumendpoints"),
        KeptFields { status: &["identity", "networking", "named-ports"], ..NONE },
    ),
    watched(
        ObjectRole::PeerSlice,
        "cilium.io",
        &["v2alpha1"],
        ("CiliumEndpointSlice", "ciliumendpointslices"),
        KeptFields { whole: &["namespace", "endpoints"], ..NONE },
    ),
];

/// A policy of the incumbent has one spec or several.
const SPECS: KeptFields = KeptFields { whole: &["spec", "specs"], ..SPEC_AND_CONDITIONS };
/// The status has the condition `Valid`.
const SPEC_AND_CONDITIONS: KeptFields = KeptFields { status: &["conditions"], ..SPEC };

/// The watched kinds and their roles, for the agent of this node.
pub(crate) fn watched_kinds(node: &str) -> Vec<(ObjectRole, WatchedKind)> {
    let mut kinds = KINDS.to_vec();
    for (role, kind) in &mut kinds {
        if *role == ObjectRole::NodePod {
            kind.field_selector = Some(format!("spec.nodeName={node}"));
        }
    }
    kinds
}

/// The kinds that policies depend on, with the pods of all nodes, for a command that evaluates the policies of a cluster.
pub fn cluster_kinds() -> Vec<WatchedKind> {
    const POD: KeptFields =
        KeptFields { metadata: &["annotations", "ownerReferences"], whole: &["spec", "status"], ..NONE };
    let kinds = KINDS.into_iter().filter_map(|(role, kind)| match role {
        ObjectRole::Manifest => Some(kind),
        ObjectRole::NodePod => Some(WatchedKind { fields: POD, ..kind }),
        ObjectRole::NodeBlocks | ObjectRole::Identity | ObjectRole::Peer | ObjectRole::PeerSlice => None,
    });
    kinds.collect()
}

const fn manifest(
    group: &'static str,
    versions: &'static [&'static str],
    names: (&'static str, &'static str),
    fields: KeptFields,
) -> (ObjectRole, WatchedKind) {
    watched(ObjectRole::Manifest, group, versions, names, fields)
}

const fn watched(
    role: ObjectRole,
    group: &'static str,
    versions: &'static [&'static str],
    (kind, plural): (&'static str, &'static str),
    fields: KeptFields,
) -> (ObjectRole, WatchedKind) {
    (role, WatchedKind { group, versions, kind, plural, field_selector: None, fields })
}

#[cfg(test)]
mod tests {
    use super::*;
    use delivery::access;

    #[test]
    fn the_role_lets_an_agent_watch_its_kinds_and_no_others() {
        let mut kinds: Vec<_> = KINDS.iter().map(|(_, kind)| (kind.group, kind.plural)).collect();
        kinds.push(kubernetes::DEFINITIONS);
        kinds.sort_unstable();
        assert_eq!(access::watched(access::AGENT), kinds);
    }
}
