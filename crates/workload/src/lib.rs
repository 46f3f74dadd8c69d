//! Workloads as network namespaces: their interfaces, addresses, routes and processes.
//!
//! A [`NetworkNamespace`] is the network of a workload, a [`NodeNamespace`] connects it to its own namespace, and [`spawn`]
//! starts commands inside. All functions are synchronous, because they are called rarely and in order. Namespaces and
//! interfaces have names that the caller chooses, so that [`sweep`] finds the leftovers of a crash by prefix.

mod expedite;
mod families;
mod group;
mod inspection;
mod links;
mod namespace;
mod network;
mod node;
mod node_group;
mod node_routes;
mod privileges;
mod process;
mod proxy;
mod sweep;
mod sysctl;
mod watch;

pub use expedite::{ExpeditedRcu, RcuExpediter};
pub use families::{IpFamily, Ipv6};
pub use group::{Group, GroupEntry};
pub use inspection::{ExpectedInterface, differences, find_pair, set_up_loopback};
pub use namespace::{NamespaceError, NetworkNamespace, kill_all};
pub use network::{Link, Network, NetworkError, Route, RouteKind, RoutingRule, Veth};
pub use node::{GATEWAY_V4, GATEWAY_V6, NodeNamespace, Plan, WORKLOAD_INTERFACE, WireError, Wired};
pub use node_group::{NodeGroup, NodeGroupError};
pub use node_routes::NodeRoute;
pub use privileges::{Capabilities, Privileges, User};
pub use process::{ProcessError, ProcessSettings, enter, spawn, stop};
pub use proxy::{PROXY_INTERFACE, PROXY_PEER, ProxyInterface, ProxyRouting};
pub use sweep::{Swept, sweep};
pub use sysctl::SysctlError;
pub use watch::{NetworkChanges, NetworkWatch};
