//! Ingress of an interface that leads out of the node.

use crate::packet::Skb;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// Runs `datapath::from_outside`.
#[classifier]
pub fn from_outside(context: TcContext) -> i32 {
    Skb::run(&context, datapath::from_outside)
}
