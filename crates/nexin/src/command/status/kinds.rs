//! The kinds of objects that show the state of an installation.

use kubernetes::{KeptFields, WatchedKind};

const NAME: KeptFields = fields(&[], &[], &[]);
const CILIUM: &str = "cilium.io";

/// The kinds.
pub(super) fn kinds() -> Vec<WatchedKind> {
    let mut kinds = installed();
    kinds.extend(policies());
    kinds
}

/// What an installation consists of, and what its agents and operators write.
fn installed() -> Vec<WatchedKind> {
    let controller = fields(
        &[],
        &["replicas", "selector", "template"],
        &[
            "desiredNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "readyReplicas",
            "updatedReplicas",
        ],
    );
    let pod =
        fields(&[], &["nodeName", "hostNetwork"], &["phase", "podIP", "conditions", "containerStatuses"]);
    let event = fields(&["involvedObject", "reason", "message", "lastTimestamp"], &[], &[]);
    vec![
        kind("", &["v1"], ("Node", "nodes"), NAME),
        kind("", &["v1"], ("Pod", "pods"), pod),
        kind("apps", &["v1"], ("DaemonSet", "daemonsets"), controller),
        kind("apps", &["v1"], ("Deployment", "deployments"), controller),
        kind("coordination.k8s.io", &["v1"], ("Lease", "leases"), fields(&[], &["holderIdentity"], &[])),
        kind(
            "apiextensions.k8s.io",
            &["v1"],
            ("CustomResourceDefinition", "customresourcedefinitions"),
            NAME,
        ),
        WatchedKind {
            // An agent that is not ready has such an event, with the output of its probe.
            field_selector: Some("reason=Unhealthy".to_owned()),
            ..kind("", &["v1"], ("Event", "events"), event)
        },
        kind(CILIUM, &["v2"], ("CiliumEndpoint", "ciliumendpoints"), NAME),
        kind(CILIUM, &["v2"], ("CiliumIdentity", "ciliumidentities"), NAME),
    ]
}

/// Policies, with the conditions that agents write.
fn policies() -> Vec<WatchedKind> {
    const CONDITIONS: KeptFields = fields(&[], &[], &["conditions"]);
    const POLICY: &str = "policy.networking.k8s.io";
    vec![
        kind("networking.k8s.io", &["v1"], ("NetworkPolicy", "networkpolicies"), NAME),
        kind(CILIUM, &["v2"], ("CiliumNetworkPolicy", "ciliumnetworkpolicies"), CONDITIONS),
        kind(
            CILIUM,
            &["v2"],
            ("CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies"),
            CONDITIONS,
        ),
        kind(
            POLICY,
            &["v1beta1", "v1alpha2"],
            ("ClusterNetworkPolicy", "clusternetworkpolicies"),
            CONDITIONS,
        ),
        kind(POLICY, &["v1alpha1"], ("AdminNetworkPolicy", "adminnetworkpolicies"), CONDITIONS),
        kind(
            POLICY,
            &["v1alpha1"],
            ("BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies"),
            CONDITIONS,
        ),
    ]
}

const fn fields(
    whole: &'static [&'static str],
    spec: &'static [&'static str],
    status: &'static [&'static str],
) -> KeptFields {
    KeptFields { metadata: &[], whole, spec, status, containers: false }
}

fn kind(
    group: &'static str,
    versions: &'static [&'static str],
    (kind, plural): (&'static str, &'static str),
    fields: KeptFields,
) -> WatchedKind {
    WatchedKind { group, versions, kind, plural, field_selector: None, fields }
}
