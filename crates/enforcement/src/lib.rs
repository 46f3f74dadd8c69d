//! The policies in force on a node: each compiled once for all subjects that it applies to, as map rows.
//!
//! [`Enforcement`] knows the peers that rules may match and the subjects that policies may apply to, both by peer number.
//! A step changes peers and policies, and then settles: peers move to groups, subjects to policies, and the rows that
//! differ are reported.
#![forbid(unsafe_code)]

mod addresses;
mod enforcement;
mod found_blocks;
mod groupings;
mod peer_changes;
mod peers;
mod restore;
mod row_changes;
mod settle;

pub use enforcement::{Assignment, Enforcement, InForce};
pub use row_changes::{RowChange, RowChanges, Rows};
