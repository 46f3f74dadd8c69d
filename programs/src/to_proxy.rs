//! Ingress of the node proxy's interface.

use crate::packet::Skb;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// Runs `datapath::to_proxy`.
#[classifier]
pub fn to_proxy(context: TcContext) -> i32 {
    Skb::run(&context, datapath::to_proxy)
}
