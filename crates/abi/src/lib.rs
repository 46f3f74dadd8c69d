//! The bytes that kernel and user space agree on.
//!
//! Every map key, map value and event of the packet path is defined here, once, with its size asserted. The same
//! types are compiled into the kernel programs and into the agent, so a change of layout is a change of this crate
//! and of [`LAYOUT`].
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;

pub mod address;
#[cfg(any(feature = "alloc", test))]
pub mod batch;
pub mod capacity;
pub mod config;
pub mod conntrack;
pub mod endpoint;
pub mod event;
#[cfg(any(feature = "fixtures", test))]
pub mod fixtures;
pub mod hook;
pub mod identity;
pub mod map;
pub mod mark;
pub mod masquerade;
pub mod netfilter;
pub mod policy;
pub mod protocol;
pub mod row;
pub mod service;

pub use address::Address;
pub use event::DropReason;
pub use hook::Hook;

/// Version of the layout of all maps. It is part of the directory that maps are pinned under, so that an agent never adopts maps
/// of another layout. `tests/layout.rs` compares the layout with the one that is written down in `layout.txt`.
pub const LAYOUT: u32 = 7;
