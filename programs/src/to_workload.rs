//! Egress of a workload's host-side interface.

use crate::packet::Skb;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// Runs `datapath::to_workload`.
#[classifier]
pub fn to_workload(context: TcContext) -> i32 {
    Skb::run(&context, datapath::to_workload)
}
