//! The packet path in user space, over maps in memory.
//!
//! ```
//! use abi::Hook;
//! use datapath::native::{Arrival, Tables};
//!
//! let tables = Tables::new();
//! let (source, destination) = ("10.0.0.1:4000".parse()?, "10.0.0.2:80".parse()?);
//! let frame = datapath::craft::tcp(source, destination).frame();
//! let outcome = tables.run(Hook::FromWorkload, Arrival { interface: 7, frame: &frame, ..Arrival::default() });
//! assert_eq!(outcome.verdict, Err(abi::DropReason::UnknownEndpoint));
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

mod arrival;
pub mod bytes;
mod frame;
mod rows;
mod run;
#[cfg(test)]
mod tests;

pub use arrival::{Arrival, ProxySockets};
pub use rows::Tables;
pub use run::Outcome;
