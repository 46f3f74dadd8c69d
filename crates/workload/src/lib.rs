//! Workloads as network namespaces: their interfaces, addresses, routes and processes.
//!
//! A [`Namespace`] is the network of a workload, a [`Node`] connects it to its own namespace, and [`spawn`] starts commands
//! inside. All functions are synchronous, because they are called rarely and in order. Namespaces and interfaces have names
//! that the caller chooses, so that [`sweep`] finds the leftovers of a crash by prefix.

mod expedite;
mod families;
mod group;
mod links;
mod namespace;
mod network;
mod node;
mod privileges;
mod process;
mod proxy;
mod sweep;
mod sysctl;

pub use expedite::ExpeditedRcu;
pub use families::{Family, Ipv6};
pub use group::{Group, GroupEntry};
pub use namespace::{Namespace, NamespaceError, kill_all};
pub use network::{Link, Network, NetworkError, Route, RouteKind, Rule, Veth};
pub use node::{GATEWAY_V4, GATEWAY_V6, Node, Plan, WORKLOAD_INTERFACE, WireError, Wired};
pub use privileges::{Capabilities, Privileges, User};
pub use process::{ProcessError, ProcessSettings, enter, spawn, stop};
pub use proxy::{PROXY_INTERFACE, PROXY_PEER, Proxy, ProxyRouting};
pub use sweep::{Swept, sweep};
pub use sysctl::SysctlError;
