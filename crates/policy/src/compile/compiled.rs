//! The compiled form of the specs that apply to a subject.

use super::column::Column;
use super::part::Parts;
use super::rules::DirectionDefaults;
use crate::set::Selection;

/// The verdicts of one selection of specs for every group of a grouping, as rows.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    pub(super) selection: Selection,
    /// Of ingress and egress.
    pub(super) defaults: [DirectionDefaults; 2],
    pub(super) parts: Parts,
    /// The column of each part.
    pub(super) columns: Vec<Column>,
    /// How many groups of the grouping have cells in the columns.
    pub(super) filled_up_to: u32,
}
