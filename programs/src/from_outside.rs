//! Ingress of an interface that leads out of the node.

use crate::maps::{self, KernelMaps};
use crate::packet::Skb;
use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// Runs `datapath::from_outside`.
#[classifier]
pub fn from_outside(context: TcContext) -> i32 {
    let mut packet = Skb::new(&context);
    let Some(trace) = maps::scratch() else { return TC_ACT_SHOT };
    let verdict = datapath::from_outside(&mut packet, &KernelMaps, trace);
    packet.send(verdict)
}
