//! What one step does to rows, as their owners report it.

use abi::row::{Row, RowKey};
use foldhash::HashMap;
use std::collections::BTreeMap;

/// The rows of the maps, by key.
pub type Rows = BTreeMap<RowKey, Row>;

/// The rows that a step puts and removes.
#[derive(Clone, Debug, Default)]
pub struct RowChanges {
    /// One change for each key, in the order in which keys were noted first.
    changes: Vec<RowChange>,
    places: HashMap<RowKey, u32>,
    /// Set where all rows are compared after the step, so that none needs to be noted.
    is_ignored: bool,
}

/// For how many changes room is kept between steps.
const KEPT_ROOM: usize = 512;

/// What a step does to one row.
#[derive(Clone, Copy, Debug)]
pub struct RowChange {
    /// The key of the row.
    pub key: RowKey,
    /// The row before the step.
    pub old: Option<Row>,
    /// The row that the step put last.
    last: Option<Row>,
    /// Whether the step has removed the last row again.
    is_removed: bool,
}

impl RowChange {
    /// The change from one row to another with its key.
    pub fn new(key: RowKey, old: Option<Row>, new: Option<Row>) -> Self {
        Self { key, old, last: new, is_removed: false }
    }

    /// The row after the step.
    pub fn new_row(&self) -> Option<&Row> {
        self.last.as_ref().filter(|_| !self.is_removed)
    }

    /// The row that the step put last and removed again; it counts where there is no row before and after.
    pub fn transient(&self) -> Option<&Row> {
        self.last.as_ref().filter(|_| self.is_removed)
    }

    fn put(&mut self, row: Row) {
        (self.last, self.is_removed) = (Some(row), false);
    }

    fn remove(&mut self, row: Row) {
        match self.new_row() {
            // The step itself has put it.
            Some(_) => self.is_removed = true,
            None => self.old = self.old.or(Some(row)),
        }
    }
}

impl RowChanges {
    /// Changes for a step after which all rows are compared.
    pub fn ignored() -> Self {
        Self { is_ignored: true, ..Self::default() }
    }

    /// Whether all rows are compared after the step.
    pub fn is_ignored(&self) -> bool {
        self.is_ignored
    }

    /// Adds rows. Where a row has the key already, [`Self::remove`] comes first.
    pub fn put(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.note(rows, RowChange::put);
    }

    /// Removes rows that are there.
    pub fn remove(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.note(rows, RowChange::remove);
    }

    fn note(&mut self, rows: impl IntoIterator<Item = Row>, follow: impl Fn(&mut RowChange, Row)) {
        if self.is_ignored {
            return;
        }
        for (key, row) in rows.into_iter().filter_map(|row| Some((row.key()?, row))) {
            let place = *self.places.entry(key).or_insert(self.changes.len() as u32) as usize;
            if place == self.changes.len() {
                self.changes.push(RowChange::new(key, None, None));
            }
            follow(&mut self.changes[place], row);
        }
    }

    /// The changes so far, each of another row.
    pub fn changes(&self) -> &[RowChange] {
        &self.changes
    }

    /// No changes, in the room of these: a large allocation at each step costs more than a small step itself.
    pub fn into_room(self) -> Self {
        let Self { mut changes, mut places, .. } = self;
        changes.clear();
        places.clear();
        changes.shrink_to(KEPT_ROOM);
        places.shrink_to(KEPT_ROOM);
        Self { changes, places, is_ignored: false }
    }
}
