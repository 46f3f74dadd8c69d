//! The node agent: applies changes from policy files and clients to the kernel, and answers requests.
//!
//! [`run`] is the agent; [`run_proxy`] is the node proxy, a separate process that the agent starts and supervises.
//! Either may stop and start again while the other process, the workloads and the packet path keep running.
#![forbid(unsafe_code)]

mod addresses;
mod agent;
mod answer;
mod cluster_objects;
mod command;
mod config;
mod confinement;
mod deferred;
mod descriptors;
mod directories;
mod disconnects;
mod entry_log;
mod events;
pub mod explain;
mod families;
mod feed;
mod files;
mod grace;
mod heartbeats;
mod host_devices;
mod identities;
mod inventory;
mod journal;
mod kernel;
mod limits;
mod locks;
mod map_usage;
mod names;
mod node_network;
#[allow(dead_code, reason = "the source of the API server's pods calls it")]
mod node_pods;
mod node_routes;
mod notifier;
mod objects;
mod occupancy;
mod paths;
mod policy_files;
mod pool;
mod problems;
mod proxy_group;
mod proxy_handover;
mod proxy_keeper;
mod proxy_process;
mod proxy_record;
mod proxy_search;
mod published;
mod queue;
mod reader;
mod recall;
mod reconciler;
mod record;
mod removal;
mod request_batch;
mod request_events;
mod request_record;
mod requests;
mod rule_set_cache;
mod rule_set_loader;
mod rule_sets;
mod runtime_settings;
mod server;
mod signals;
mod source;
mod state;
mod state_log;
mod status;
mod storage;
mod subscription;
mod supervisor;
mod threads;
mod upkeep;
mod views;
mod wiring;
mod workloads;

pub use agent::run;
pub use config::{AgentConfig, KubernetesConfig};
pub use limits::ProxyLimits;
pub use paths::Paths;
pub use pool::{Pool, PoolError};
pub use proxy_process::run_proxy;
pub use removal::remove;
