//! Packet marks (`SO_MARK`, `skb->mark`) by which the node's own sockets are told from everything else.
//!
//! Marks of packets that leave a workload's namespace are cleared by the kernel, so no workload can set one.

/// Bits that are ours; the rest belong to others.
pub const MASK: u32 = 0xffff_0000;
/// On its way to the node proxy; routed to the local stack by a rule on this mark.
pub const TO_PROXY: u32 = 0x4e58_0000;
/// Sent by the node proxy; every layer-7 verdict on it has been given.
pub const FROM_PROXY: u32 = 0x4e59_0000;
