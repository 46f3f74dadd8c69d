//! Egress of an interface that leads out of the node.

use crate::maps::{self, KernelMaps};
use crate::packet::Skb;
use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// Runs `datapath::to_outside`.
#[classifier]
pub fn to_outside(context: TcContext) -> i32 {
    let mut packet = Skb::new(&context);
    let Some(trace) = maps::scratch() else { return TC_ACT_SHOT };
    let verdict = datapath::to_outside(&mut packet, &KernelMaps, trace);
    packet.send(verdict)
}
