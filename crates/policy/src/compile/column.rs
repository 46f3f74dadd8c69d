//! One column of the table that a policy is: what groups hear where an address is in one part.

use crate::book::RuleBook;
use crate::class::ClassId;
use abi::policy::{ClassKey, GROUP_OF_WORKLOADS};
use abi::row::Row;

/// What groups hear in one part. A policy and the one that takes its place share the columns that are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    /// Its number in rows; 0 where it has none yet.
    pub(super) number: u32,
    /// The groups, in order, with a class that the lookup would not find by falling back; each is held.
    classes: Vec<(u32, ClassId)>,
}

impl Column {
    /// Says this to a group that comes after all others that hear something; the class is held, and is given up where
    /// the group of all workloads says it already.
    pub(super) fn set(
        &mut self,
        (group, is_workload): (u32, bool),
        class: Option<ClassId>,
        book: &mut RuleBook,
    ) {
        // What other workloads fall back to was said before.
        let otherwise = self.fallback(is_workload && group != GROUP_OF_WORKLOADS);
        if class == otherwise {
            class.into_iter().for_each(|class| book.release_class(class));
            return;
        }
        // The class without verdicts hides the fallback class.
        self.classes.push((group, class.unwrap_or(ClassId::SILENT)));
    }

    /// What a group hears, by itself or as a workload like any other.
    pub(super) fn class_of(&self, group: u32, is_workload: bool) -> Option<ClassId> {
        let class = self.own(group).or_else(|| self.fallback(is_workload));
        class.filter(|class| *class != ClassId::SILENT)
    }

    /// Whether both say the same to all.
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

    /// Gives it a number of its own.
    pub(super) fn assign_number(&mut self, book: &mut RuleBook) {
        self.number = book.acquire_column();
        self.classes.shrink_to_fit();
    }

    /// Hands it on to a policy that goes on with it; what stays here says nothing, and holds the number until it is
    /// released.
    pub(super) fn transfer(&mut self, book: &mut RuleBook) -> Self {
        book.hold_column(self.number);
        Self { number: self.number, classes: std::mem::take(&mut self.classes) }
    }

    /// Gives up its classes and its number.
    pub(super) fn release(self, book: &mut RuleBook) {
        self.classes.into_iter().for_each(|(_, class)| book.release_class(class));
        book.release_column(self.number);
    }

    /// What is said, by group.
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
