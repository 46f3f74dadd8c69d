//! Ingress of the node proxy's interface.

use crate::maps::{self, KernelMaps};
use crate::packet::Skb;
use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// Runs `datapath::to_proxy`.
#[classifier]
pub fn to_proxy(context: TcContext) -> i32 {
    let mut packet = Skb::new(&context);
    let Some(trace) = maps::scratch() else { return TC_ACT_SHOT };
    let verdict = datapath::to_proxy(&mut packet, &KernelMaps, trace);
    packet.send(verdict)
}
