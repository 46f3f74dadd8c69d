//! The kinds of objects that show the state of an installation.

use kubernetes::{KeptFields, WatchedKind};

/// The kinds.
pub(super) fn kinds() -> Vec<WatchedKind> {
    const CONDITIONS: KeptFields = fields(&[], &[], &["conditions"]);
    const NAME: KeptFields = fields(&[], &[], &[]);
    const CILIUM: &str = "cilium.io";
    const POLICY: &str = "policy.networking.k8s.io";
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
        kind(CILIUM, &["v2"], ("CiliumEndpoint", "ciliumendpoints"), NAME),
        kind(CILIUM, &["v2"], ("CiliumIdentity", "ciliumidentities"), NAME),
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
