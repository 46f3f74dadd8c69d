//! Where a packet goes that is not dropped.

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// On, the way it was going.
    Pass,
    /// Out of the interface with this index.
    Egress(u32),
    /// Into the stack, as if it had come in by the interface with this index.
    Ingress(u32),
    /// To the workload behind the interface with this index, past the hook of packets to the workload.
    Workload(u32),
}
