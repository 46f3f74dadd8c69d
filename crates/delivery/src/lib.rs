//! The objects that install Nexin in a cluster: definitions of its resources, roles, workloads.
//!
//! Each object is data of one description. The operator installs it, `nexin install` prints or applies it, and the files
//! under `deploy/` are its text; a test keeps them fresh.
#![forbid(unsafe_code)]

pub mod access;
mod custom_resource;
mod install;
mod place;
mod resource;
mod schema;
pub mod yaml;

pub use custom_resource::{CustomResource, DefinitionStep, GROUP, REVISION, SCHEMA_REVISION};
pub use install::{
    ChartFile, HEALTH_PORT, InstallFile, InstallSettings, WEBHOOK_NAME, WEBHOOK_PORT, chart, files,
};
pub use place::{ObjectPlace, place};
pub use resource::RESOURCES;
