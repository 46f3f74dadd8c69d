//! What one step does to rows, as their owners report it.

use abi::row::{Row, RowKey};
use foldhash::HashMap;
use std::collections::BTreeMap;

/// The rows of the maps, by key.
pub type Rows = BTreeMap<RowKey, Row>;

/// The rows that a step puts and removes.
#[derive(Debug, Default)]
pub struct RowChanges {
    /// One change for each key, in the order in which keys were noted first.
    changes: Vec<RowChange>,
    places: HashMap<RowKey, usize>,
    /// Set where all rows are compared after the step, so that none needs to be noted.
    is_ignored: bool,
}

/// What a step does to one row.
#[derive(Clone, Copy, Debug)]
pub struct RowChange {
    /// The key of the row.
    pub key: RowKey,
    /// The row before the step.
    pub old: Option<Row>,
    /// The row after it.
    pub new: Option<Row>,
    /// The row that the step put last and removed again; it counts where there is no row before and after.
    pub transient: Option<Row>,
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
        self.note(rows, |change, row| change.new = Some(row));
    }

    /// Removes rows that are there.
    pub fn remove(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.note(rows, |change, row| match change.new.take() {
            // The step itself has put it.
            Some(own) => change.transient = Some(own),
            None => change.old = change.old.or(Some(row)),
        });
    }

    fn note(&mut self, rows: impl IntoIterator<Item = Row>, follow: impl Fn(&mut RowChange, Row)) {
        if self.is_ignored {
            return;
        }
        for (key, row) in rows.into_iter().filter_map(|row| Some((row.key()?, row))) {
            let place = *self.places.entry(key).or_insert(self.changes.len());
            if place == self.changes.len() {
                self.changes.push(RowChange { key, old: None, new: None, transient: None });
            }
            follow(&mut self.changes[place], row);
        }
    }

    /// The changes so far, which are then forgotten.
    pub fn take(&mut self) -> Vec<RowChange> {
        self.places.clear();
        std::mem::take(&mut self.changes)
    }
}
