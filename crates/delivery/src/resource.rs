//! The custom resources, with schemas in the shape of Cilium's.

mod cidr_group;
mod endpoint;
mod identity;
mod node;
mod policy;
mod ports;
mod rules;
mod selector;

use crate::custom_resource::CustomResource;

/// All resources.
pub const RESOURCES: &[CustomResource] = &[
    policy::NAMESPACED,
    policy::CLUSTERWIDE,
    cidr_group::RESOURCE,
    identity::RESOURCE,
    endpoint::RESOURCE,
    endpoint::SLICE,
    node::RESOURCE,
];
