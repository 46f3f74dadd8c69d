//! Classes: tables of verdicts for blocks of traffic, by number. Equal tables share one number.

use crate::rule::Direction;
use crate::traffic::TrafficBlock;
use abi::policy::{VerdictInfo, VerdictKey};
use abi::row::Row;
use identity::Numbering;
use std::sync::Arc;

/// Number of a class in rows; [`ClassId::SILENT`] is the number of the class without verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);

impl ClassId {
    /// The class without verdicts. It needs no holder.
    pub const SILENT: Self = Self(VerdictKey::SILENT);
}

const _: () = assert!(VerdictKey::SILENT == 0, "numbers that are given begin after it");

/// The verdicts of a class in both directions.
pub(crate) type Table = [(Direction, TrafficBlock, VerdictInfo)];

/// The classes that compiled policies use.
#[derive(Clone, Debug)]
pub(crate) struct Classes {
    tables: Numbering<Arc<Table>>,
    changes: Vec<ClassChange>,
}

/// A class that was added or removed.
#[derive(Clone, Debug)]
pub(crate) enum ClassChange {
    Added(ClassId, Arc<Table>),
    Removed(ClassId, Arc<Table>),
}

impl Default for Classes {
    fn default() -> Self {
        Self { tables: Numbering::new(1..=u32::MAX), changes: Vec::new() }
    }
}

impl Classes {
    /// Adds a holder to the class of these verdicts, and returns whether the class is new.
    pub(crate) fn acquire(&mut self, table: &Table) -> (ClassId, bool) {
        if table.is_empty() {
            return (ClassId::SILENT, false);
        }
        let acquired = self.tables.acquire_from(table);
        let (number, is_new) = acquired.expect("fewer classes than numbers fit in memory");
        let new = self.tables.value(number).filter(|_| is_new);
        self.changes.extend(new.map(|table| ClassChange::Added(ClassId(number), table.clone())));
        (ClassId(number), is_new)
    }

    /// Adds a holder to a class in use.
    pub(crate) fn hold(&mut self, class: ClassId) {
        self.tables.hold(class.0);
    }

    /// Removes a holder; the verdicts are returned if it was the last one.
    pub(crate) fn release(&mut self, class: ClassId) -> Option<Arc<Table>> {
        let table = self.tables.release(class.0)?;
        self.changes.push(ClassChange::Removed(class, table.clone()));
        Some(table)
    }

    /// The classes that were added and removed since the last call, in order.
    pub(crate) fn take_changes(&mut self) -> Vec<ClassChange> {
        std::mem::take(&mut self.changes)
    }

    /// The rows of all classes.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        self.tables.iter().flat_map(|(number, table)| rows(ClassId(number), table))
    }

    /// Gives no class a number up to this one, which the maps may still hold.
    pub(crate) fn number_above(&mut self, number: u32) {
        self.tables.continue_above(number);
    }
}

/// The rows of one class.
pub(crate) fn rows(class: ClassId, table: &Table) -> impl Iterator<Item = Row> {
    table
        .iter()
        .map(move |(direction, block, verdict)| Row::Verdict(block.key(class.0, *direction as u8), *verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rule: u32) -> Vec<(Direction, TrafficBlock, VerdictInfo)> {
        vec![(Direction::Ingress, TrafficBlock::EVERYTHING, VerdictInfo { action: 1, rule, l7: 0 })]
    }

    #[test]
    fn equal_tables_share_a_class_until_its_last_holder_releases_it() {
        let mut classes = Classes::default();
        let (one, is_new) = classes.acquire(&table(7));
        assert!(is_new && one != ClassId::SILENT);
        assert_eq!(classes.acquire(&table(7)), (one, false));
        let (other, _) = classes.acquire(&table(8));
        assert_ne!(one, other);
        assert!(classes.release(one).is_none());
        assert!(classes.release(one).is_some());
        assert_eq!(classes.rows().count(), 1);
        let (again, is_new) = classes.acquire(&table(7));
        assert!(is_new && again != one, "a number that was given up is not given to the next");
    }

    #[test]
    fn added_and_removed_classes_are_returned_once() {
        let mut classes = Classes::default();
        let (one, _) = classes.acquire(&table(7));
        classes.release(one);
        let changed = classes.take_changes();
        assert!(
            matches!(&changed[..], [ClassChange::Added(came, _), ClassChange::Removed(went, _)] if came == went)
        );
        assert!(classes.take_changes().is_empty());
    }

    #[test]
    fn the_class_without_verdicts_has_no_holders() {
        let mut classes = Classes::default();
        assert_eq!(classes.acquire(&[]), (ClassId::SILENT, false));
        assert!(classes.release(ClassId::SILENT).is_none() && classes.take_changes().is_empty());
    }
}
