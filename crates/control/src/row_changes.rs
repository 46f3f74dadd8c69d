//! What one step does to rows, as their owners report it.

use abi::row::{Row, RowKey};
use foldhash::HashMap;
use foldhash::fast::RandomState;

/// The rows that a step puts and removes, in order.
#[derive(Debug, Default)]
pub(crate) struct RowChanges {
    notes: Vec<Note>,
    /// Set where all rows are compared after the step, so that none needs to be noted.
    is_ignored: bool,
}

#[derive(Clone, Copy, Debug)]
enum Note {
    Put(Row),
    Remove(Row),
}

/// What a step does to one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowChange {
    pub(crate) key: RowKey,
    /// The row before the step.
    pub(crate) old: Option<Row>,
    /// The row after it.
    pub(crate) new: Option<Row>,
    /// The row that the step put last and removed again; it counts where there is no row before and after.
    pub(crate) transient: Option<Row>,
}

impl RowChanges {
    /// Changes for a step after which all rows are compared.
    pub(crate) fn ignored() -> Self {
        Self { is_ignored: true, ..Self::default() }
    }

    /// Adds rows. Where a row has the key already, [`Self::remove`] comes first.
    pub(crate) fn put(&mut self, rows: impl IntoIterator<Item = Row>) {
        if !self.is_ignored {
            self.notes.extend(rows.into_iter().map(Note::Put));
        }
    }

    /// Removes rows that are there.
    pub(crate) fn remove(&mut self, rows: impl IntoIterator<Item = Row>) {
        if !self.is_ignored {
            self.notes.extend(rows.into_iter().map(Note::Remove));
        }
    }

    /// One change for each key, in the order in which keys were noted first.
    pub(crate) fn merged(&self) -> Vec<RowChange> {
        let mut changes: Vec<RowChange> = Vec::with_capacity(self.notes.len());
        let mut places: HashMap<RowKey, u32> =
            HashMap::with_capacity_and_hasher(self.notes.len(), RandomState::default());
        for note in &self.notes {
            let (Note::Put(row) | Note::Remove(row)) = note;
            let Some(key) = row.key() else { continue };
            let place = *places.entry(key).or_insert_with(|| {
                changes.push(RowChange { key, old: None, new: None, transient: None });
                changes.len() as u32 - 1
            });
            changes[place as usize].follow(note);
        }
        changes
    }
}

impl RowChange {
    fn follow(&mut self, note: &Note) {
        match note {
            Note::Put(row) => self.new = Some(*row),
            Note::Remove(row) => match self.new.take() {
                // The step itself has put it.
                Some(own) => self.transient = Some(own),
                None => self.old = self.old.or(Some(*row)),
            },
        }
    }
}
