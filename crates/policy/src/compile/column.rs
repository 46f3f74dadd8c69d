//! One column of a compiled policy: the class of each group for the addresses of one part.

use crate::book::RuleBook;
use crate::class::ClassId;
use abi::policy::{ClassKey, GROUP_OF_WORKLOADS};
use abi::row::Row;

/// The class of each group for the addresses of one part. A policy and its successor share equal columns.
#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    /// The number of the column in rows; 0 before [`Self::assign_number`].
    pub(super) number: u32,
    /// The classes that differ from the class that the lookup falls back to, by group, in order. Each class is held.
    classes: Vec<(u32, ClassId)>,
}

impl Column {
    /// Sets the class of a group. Calls must come in the order of groups. The caller holds the class; the hold is released
    /// if the group falls back to the same class.
    pub(super) fn set(
        &mut self,
        (group, is_workload): (u32, bool),
        class: Option<ClassId>,
        book: &mut RuleBook,
    ) {
        // Workloads fall back to the group of all workloads, whose class was set before.
        let otherwise = self.fallback(is_workload && group != GROUP_OF_WORKLOADS);
        if class == otherwise {
            class.into_iter().for_each(|class| book.release_class(class));
            return;
        }
        // The class without verdicts hides the fallback class.
        self.classes.push((group, class.unwrap_or(ClassId::SILENT)));
    }

    /// The class of a group: its own, or for workloads the class of the group of all workloads.
    pub(super) fn class_of(&self, group: u32, is_workload: bool) -> Option<ClassId> {
        let class = self.own(group).or_else(|| self.fallback(is_workload));
        class.filter(|class| *class != ClassId::SILENT)
    }

    /// Whether both columns have the same class for each group.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.classes == other.classes
    }

    /// The rows of all groups from this one on.
    pub(super) fn rows(&self, first: u32) -> impl Iterator<Item = Row> + use<'_> {
        let from = self.classes.partition_point(|(group, _)| *group < first);
        let row = |(group, class): &(u32, ClassId)| {
            Row::Class(ClassKey { column: self.number, group: *group }, class.0)
        };
        self.classes[from..].iter().map(row)
    }

    /// Gives the column a number that no other column has.
    pub(super) fn assign_number(&mut self, book: &mut RuleBook) {
        self.number = book.acquire_column();
        self.classes.shrink_to_fit();
    }

    /// Moves the classes to a column of the policy's successor, which shares the number. This column is empty then, and
    /// holds the number until it is released.
    pub(super) fn transfer(&mut self, book: &mut RuleBook) -> Self {
        book.hold_column(self.number);
        Self { number: self.number, classes: std::mem::take(&mut self.classes) }
    }

    /// Releases the classes and the number.
    pub(super) fn release(self, book: &mut RuleBook) {
        self.classes.into_iter().for_each(|(_, class)| book.release_class(class));
        book.release_column(self.number);
    }

    /// The classes by group.
    #[cfg(test)]
    pub(super) fn classes(&self) -> &[(u32, ClassId)] {
        &self.classes
    }

    fn own(&self, group: u32) -> Option<ClassId> {
        let at = self.classes.binary_search_by_key(&group, |(group, _)| *group).ok()?;
        Some(self.classes[at].1)
    }

    fn fallback(&self, is_workload: bool) -> Option<ClassId> {
        if is_workload { self.own(GROUP_OF_WORKLOADS) } else { None }
    }
}
