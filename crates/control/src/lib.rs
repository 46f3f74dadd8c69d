//! The world of a node: a change in, map writes out.
//!
//! [`World`] is a plain value. It has no clock, socket, file or thread; the agent feeds it what happens and hands what
//! it returns to the kernel, tests feed it whole worlds and look at the rows.
#![forbid(unsafe_code)]

mod adopt;
mod aggregation;
mod apply;
mod change;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod footprint;
mod host_ports;
mod ledger;
mod peers;
mod planner;
mod pod_blocks;
mod policies;
mod row_names;
mod rows;
mod snapshot;
mod step;
mod surroundings;
mod workloads;
mod world;
mod writes;

pub use aggregation::MonitorAggregation;
pub use change::{
    Change, Endpoint, HostPort, LAST_ENDPOINT, Masquerade, Node, ProxyLocation, RemoteNode, RemoteWorkload,
    Wire, Workload,
};
pub use enforcement::Rows;
pub use footprint::{Footprint, WaitingStep};
pub use service::TransportProtocol;

pub use snapshot::{Snapshot, WorkloadView};
pub use world::World;
pub use writes::{Renamed, Writes};
