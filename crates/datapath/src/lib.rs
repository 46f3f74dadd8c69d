//! The packet path: what is decided about a packet, written once for the kernel and for user space.
//!
//! Each hook is a story of a few calls ([`from_workload`], [`to_workload`], [`from_outside`], [`to_outside`],
//! [`to_proxy`]) over two small traits:
//! [`Packet`], the bytes and marks of one packet, and [`Maps`], the rows. `programs` compiles the stories for the
//! kernel; [`native`] runs them over maps in memory, for tests and for `nexin test`.
//!
//! A story returns where the packet goes or why it is dropped; whatever is missing or cannot be understood is a drop.
#![cfg_attr(target_arch = "bpf", no_std)]
#![forbid(unsafe_code)]

mod check;
mod checksum;
mod conntrack;
mod decision;
mod deliver;
mod delivery;
mod found;
mod fragment;
mod from_workload;
mod host;
mod maps;
mod neighbour;
mod outside;
mod packet;
mod parse;
mod pipeline;
pub mod policy;
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
pub use maps::{Find, Keep, Maps};
pub use outside::{from_outside, to_outside};
pub use packet::{Bytes, Checksums, Covers, MAX_OFFSET, Mark, Route};
pub use scratch::Scratch;
pub use service::slot;
pub use to_proxy::{SocketState, SocketTuple, Sockets, is_for_proxy, to_proxy};
pub use to_workload::to_workload;
