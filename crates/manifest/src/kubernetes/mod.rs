//! The built-in kinds of Kubernetes.

pub(crate) mod endpoints;
pub(crate) mod network_policy;
pub(crate) mod node;
pub(crate) mod service;
pub(crate) mod workload;
