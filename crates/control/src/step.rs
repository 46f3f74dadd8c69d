//! One application of changes: what they mark, and what follows from them.

use crate::change::Change;
use crate::ledger::RowSubject;
use crate::writes::Renamed;
use enforcement::RowChanges;
use policy::rule::Cidr;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What some changes touch. The peers and policies that they touch are marked in `Enforcement`.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// Workloads whose labels or ports may have changed, and with them their peers.
    pub(crate) workloads: BTreeSet<u32>,
    /// Rows that may have changed; one may be marked several times.
    marked_rows: Vec<RowSubject>,
    /// Rows that their owners put and removed.
    pub(crate) rows: RowChanges,
    /// Whether the packet path must evaluate policy again for known flows, whatever is written.
    pub(crate) judges_anew: bool,
    pub(crate) undo: Vec<Change>,
    pub(crate) renamed: Renamed,
}

impl Step {
    /// A step after which all rows are compared, so that none needs to be noted on the way.
    pub(crate) fn comparing_all() -> Self {
        Self { rows: RowChanges::ignored(), ..Self::default() }
    }

    /// A step whose changes of rows have room already.
    pub(crate) fn in_room(rows: RowChanges) -> Self {
        Self { rows, ..Self::default() }
    }

    /// Marks a row.
    pub(crate) fn mark(&mut self, row: RowSubject) {
        if !self.rows.is_ignored() {
            self.marked_rows.push(row);
        }
    }

    /// The marked rows in order, which are then no longer marked.
    pub(crate) fn take_marked_rows(&mut self) -> Vec<RowSubject> {
        let mut marked = std::mem::take(&mut self.marked_rows);
        marked.sort_unstable();
        marked.dedup();
        marked
    }

    /// The marked addresses; one may be marked several times.
    pub(crate) fn marked_addresses(&self) -> impl Iterator<Item = Cidr> {
        self.marked_rows.iter().filter_map(|subject| match subject {
            RowSubject::Address(block) if block.is_host() => Some(*block),
            _ => None,
        })
    }

    /// Marks the row of an address.
    pub(crate) fn mark_address(&mut self, address: IpAddr) {
        self.mark(RowSubject::Address(Cidr::host(address)));
    }
}
