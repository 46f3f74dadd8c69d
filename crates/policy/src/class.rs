//! Classes: tables of verdicts for blocks of traffic, by number. Equal tables share one number.

use crate::rule::Direction;
use crate::traffic::TrafficBlock;
use abi::policy::{VerdictInfo, VerdictKey};
use abi::row::Row;
use foldhash::HashMap;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use identity::Sequence;
use std::hash::BuildHasher;
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
    held: HashMap<u32, Held>,
    /// Numbers by the hash of what they stand for.
    numbers: HashTable<u32>,
    hasher: FixedState,
    sequence: Sequence,
    changes: Vec<ClassChange>,
}

#[derive(Clone, Debug)]
struct Held {
    table: Arc<Table>,
    holders: u32,
}

/// A class that was added or removed.
#[derive(Clone, Debug)]
pub(crate) enum ClassChange {
    Added(ClassId, Arc<Table>),
    Removed(ClassId, Arc<Table>),
}

impl Default for Classes {
    fn default() -> Self {
        Self {
            held: HashMap::default(),
            numbers: HashTable::new(),
            hasher: FixedState::default(),
            sequence: Sequence::new(1..=u32::MAX),
            changes: Vec::new(),
        }
    }
}

impl Classes {
    /// Holds the class of these verdicts once more; whether it is new.
    pub(crate) fn acquire(&mut self, table: &Table) -> (ClassId, bool) {
        if table.is_empty() {
            return (ClassId::SILENT, false);
        }
        let hash = self.hasher.hash_one(table);
        let known = self.numbers.find(hash, |number| *self.held[number].table == *table).copied();
        if let Some(number) = known {
            self.hold(ClassId(number));
            return (ClassId(number), false);
        }
        let free = self.sequence.take(|number| self.held.contains_key(&number));
        let number = free.expect("fewer classes than numbers fit in memory");
        let table: Arc<Table> = table.into();
        let Self { held, numbers, hasher, .. } = self;
        held.insert(number, Held { table: table.clone(), holders: 1 });
        numbers.insert_unique(hash, number, |number| hasher.hash_one(&*held[number].table));
        self.changes.push(ClassChange::Added(ClassId(number), table));
        (ClassId(number), true)
    }

    /// Adds a hold to a class that is held already.
    pub(crate) fn hold(&mut self, class: ClassId) {
        if let Some(held) = self.held.get_mut(&class.0) {
            held.holders += 1;
        }
    }

    /// Gives up one hold; the verdicts are returned when that was the last.
    pub(crate) fn release(&mut self, class: ClassId) -> Option<Arc<Table>> {
        let held = self.held.get_mut(&class.0)?;
        held.holders -= 1;
        if held.holders > 0 {
            return None;
        }
        let Held { table, .. } = self.held.remove(&class.0)?;
        let hash = self.hasher.hash_one(&*table);
        if let Ok(entry) = self.numbers.find_entry(hash, |number| *number == class.0) {
            entry.remove();
        }
        self.changes.push(ClassChange::Removed(class, table.clone()));
        Some(table)
    }

    /// The classes that were added and removed since the last call, in order.
    pub(crate) fn take_changes(&mut self) -> Vec<ClassChange> {
        std::mem::take(&mut self.changes)
    }

    /// The rows of all classes.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        self.held.iter().flat_map(|(number, held)| rows(ClassId(*number), &held.table))
    }

    /// Gives no class a number up to this one, which the maps may still hold.
    pub(crate) fn number_above(&mut self, number: u32) {
        self.sequence.continue_above(number);
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
