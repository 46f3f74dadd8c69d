//! The transparent node proxy: it terminates connections between workloads and judges each HTTP request.
//!
//! [`session`] is one connection without sockets or clock: bytes in, bytes out. [`connection`] does its I/O, [`server`]
//! accepts connections, [`slots`] limits their number, and [`network`] keeps the addresses that client and server see. The
//! proxy has no policy of its own: the composition root implements [`RequestPolicy`] and [`Events`].
//!
//! Invariants: a request is forwarded only if every rule set allows it; the forwarded request is the one that was judged;
//! a request is refused where policy is not available.
#![forbid(unsafe_code)]

mod answer;
mod buffers;
pub mod config;
mod connection;
pub mod event;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod handle;
mod judge;
pub mod network;
mod pipe;
pub mod policy;
mod resources;
pub mod server;
mod session;
pub mod slots;

pub use config::ProxyConfig;
pub use event::{Events, RequestEvent, RequestVerdict, RuleSetDecision};
pub use network::{ProxyNetwork, Transparent};
pub use policy::{AppliedRuleSet, ProxiedFlow, RequestPolicy, Rules};
pub use server::Proxy;
pub use slots::Occupancy;
