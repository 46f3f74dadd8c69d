//! The kinds that Kubernetes itself brings.

pub(crate) mod endpoints;
pub(crate) mod network_policy;
pub(crate) mod node;
pub(crate) mod service;
pub(crate) mod workload;
