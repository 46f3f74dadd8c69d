//! The rows last planned for the subjects that have one row each.
//!
//! A change marks such a subject; what its row is now is computed when the step settles, and compared with the ledger. So
//! nothing needs to be noted before a change. Rows of groups, columns, classes and backends are not kept here: their
//! owners know which of them change.

use abi::row::Row;
use foldhash::HashMap;
use policy::cidr::AddressSide;
use policy::rule::Cidr;

/// Something that has at most one row, which follows from the world as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RowSubject {
    /// The endpoint row of a workload, by its number.
    Endpoint(u32),
    /// The endpoint row of the node's own processes.
    Node,
    /// The address row of a block, or of one address.
    Address(Cidr),
    /// The row that names the block around a block.
    Nesting(Cidr, AddressSide),
}

/// The row of each subject that has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    rows: HashMap<RowSubject, Row>,
}

impl Ledger {
    /// Enters the row that a subject has now; the row that it had is returned.
    pub(crate) fn enter(&mut self, subject: RowSubject, row: Option<Row>) -> Option<Row> {
        match row {
            Some(row) => self.rows.insert(subject, row),
            None => self.rows.remove(&subject),
        }
    }

    /// The rows.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }
}

impl FromIterator<(RowSubject, Row)> for Ledger {
    fn from_iter<I: IntoIterator<Item = (RowSubject, Row)>>(rows: I) -> Self {
        Self { rows: rows.into_iter().collect() }
    }
}
