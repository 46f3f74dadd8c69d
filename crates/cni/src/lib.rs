//! The protocol between container runtimes and network plugins (CNI): what a plugin reads and what it prints.
//!
//! A runtime runs the plugin with [`Invocation`] in its environment and a [`NetworkConfig`] on its standard input. The plugin
//! prints an [`AddResult`], a [`CniFailure`] or nothing. Nothing here reads the environment, a file or a socket.
#![forbid(unsafe_code)]

mod arguments;
mod config;
mod environment;
mod failure;
mod list;
mod previous;
mod result;
mod version;

pub use arguments::{PodArguments, RuntimeArguments};
pub use config::{NetworkConfig, PortMapping, RuntimeConfig, ValidAttachment};
pub use environment::{Invocation, Operation};
pub use failure::{CniFailure, ErrorCode};
pub use list::{LOOPBACK, NetworkList, PLUGIN, is_list, winner};
pub use previous::PreviousResult;
pub use result::{AddResult, AssignedAddress, ResultInterface, ResultRoute};
pub use version::{SpecVersion, versions};
