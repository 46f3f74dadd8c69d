//! The client of the API server: connection, watches of kinds, and writes, on a thread of its own.
#![forbid(unsafe_code)]

mod connection;

pub use connection::{Connection, ConnectionError};
/// The client for further requests, on a runtime of the caller.
pub use kube::Client;
