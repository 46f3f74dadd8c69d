//! One application of changes: what they mark, and what follows from them.

use crate::change::Change;
use crate::ledger::RowSubject;
use crate::peer_changes::PeerChanges;
use crate::row_changes::RowChanges;
use crate::writes::Renamed;
use policy::cidr::AddressSide;
use policy::rule::Cidr;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Something that changes have touched, so that it must be looked at again. A step settles subjects in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A workload whose labels or ports may have changed, and with them its peer.
    Workload(u32),
    /// A peer that other policies may apply to.
    Peer(u32),
    /// A row that may have changed.
    Row(RowSubject),
}

/// What some changes touch.
#[derive(Debug, Default)]
pub(crate) struct Step {
    dirty: BTreeSet<Subject>,
    /// Peers that came, went or changed.
    pub(crate) peer_changes: PeerChanges,
    /// Rows that their owners put and removed.
    pub(crate) rows: RowChanges,
    /// Blocks that are given up once no packet is judged by the policies of before.
    pub(crate) released: Vec<(Cidr, AddressSide)>,
    pub(crate) undo: Vec<Change>,
    pub(crate) renamed: Renamed,
}

impl Step {
    /// A step after which all rows are compared, so that none needs to be noted on the way.
    pub(crate) fn comparing_all() -> Self {
        Self { rows: RowChanges::ignored(), ..Self::default() }
    }

    /// Marks what must be looked at again.
    pub(crate) fn mark(&mut self, subject: Subject) {
        self.dirty.insert(subject);
    }

    /// Marks the endpoint row of a workload.
    pub(crate) fn mark_endpoint(&mut self, id: u32) {
        self.mark(Subject::Row(RowSubject::Endpoint(id)));
    }

    /// Marks the row of an address.
    pub(crate) fn mark_address(&mut self, address: IpAddr) {
        self.mark(Subject::Row(RowSubject::Address(Cidr::host(address))));
    }

    /// The marked subjects of one kind, which are marked no more.
    pub(crate) fn take<T>(&mut self, kind: impl Fn(&Subject) -> Option<T>) -> Vec<T> {
        let mut taken = Vec::new();
        self.dirty.retain(|subject| match kind(subject) {
            Some(one) => {
                taken.push(one);
                false
            }
            None => true,
        });
        taken
    }
}
