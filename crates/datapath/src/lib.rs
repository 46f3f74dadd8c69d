//! The packet path: every decision on a packet, written once for the kernel and for user space.
//!
//! Each hook is a few calls, one a stage ([`from_workload`], [`to_workload`], [`from_outside`], [`to_outside`],
//! [`to_proxy`]): parse, identify, track, permit, translate, deliver. A stage asks for the capabilities of a packet that it
//! uses ([`Bytes`], [`Checksums`], [`Mark`], [`PacketRoute`]) and for [`Maps`], writes what it finds into [`Scratch`], and reads
//! what the stages before it wrote. `programs` compiles the hooks for the kernel; [`native`] runs them over maps in memory,
//! for tests and for `nexin test`.
//!
//! A hook returns where the packet goes or why it is dropped. A missing map entry and a packet that cannot be parsed are
//! drops.
//!
//! Functions are inlined. The kernel's programs have a function of its own (`#[inline(never)]`) for what most packets do
//! not need; decision 012 tells why.
#![cfg_attr(target_arch = "bpf", no_std)]
#![forbid(unsafe_code)]

mod check;
mod checksum;
mod conntrack;
mod decision;
mod deliver;
mod delivery;
mod established;
mod found;
mod fragment;
mod from_workload;
mod hairpin;
mod host;
mod host_port;
mod maps;
mod masquerade;
mod masquerade_flow;
mod neighbour;
mod openings;
mod origin;
mod outside;
mod packet;
mod parse;
mod pipeline;
pub mod policy;
mod process;
mod related;
mod report;
mod scratch;
mod service;
mod to_proxy;
mod to_workload;
mod translate;
mod verifier;
mod workload;

#[cfg(not(target_arch = "bpf"))]
pub mod craft;
#[cfg(not(target_arch = "bpf"))]
pub mod native;

pub use delivery::Delivery;
pub use from_workload::from_workload;
pub use maps::{AddressFact, Find, Keep, Maps};
pub use outside::{from_outside, to_outside};
pub use packet::{Bytes, Checksums, Covers, MAX_OFFSET, Mark, PacketRoute};
pub use process::{PeerAddress, to_port_of_workload, to_workload_of_port};
pub use scratch::Scratch;
pub use service::{backend_index, backend_of_client};
pub use to_proxy::{SocketState, SocketTuple, Sockets, is_for_proxy, to_proxy};
pub use to_workload::to_workload;
