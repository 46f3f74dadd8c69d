//! The kinds of documents that are read, and who reads each.

use crate::cilium::{self, cidr_group};
use crate::document::Header;
use crate::item::Fields;
use crate::kubernetes::{endpoints, network_policy, node, service, workload};
use crate::nearest::nearest;
use crate::object::{Namespace, Object};
use crate::tiered;
use policy::rule::Kind;

/// A kind.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    /// Whether its objects are in no namespace.
    pub(crate) is_clusterwide: bool,
    /// Reads what stands beside the header.
    pub(crate) read: Read,
}

type Read = for<'a> fn(Fields<'a>, Header<'a>) -> Option<Object>;

const CLUSTER_POLICY: &str = "policy.networking.k8s.io/v1alpha2";
const ADMIN_POLICY: &str = "policy.networking.k8s.io/v1alpha1";

/// Kinds that are read.
pub(crate) const KINDS: &[Known] = &[
    namespaced("cilium.io/v2", "CiliumNetworkPolicy", |fields, header| {
        cilium::policy(fields, Kind::CiliumNetworkPolicy, header).map(Object::Policy)
    }),
    clusterwide("cilium.io/v2", "CiliumClusterwideNetworkPolicy", |fields, header| {
        cilium::policy(fields, Kind::CiliumClusterwideNetworkPolicy, header).map(Object::Policy)
    }),
    clusterwide("cilium.io/v2", "CiliumCIDRGroup", cidr_group_object),
    clusterwide("cilium.io/v2alpha1", "CiliumCIDRGroup", cidr_group_object),
    namespaced("networking.k8s.io/v1", "NetworkPolicy", |fields, header| {
        network_policy::policy(fields, header).map(Object::Policy)
    }),
    clusterwide(CLUSTER_POLICY, "ClusterNetworkPolicy", |fields, header| {
        tiered::cluster(fields, header).map(Object::Policy)
    }),
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
];

/// Kinds that bear on policy and are not read yet.
pub(crate) const LATER: &[&str] = &[
    "CiliumEgressGatewayPolicy",
    "CiliumEnvoyConfig",
    "CiliumClusterwideEnvoyConfig",
    "CiliumLocalRedirectPolicy",
];

impl Known {
    /// Whether it is read in this version; policies of 2017 are.
    pub(crate) fn is_of(&self, api_version: &str) -> bool {
        let is_old_form = (api_version, self.kind) == ("cilium.io/v1", "CiliumNetworkPolicy");
        self.api_version == api_version || is_old_form
    }
}

/// The group of an `apiVersion`; nothing for the core of Kubernetes.
pub(crate) fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether a version is of the group of one of ours, or nearly; or of the group that some of our kinds came from.
pub(crate) fn is_near_group(api_version: &str, known: &str) -> bool {
    let (given, ours) = (group(api_version), group(known));
    given == ours
        || given == "extensions"
        || [(api_version, known), (given, ours)].iter().any(|(one, other)| nearest(one, [*other]).is_some())
}

/// The kind of the same group that a kind is nearly called.
pub(crate) fn nearest_in(api_version: &str, kind: &str) -> Option<&'static str> {
    let same_group = KINDS.iter().filter(|known| group(known.api_version) == group(api_version));
    nearest(kind, same_group.map(|known| known.kind))
}

const fn namespaced(api_version: &'static str, kind: &'static str, read: Read) -> Known {
    Known { api_version, kind, is_clusterwide: false, read }
}

const fn clusterwide(api_version: &'static str, kind: &'static str, read: Read) -> Known {
    Known { api_version, kind, is_clusterwide: true, read }
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
