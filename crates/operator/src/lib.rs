//! The operator of a cluster: allocates identities and blocks of nodes, and reviews policies. Events in, writes out.
//!
//! Nothing here has a clock or a client: time since the start is an argument, and the caller carries out the writes. A
//! write needs no answer. Its effect comes back as an event of a watch, and a write without an effect is returned again.
#![forbid(unsafe_code)]

pub mod admission;
mod election;
mod identities;
mod open_writes;
mod pools;

pub use election::{Election, ElectionStep, LeaseRecord};
pub use identities::{IdentityAllocation, IdentityWrite, ListedKind};
pub use pools::{BlockPool, BlockPoolError, NodeBlocks, PodBlockAssignment};

/// The namespace and name of an object.
pub type NamespacedName = (String, String);
