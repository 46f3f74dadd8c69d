//! Packet marks (`SO_MARK`, `skb->mark`), by which the packet path recognises packets of the node proxy.
//!
//! Marks of packets that leave a workload's namespace are cleared by the kernel, so no workload can set one.

/// The bits that Nexin sets and reads; the others belong to other software.
pub const MASK: u32 = 0xffff_0000;
/// On its way to the node proxy: a routing rule on this mark leads the packet to the local stack.
pub const TO_PROXY: u32 = 0x4e58_0000;
/// Sent by the node proxy, which has applied every layer-7 rule set that policy asks for.
pub const FROM_PROXY: u32 = 0x4e59_0000;

/// The marks of kube-proxy: packets to masquerade, and packets to drop.
const KUBE_PROXY: u32 = 0x4000 | 0x8000;
const _: () = assert!(MASK & KUBE_PROXY == 0, "marks of kube-proxy stay as they are");
