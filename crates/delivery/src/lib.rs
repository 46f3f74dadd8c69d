//! The objects that install Nexin in a cluster: definitions of its resources, roles, workloads.
//!
//! Each object is data of one description. The operator installs it, `nexin install` prints or applies it, and the files
//! under `deploy/` are its text; a test keeps them fresh.
#![forbid(unsafe_code)]

mod custom_resource;
mod resource;
mod schema;
pub mod yaml;

pub use custom_resource::{CustomResource, GROUP, REVISION, SCHEMA_REVISION};
pub use resource::RESOURCES;
