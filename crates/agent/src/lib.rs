//! The node agent: pumps changes through the world into the kernel, and answers for it.
//!
//! [`run`] is the agent; [`run_proxy`] is the node proxy, a process of its own that the agent starts and looks after.
//! Either may end and start again while the other, the workloads and the packet path go on.
#![forbid(unsafe_code)]

mod addresses;
mod agent;
mod config;
mod confinement;
mod events;
pub mod explain;
mod feed;
mod files;
mod identities;
mod kernel;
mod library;
mod limits;
mod names;
mod objects;
mod occupancy;
mod outside;
mod parties;
mod paths;
mod proxy_process;
mod removal;
mod request_events;
mod requests;
mod rule_sets;
mod server;
mod signals;
mod state;
mod supervisor;
mod views;
mod wiring;

pub use agent::run;
pub use config::Config;
pub use limits::ProxyLimits;
pub use paths::Paths;
pub use proxy_process::run_proxy;
pub use removal::remove;
