//! YAML and JSON manifests into policies, services and workloads, with positions and messages.
//!
//! Text comes in, values or [`Diagnostic`]s go out; nothing here opens a file. A document with any error is refused
//! whole, and all errors of a file are told together.
#![forbid(unsafe_code)]

mod diagnostic;
mod object;
pub mod test;

pub use diagnostic::{Diagnostic, Severity};
pub use object::{NamedPort, Namespace, Object, Policy, Protocol, Service, Workload};
