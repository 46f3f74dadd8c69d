//! Ingress of a workload's host-side interface.

use crate::packet::Skb;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// Runs `datapath::from_workload`.
#[classifier]
pub fn from_workload(context: TcContext) -> i32 {
    Skb::run(&context, datapath::from_workload)
}
