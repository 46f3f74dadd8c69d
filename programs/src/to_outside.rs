//! Egress of an interface that leads out of the node.

use crate::packet::Skb;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// Runs `datapath::to_outside`.
#[classifier]
pub fn to_outside(context: TcContext) -> i32 {
    Skb::run(&context, datapath::to_outside)
}
