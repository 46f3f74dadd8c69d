//! What a step changes that a packet can read, and whether another step may be written while removals of this one wait.
//!
//! Removals wait until no packet reads the rows any more. A packet that started before a step may read the next step's rows
//! after the step's own old ones: it gets the verdict of no state if both steps change rows of one lookup. Of two such steps
//! the second one waits. A lookup reads rows in an order that follows from their keys, so not every pair is harmful:
//!
//! | the first step changes | the second step changes |
//! |---|---|
//! | an endpoint | an address; a group in the grouping, or a column of the policy, that the endpoint left |
//! | an address | an endpoint, a group, a column |
//! | a group | a column; another group in the same grouping |
//! | a column | a group; another column of the same policy |
//! | a block | anything |
//! | anything | a block |

use crate::row_names::{Name, names, numbers};
use abi::address::AddressKey;
use abi::batch::Batch;
use abi::policy::ColumnKey;
use abi::row::{MapOp, Row, RowKey};
use enforcement::RowChange;
use foldhash::HashSet;

/// What a step changes that a packet can read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Policies and groupings that endpoints left.
    left: HashSet<Name>,
    /// Whether rows of endpoints change, and whether a row that packets have read changes.
    changes_endpoints: bool,
    leaves_endpoints: bool,
    addresses: bool,
    /// Groupings in which groups of peers change.
    groupings: HashSet<u32>,
    columns: Vec<ColumnKey>,
    /// Whether blocks change, or all rows were compared.
    blocks: bool,
    /// Numbers that no row named before.
    named: HashSet<Name>,
}

/// A step whose removals wait.
#[derive(Clone, Debug)]
pub struct WaitingStep {
    footprint: Footprint,
    /// The rows that it writes or removes later.
    keys: HashSet<RowKey>,
    /// The numbers in the keys of these rows.
    numbers: HashSet<Name>,
}

impl Footprint {
    /// That of a step after which all rows were compared.
    pub(crate) fn of_everything() -> Self {
        Self { blocks: true, ..Self::default() }
    }

    /// Adds the change of a row that packets can read before the step and after it.
    pub(crate) fn note(&mut self, key: &RowKey, old: Option<&Row>) {
        match key {
            RowKey::Endpoint(_) => {
                self.changes_endpoints = true;
                self.leaves_endpoints |= old.is_some();
                self.left.extend(old.into_iter().flat_map(names));
            }
            RowKey::Address(key) if *key == AddressKey::host(key.address) => self.addresses = true,
            RowKey::Address(_) | RowKey::CidrParent(_) => self.blocks = true,
            RowKey::Group(key) => _ = self.groupings.insert(key.grouping),
            RowKey::Column(key) => self.columns.push(*key),
            // Rows of a service and of masquerading are read by no other lookup. Classes and verdicts in force are not edited.
            RowKey::Unmasqueraded(_)
            | RowKey::Service(_)
            | RowKey::Backend(_)
            | RowKey::Class(_)
            | RowKey::Verdict(_) => {}
        }
    }

    /// Adds a number that rows name now and did not name before.
    pub(crate) fn note_named(&mut self, name: Name) {
        self.named.insert(name);
    }

    /// Adds that blocks change after the grace time.
    pub(crate) fn note_blocks(&mut self) {
        self.blocks = true;
    }

    /// Whether a lookup may read rows that this step changed, and rows that the next one changes.
    fn meets(&self, next: &Self) -> bool {
        let leaves = |column: &ColumnKey| self.left.contains(&Name::Policy(column.policy));
        let of_one_policy = |column: &ColumnKey| {
            self.columns.iter().any(|own| own.policy == column.policy && own.cidr != column.cidr)
        };
        let is_any = |footprint: &Self| {
            footprint.changes_endpoints
                || footprint.addresses
                || !footprint.groupings.is_empty()
                || !footprint.columns.is_empty()
        };
        let (groups, columns) = (!next.groupings.is_empty(), !next.columns.is_empty());
        self.blocks && (next.blocks || is_any(next))
            || next.blocks && is_any(self)
            || self.leaves_endpoints && next.addresses
            || next.groupings.iter().any(|grouping| self.left.contains(&Name::Grouping(*grouping)))
            || next.columns.iter().any(leaves)
            || self.addresses && (next.leaves_endpoints || groups || columns)
            || !self.groupings.is_empty() && columns
            || !self.groupings.is_disjoint(&next.groupings)
            || !self.columns.is_empty() && groups
            || next.columns.iter().any(of_one_policy)
    }
}

impl WaitingStep {
    /// A step with these writes to make later.
    pub fn new<'a>(footprint: Footprint, later: impl IntoIterator<Item = &'a Batch>) -> Self {
        let writes = later.into_iter().flat_map(Batch::iter);
        let keys: HashSet<RowKey> = writes.filter_map(|write| key(&write)).collect();
        let numbers = keys.iter().flat_map(numbers).collect();
        Self { footprint, keys, numbers }
    }

    /// Whether these writes of a later step may be made before those of this step that wait. None of them may change a row
    /// that waits, name a number of such a row, or meet what this step changed.
    pub fn admits(&self, now: &Batch, next: &Footprint) -> bool {
        !self.footprint.meets(next)
            && self.numbers.is_disjoint(&next.named)
            && now.iter().all(|write| key(&write).is_none_or(|key| !self.keys.contains(&key)))
    }
}

/// Adds the change of a row, if packets could read the row before the step and it is written at once.
pub(crate) fn note_switch(footprint: &mut Footprint, change: &RowChange, is_switch: bool) {
    if is_switch && change.old.as_ref() != change.new_row() {
        footprint.note(&change.key, change.old.as_ref());
    }
}

fn key(write: &MapOp) -> Option<RowKey> {
    match write {
        MapOp::Put(row) => row.key(),
        MapOp::Delete(key) => Some(*key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::policy::GroupKey;

    #[test]
    fn a_row_that_waits_is_neither_written_nor_named_meanwhile() {
        let group = GroupKey { grouping: 1, peer: abi::identity::FIRST_ALLOCATED };
        let mut later = Batch::new();
        later.delete(&RowKey::Group(group));
        let waiting = WaitingStep::new(Footprint::default(), [&later]);
        let nothing = Footprint::default();
        assert!(waiting.admits(&Batch::new(), &nothing));
        let mut now = Batch::new();
        now.put(&Row::Group(group, 2));
        assert!(!waiting.admits(&now, &nothing), "the removal would take the new row");
        let mut next = Footprint::default();
        next.note_named(Name::Peer(group.peer));
        assert!(!waiting.admits(&Batch::new(), &next), "a packet would read the old row for the new peer");
        next = Footprint::default();
        next.note_named(Name::Peer(group.peer + 1));
        assert!(waiting.admits(&Batch::new(), &next));
    }
}
