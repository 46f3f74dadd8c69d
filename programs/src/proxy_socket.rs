//! Socket lookup: for packets of the node proxy's interface the kernel finds the proxy's listener and no other.

use crate::maps::{KernelMaps, NX_PROXY_SOCKETS};
use abi::map::proxy_socket;
use aya_ebpf::macros::sk_lookup;
use aya_ebpf::programs::SkLookupContext;

/// The lookup ends with the assigned socket; without one it continues as if there were no program.
const PASS: u32 = 1;
/// The lookup ends without a socket.
const DROP: u32 = 0;
/// `AF_INET`.
const V4: u32 = 2;

/// Assigns the proxy's listener to what `datapath::is_for_proxy`.
#[sk_lookup]
pub fn proxy_socket(context: SkLookupContext) -> u32 {
    // SAFETY: the kernel passes its context, and these fields are there to be read (Linux 5.17).
    let (interface, family) = unsafe { ((*context.lookup).ingress_ifindex, (*context.lookup).family) };
    if !datapath::is_for_proxy(&KernelMaps, interface) {
        return PASS;
    }
    let key = if family == V4 { proxy_socket::V4 } else { proxy_socket::V6 };
    if NX_PROXY_SOCKETS.redirect_sk_lookup(&context, key, 0).is_ok() { PASS } else { DROP }
}
