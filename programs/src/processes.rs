//! Sockets of the node's processes, at the control group of all processes: connections, and datagrams to and from an address.

use crate::maps::KernelMaps;
use abi::Address;
use aya_ebpf::Global;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use datapath::PeerAddress;

/// The number of the node's network namespace, written by the loader; 0 if it is not known, and then the programs do nothing.
#[unsafe(no_mangle)]
static NX_NAMESPACE: Global<u64> = Global::new(0);

/// The system call continues.
const CONTINUE: i32 = 1;

/// The address that the system call has, of an IPv6 socket or of an IPv4 socket.
struct Peer<const V6: bool>(*mut bpf_sock_addr);

/// Runs `change` for a process of the node; others, as those of its workloads, are in another network namespace.
#[inline(always)]
fn run<const V6: bool>(context: &SockAddrContext, change: impl FnOnce(&mut Peer<V6>, &KernelMaps)) -> i32 {
    let node = NX_NAMESPACE.load();
    // SAFETY: the context is the one that the kernel called the program with.
    if node != 0 && unsafe { bpf_get_netns_cookie(context.sock_addr.cast()) } == node {
        change(&mut Peer(context.sock_addr), &KernelMaps);
    }
    CONTINUE
}

/// Runs `datapath::to_workload_of_port`.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    run::<false>(&context, datapath::to_workload_of_port)
}

/// The same over IPv6.
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    run::<true>(&context, datapath::to_workload_of_port)
}

/// The same for each datagram of a socket without connection.
#[cgroup_sock_addr(sendmsg4)]
pub fn send4(context: SockAddrContext) -> i32 {
    run::<false>(&context, datapath::to_workload_of_port)
}

/// The same over IPv6.
#[cgroup_sock_addr(sendmsg6)]
pub fn send6(context: SockAddrContext) -> i32 {
    run::<true>(&context, datapath::to_workload_of_port)
}

/// Runs `datapath::to_port_of_workload`.
#[cgroup_sock_addr(recvmsg4)]
pub fn receive4(context: SockAddrContext) -> i32 {
    run::<false>(&context, datapath::to_port_of_workload)
}

/// The same over IPv6.
#[cgroup_sock_addr(recvmsg6)]
pub fn receive6(context: SockAddrContext) -> i32 {
    run::<true>(&context, datapath::to_port_of_workload)
}

// Accesses are volatile: the kernel takes whole fields, and the compiler would merge or split them.
impl<const V6: bool> PeerAddress for Peer<V6> {
    #[inline(always)]
    fn protocol(&self) -> u8 {
        // SAFETY: the context is the one that the kernel called the program with; so below.
        unsafe { core::ptr::addr_of!((*self.0).protocol).read_volatile() as u8 }
    }

    #[inline(always)]
    fn address(&self) -> Address {
        if V6 {
            let mut words = [0; 4];
            let mut at = 0;
            while at < 4 {
                // SAFETY: see `protocol`; so below.
                words[at] = unsafe { core::ptr::addr_of!((*self.0).user_ip6[at]).read_volatile() };
                at += 1;
            }
            return Address::from_words(words);
        }
        // SAFETY: as above.
        let word = unsafe { core::ptr::addr_of!((*self.0).user_ip4).read_volatile() };
        Address::from_v4(word.to_ne_bytes())
    }

    #[inline(always)]
    fn port(&self) -> [u8; 2] {
        // SAFETY: as above.
        let port = unsafe { core::ptr::addr_of!((*self.0).user_port).read_volatile() };
        (port as u16).to_ne_bytes()
    }

    #[inline(always)]
    fn replace(&mut self, address: &Address, port: [u8; 2]) {
        let mut at = if V6 { 0 } else { 12 };
        while at < 16 {
            let [a, b, c, d] = [address.0[at], address.0[at + 1], address.0[at + 2], address.0[at + 3]];
            let word = u32::from_ne_bytes([a, b, c, d]);
            // SAFETY: as above; the kernel lets programs write these fields at these hooks.
            unsafe {
                if V6 {
                    core::ptr::addr_of_mut!((*self.0).user_ip6[at / 4]).write_volatile(word);
                } else {
                    core::ptr::addr_of_mut!((*self.0).user_ip4).write_volatile(word);
                }
            }
            at += 4;
        }
        // SAFETY: as above.
        unsafe {
            core::ptr::addr_of_mut!((*self.0).user_port).write_volatile(u32::from(u16::from_ne_bytes(port)));
        }
    }

    #[inline(always)]
    fn socket(&self) -> u64 {
        // SAFETY: as above.
        unsafe { bpf_get_socket_cookie(self.0.cast()) }
    }
}
