//! The numbers that stand for sets of labels; the space and the reserved numbers are the field's own.

/// No identity is known.
pub const UNKNOWN: u32 = 0;
/// The local node itself.
pub const HOST: u32 = 1;
/// Everything outside the cluster.
pub const WORLD: u32 = 2;
/// A workload that the agent does not manage.
pub const UNMANAGED: u32 = 3;
/// Health endpoints.
pub const HEALTH: u32 = 4;
/// A workload whose labels are not known yet.
pub const INIT: u32 = 5;
/// The other nodes of the cluster.
pub const REMOTE_NODE: u32 = 6;
/// An API server of Kubernetes outside the cluster; where a node has its address, the node's number stands for it.
pub const KUBE_APISERVER: u32 = 7;
/// Ingress proxies.
pub const INGRESS: u32 = 8;
/// Everything outside the cluster that is reached by IPv4, where the two families are told apart.
pub const WORLD_IPV4: u32 = 9;
/// Everything outside the cluster that is reached by IPv6, where the two families are told apart.
pub const WORLD_IPV6: u32 = 10;

/// The first number that is allocated to the labels of workloads.
pub const FIRST_ALLOCATED: u32 = 256;
/// The last number that is allocated to the labels of workloads.
pub const LAST_ALLOCATED: u32 = 65_535;
/// The first number of the node-local scope (top byte 1): meaningful on this node only.
pub const FIRST_LOCAL: u32 = 1 << 24;
/// The first number of the scope of other nodes (top byte 2), which tells nodes apart by their labels.
pub const FIRST_NODE: u32 = 2 << 24;

/// The first number of the scope of namespaces (top byte 3): each stands for the workloads of one that have no number of
/// their own in a grouping.
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
