//! The known kinds of documents, with the reader of each.

use crate::cilium::{self, cidr_group};
use crate::header::{Header, group};
use crate::item::Fields;
use crate::kubernetes::{endpoints, network_policy, node, service, workload};
use crate::nearest::nearest;
use crate::object::{Namespace, Object};
use crate::tiered;
use policy::rule::PolicyKind;

/// A kind and its reader.
#[derive(Debug)]
pub(crate) struct KindReader {
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    /// Whether the kind is cluster-scoped.
    pub(crate) is_clusterwide: bool,
    /// Reads the fields beside the header.
    pub(crate) read: Read,
}

type Read = for<'a> fn(Fields<'a>, Header<'a>) -> Option<Object>;

const CLUSTER_POLICY: &str = "policy.networking.k8s.io/v1alpha2";
/// The same API in its beta version.
const CLUSTER_POLICY_OF_BETA: &str = "policy.networking.k8s.io/v1beta1";
const ADMIN_POLICY: &str = "policy.networking.k8s.io/v1alpha1";

/// The known kinds.
pub(crate) const KINDS: &[KindReader] = &[
    namespaced("cilium.io/v2", "CiliumNetworkPolicy", |fields, header| {
        cilium::policy(fields, PolicyKind::CiliumNetworkPolicy, header).map(Object::Policy)
    }),
    clusterwide("cilium.io/v2", "CiliumClusterwideNetworkPolicy", |fields, header| {
        cilium::policy(fields, PolicyKind::CiliumClusterwideNetworkPolicy, header).map(Object::Policy)
    }),
    clusterwide("cilium.io/v2", "CiliumCIDRGroup", cidr_group_object),
    clusterwide("cilium.io/v2alpha1", "CiliumCIDRGroup", cidr_group_object),
    namespaced("networking.k8s.io/v1", "NetworkPolicy", |fields, header| {
        network_policy::policy(fields, header).map(Object::Policy)
    }),
    clusterwide(CLUSTER_POLICY, "ClusterNetworkPolicy", cluster_policy),
    clusterwide(CLUSTER_POLICY_OF_BETA, "ClusterNetworkPolicy", cluster_policy),
    clusterwide(ADMIN_POLICY, "AdminNetworkPolicy", |fields, header| {
        tiered::admin(fields, header).map(Object::Policy)
    }),
    clusterwide(ADMIN_POLICY, "BaselineAdminNetworkPolicy", |fields, header| {
        tiered::baseline(fields, header).map(Object::Policy)
    }),
    clusterwide("v1", "Namespace", |fields, header| namespace(fields, header).map(Object::Namespace)),
    clusterwide("v1", "Node", |fields, header| node::node(fields, header).map(Object::Node)),
    namespaced("v1", "Service", |fields, header| service::service(fields, header).map(Object::Service)),
    namespaced("v1", "Endpoints", |fields, header| {
        endpoints::endpoints(fields, header).map(Object::Endpoints)
    }),
    namespaced("discovery.k8s.io/v1", "EndpointSlice", |fields, header| {
        endpoints::slice(fields, header).map(Object::Endpoints)
    }),
    namespaced("v1", "Pod", workload_object),
    namespaced("apps/v1", "Deployment", workload_object),
    namespaced("apps/v1", "ReplicaSet", workload_object),
    namespaced("apps/v1", "StatefulSet", workload_object),
    namespaced("apps/v1", "DaemonSet", workload_object),
    namespaced("v1", "ReplicationController", workload_object),
    namespaced("batch/v1", "Job", workload_object),
    namespaced("batch/v1", "CronJob", workload_object),
    namespaced("batch/v1beta1", "CronJob", workload_object),
];

/// Kinds that affect policy and are not supported yet.
pub(crate) const LATER: &[&str] = &[
    "CiliumEgressGatewayPolicy",
    "CiliumEnvoyConfig",
    "CiliumClusterwideEnvoyConfig",
    "CiliumLocalRedirectPolicy",
];

impl KindReader {
    /// Whether this reader reads the version; the form of 2017 has a version of its own.
    pub(crate) fn is_of(&self, api_version: &str) -> bool {
        let is_old_form = (api_version, self.kind) == ("cilium.io/v1", "CiliumNetworkPolicy");
        self.api_version == api_version || is_old_form
    }
}

/// Short names of kinds. A short name of two kinds stands for the first of them in [`KINDS`].
const SHORT: &[(&str, &str)] = &[
    ("cnp", "CiliumNetworkPolicy"),
    ("ciliumnp", "CiliumNetworkPolicy"),
    ("ccnp", "CiliumClusterwideNetworkPolicy"),
    ("ccg", "CiliumCIDRGroup"),
    ("netpol", "NetworkPolicy"),
    ("cnp", "ClusterNetworkPolicy"),
    ("anp", "AdminNetworkPolicy"),
    ("banp", "BaselineAdminNetworkPolicy"),
    ("ns", "Namespace"),
    ("no", "Node"),
    ("svc", "Service"),
    ("ep", "Endpoints"),
];

/// The kind of this name, plural or short name, in any case, with or without its group (`NetworkPolicy`, `netpol`,
/// `cnp.cilium.io`).
pub fn kind_named(text: &str) -> Option<&'static str> {
    let (name, given) = text.split_once('.').map_or((text, None), |(name, group)| (name, Some(group)));
    let name = name.to_ascii_lowercase();
    let is_called = |known: &&KindReader| {
        let kind = known.kind.to_ascii_lowercase();
        let plural = kind.strip_suffix('y').map_or(format!("{kind}s"), |stem| format!("{stem}ies"));
        kind == name || plural == name || SHORT.contains(&(name.as_str(), known.kind))
    };
    let found = KINDS.iter().filter(|known| given.is_none_or(|given| given == group(known.api_version)));
    found.into_iter().find(is_called).map(|known| known.kind)
}

/// Whether a version has the group of a known kind or nearly, or the group `extensions` that some kinds came from.
pub(crate) fn is_near_group(api_version: &str, known: &str) -> bool {
    let (given, ours) = (group(api_version), group(known));
    given == ours
        || given == "extensions"
        || [(api_version, known), (given, ours)].iter().any(|(one, other)| nearest(one, [*other]).is_some())
}

/// The kind of the same group with the most similar name.
pub(crate) fn nearest_in(api_version: &str, kind: &str) -> Option<&'static str> {
    let same_group = KINDS.iter().filter(|known| group(known.api_version) == group(api_version));
    nearest(kind, same_group.map(|known| known.kind))
}

const fn namespaced(api_version: &'static str, kind: &'static str, read: Read) -> KindReader {
    KindReader { api_version, kind, is_clusterwide: false, read }
}

const fn clusterwide(api_version: &'static str, kind: &'static str, read: Read) -> KindReader {
    KindReader { api_version, kind, is_clusterwide: true, read }
}

fn cluster_policy(fields: Fields<'_>, header: Header<'_>) -> Option<Object> {
    tiered::cluster(fields, header).map(Object::Policy)
}

fn cidr_group_object(fields: Fields<'_>, header: Header<'_>) -> Option<Object> {
    cidr_group::cidr_group(fields, header).map(Object::CidrGroup)
}

fn workload_object(fields: Fields<'_>, header: Header<'_>) -> Option<Object> {
    workload::workload(fields, header).map(Object::Workload)
}

fn namespace(mut fields: Fields<'_>, header: Header<'_>) -> Option<Namespace> {
    fields.ignore(&["spec", "status"]);
    fields.finish();
    Some(Namespace { name: header.name?, labels: header.labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_all_their_names() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(kind_named(text), expected, "{text}");
        check("NetworkPolicy", Some("NetworkPolicy"));
        check("networkpolicies", Some("NetworkPolicy"));
        check("netpol", Some("NetworkPolicy"));
        check("CNP", Some("CiliumNetworkPolicy"));
        check("cnp.cilium.io", Some("CiliumNetworkPolicy"));
        check("cnp.policy.networking.k8s.io", Some("ClusterNetworkPolicy"));
        check("ccnp", Some("CiliumClusterwideNetworkPolicy"));
        check("netpol.cilium.io", None);
        check("svc", Some("Service"));
        check("endpoints", Some("Endpoints"));
        check("policy", None);
    }
}
