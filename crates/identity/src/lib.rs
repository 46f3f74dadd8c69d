//! Labels, selectors, and the numbers that stand for sets of labels.
//!
//! A workload is known by its labels alone: two workloads with the same labels have the same identity, wherever they
//! run. Nothing here does I/O; allocation is a plain value that the caller persists.
#![forbid(unsafe_code)]

mod label;
mod selector;

pub use label::{Label, LabelKey, Labels, Source, key};
pub use selector::{Operator, Requirement, Selector};
