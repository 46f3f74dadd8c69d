//! The node's sockets, as the kernel looks them up.

use crate::packet::Skb;
use abi::protocol::{TCP, UDP};
use aya_ebpf::bindings::{bpf_sock, bpf_sock_tuple};
use aya_ebpf::helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use datapath::{SocketState, SocketTuple, Sockets};

/// States of `enum` in `net/tcp_states.h`.
const TCP_TIME_WAIT: u32 = 6;
const TCP_LISTEN: u32 = 10;

/// `BPF_F_CURRENT_NETNS`: the namespace of the packet's interface.
const THIS_NAMESPACE: u64 = u64::MAX;

/// The kernel's tuple of an IPv4 socket.
#[repr(C)]
struct Tuple4 {
    source: [u8; 4],
    destination: [u8; 4],
    source_port: [u8; 2],
    destination_port: [u8; 2],
}

/// The kernel's tuple of an IPv6 socket.
#[repr(C)]
struct Tuple6 {
    source: [u8; 16],
    destination: [u8; 16],
    source_port: [u8; 2],
    destination_port: [u8; 2],
}

impl Skb {
    /// State (above 16 bits) and port of the socket for a tuple; 0 where there is none. A function of its own, since the
    /// verifier follows each socket from lookup to release.
    #[inline(never)]
    fn look_up(&self, tuple: &SocketTuple) -> u64 {
        let socket = self.socket(tuple);
        if socket.is_null() {
            return 0;
        }
        // SAFETY: the lookup gave a reference, which is given back after the last use.
        unsafe {
            let found = u64::from((*socket).state) << 16 | u64::from((*socket).src_port as u16);
            bpf_sk_release(socket.cast());
            found
        }
    }

    /// The socket for a tuple. One that is not null must be released.
    #[inline(always)]
    fn socket(&self, tuple: &SocketTuple) -> *mut bpf_sock {
        let SocketTuple { source, destination, source_port, destination_port } = *tuple;
        if source.is_v4() {
            let four =
                Tuple4 { source: source.v4(), destination: destination.v4(), source_port, destination_port };
            self.find(&four)
        } else {
            let six = Tuple6 { source: source.0, destination: destination.0, source_port, destination_port };
            self.find(&six)
        }
    }

    /// Whether there is a UDP socket for a tuple.
    #[inline(never)]
    fn has_udp_port(&self, tuple: &SocketTuple) -> bool {
        let SocketTuple { source, destination, source_port, destination_port } = *tuple;
        let socket = if source.is_v4() {
            let four =
                Tuple4 { source: source.v4(), destination: destination.v4(), source_port, destination_port };
            self.find_udp(&four)
        } else {
            let six = Tuple6 { source: source.0, destination: destination.0, source_port, destination_port };
            self.find_udp(&six)
        };
        if socket.is_null() {
            return false;
        }
        // SAFETY: the lookup gave a reference, which is given back.
        unsafe { bpf_sk_release(socket.cast()) };
        true
    }

    #[inline(always)]
    fn find_udp<T>(&self, tuple: &T) -> *mut bpf_sock {
        let start = core::ptr::from_ref(tuple).cast_mut().cast::<bpf_sock_tuple>();
        // SAFETY: see `find`.
        unsafe { bpf_sk_lookup_udp(self.context.cast(), start, size_of::<T>() as u32, THIS_NAMESPACE, 0) }
    }

    #[inline(always)]
    fn find<T>(&self, tuple: &T) -> *mut bpf_sock {
        let start = core::ptr::from_ref(tuple).cast_mut().cast::<bpf_sock_tuple>();
        // SAFETY: the helper knows the tuple's layout by its size, and only reads the tuple.
        unsafe { bpf_skc_lookup_tcp(self.context.cast(), start, size_of::<T>() as u32, THIS_NAMESPACE, 0) }
    }
}

impl Sockets for Skb {
    #[inline(always)]
    fn state_of(&self, tuple: &SocketTuple) -> Option<SocketState> {
        let found = self.look_up(tuple);
        Some(match (found >> 16) as u32 {
            0 => return None,
            TCP_LISTEN => SocketState::Listen((found as u16).to_be_bytes()),
            TCP_TIME_WAIT => SocketState::TimeWait,
            _ => SocketState::Connected,
        })
    }

    #[inline(always)]
    fn has_port(&self, protocol: u8, tuple: &SocketTuple) -> bool {
        match protocol {
            TCP => self.look_up(tuple) != 0,
            UDP => self.has_udp_port(tuple),
            _ => false,
        }
    }
}
