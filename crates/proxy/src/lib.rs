//! The transparent node proxy: connections between workloads come through it, and each HTTP request is decided on.
//!
//! [`session`] is one connection without sockets or clock: bytes in, bytes out. [`connection`] moves those bytes,
//! [`server`] accepts, [`slots`] says who gets a place when they run out, [`network`] keeps the addresses that client
//! and server see. The proxy knows no policy of its own: the root implements [`Policy`] and [`Events`].
//!
//! Invariants: nothing is forwarded that no rule set allowed; what is forwarded is what was decided on; where policy
//! cannot be asked, the answer is no.
#![forbid(unsafe_code)]

mod answer;
pub mod config;
mod connection;
pub mod event;
mod handle;
mod judge;
pub mod network;
mod pipe;
pub mod policy;
mod resources;
pub mod server;
mod session;
pub mod slots;

pub use config::Config;
pub use event::{Decision, Events, RequestEvent, Verdict};
pub use network::{Network, Transparent};
pub use policy::{AppliedRuleSet, Flow, Policy, Rules};
pub use server::Proxy;
pub use slots::Occupancy;
