//! Security identities: numbers that stand for sets of labels. The ranges and the reserved numbers are Cilium's.

/// No identity is known.
pub const UNKNOWN: u32 = 0;
/// The local node itself.
pub const HOST: u32 = 1;
/// Every address outside the cluster.
pub const WORLD: u32 = 2;
/// A workload that the agent does not manage.
pub const UNMANAGED: u32 = 3;
/// Health endpoints.
pub const HEALTH: u32 = 4;
/// A workload whose labels are not known yet.
pub const INIT: u32 = 5;
/// The other nodes of the cluster.
pub const REMOTE_NODE: u32 = 6;
/// An API server of Kubernetes outside the cluster. An API server at a node's address has the node's identity.
pub const KUBE_APISERVER: u32 = 7;
/// Ingress proxies.
pub const INGRESS: u32 = 8;
/// Every IPv4 address outside the cluster, where the families have identities of their own.
pub const WORLD_IPV4: u32 = 9;
/// Every IPv6 address outside the cluster, where the families have identities of their own.
pub const WORLD_IPV6: u32 = 10;

/// The first number that is allocated to the labels of workloads.
pub const FIRST_ALLOCATED: u32 = 256;
/// The last number that is allocated to the labels of workloads.
pub const LAST_ALLOCATED: u32 = 65_535;
/// The first number of the node-local scope (top byte 1): meaningful on this node only. Its lower half is for peers whose
/// number is not their identity.
pub const FIRST_LOCAL: u32 = 1 << 24;
/// The first number of the upper half of the node-local scope: for labels to which the cluster has not assigned a number.
pub const FIRST_UNASSIGNED: u32 = FIRST_LOCAL + (1 << 23);
/// The first number of the scope of other nodes (top byte 2): each stands for the nodes with a set of labels.
pub const FIRST_NODE: u32 = 2 << 24;

/// The first number of the scope of namespaces (top byte 3): each stands for those workloads of a namespace that have no
/// entry of their own in a grouping.
pub const FIRST_NAMESPACE: u32 = 3 << 24;

/// Whether the number stands for something outside the cluster.
#[inline(always)]
pub const fn is_world(number: u32) -> bool {
    matches!(number, WORLD | KUBE_APISERVER | WORLD_IPV4 | WORLD_IPV6)
}

/// Whether the number stands for workloads (rather than for a reserved kind of peer).
#[inline(always)]
pub const fn is_workload(number: u32) -> bool {
    number >= FIRST_ALLOCATED && number < FIRST_NODE
}

/// Whether the number stands for other nodes of the cluster.
#[inline(always)]
pub const fn is_remote_node(number: u32) -> bool {
    number == REMOTE_NODE || (number >= FIRST_NODE && number < FIRST_NAMESPACE)
}

/// The label of a reserved identity without its `reserved:` prefix, or nothing where the number is not reserved.
pub const fn reserved_name(number: u32) -> Option<&'static str> {
    Some(match number {
        UNKNOWN => "unknown",
        HOST => "host",
        WORLD => "world",
        UNMANAGED => "unmanaged",
        HEALTH => "health",
        INIT => "init",
        REMOTE_NODE => "remote-node",
        KUBE_APISERVER => "kube-apiserver",
        INGRESS => "ingress",
        WORLD_IPV4 => "world-ipv4",
        WORLD_IPV6 => "world-ipv6",
        _ => return None,
    })
}
