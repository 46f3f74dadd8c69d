//! Labels, selectors, and the numbers of identities.
//!
//! Two workloads with the same labels have the same identity, on whichever node they run. Nothing here does I/O; the
//! caller persists the allocator's state.
#![forbid(unsafe_code)]

mod allocator;
mod cluster_numbers;
pub mod filter;
mod holders;
mod identities;
pub mod index;
mod interned;
pub mod key;
mod label;
mod name;
mod number_index;
mod numbering;
mod security_labels;
mod selector;
mod sequence;
mod shared_map;
mod values;

pub use allocator::Allocator;
pub use holders::Holders;
pub use identities::{Identities, Renumbered};
pub use interned::{Interned, Shared};
pub use label::{Label, LabelKey, Labels, Source};
pub use name::Name;
pub use number_index::NumberIndex;
pub use numbering::{Conflict, Exhausted, Numbering};
pub use security_labels::{from_security_labels, object_labels, security_labels};
pub use selector::{Operator, Requirement, Selector};
pub use sequence::Sequence;
pub use shared_map::{MapChanges, SharedMap};
pub use values::Values;
