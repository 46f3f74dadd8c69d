//! One application of changes: what they mark, and what follows from them.

use crate::change::Change;
use crate::ledger::RowSubject;
use crate::writes::Renamed;
use enforcement::PeerChanges;
use enforcement::RowChanges;
use policy::cidr::AddressSide;
use policy::rule::Cidr;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Something that changes have touched, so that it must be looked at again. A step settles subjects in this order.
#[derive(Clone, Copy, Debug)]
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
    /// Marked workloads.
    pub(crate) workloads: BTreeSet<u32>,
    /// Marked peers.
    pub(crate) peers: BTreeSet<u32>,
    /// Marked rows.
    pub(crate) marked_rows: BTreeSet<RowSubject>,
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
        match subject {
            Subject::Workload(id) => self.workloads.insert(id),
            Subject::Peer(peer) => self.peers.insert(peer),
            Subject::Row(row) => !self.rows.is_ignored() && self.marked_rows.insert(row),
        };
    }

    /// Marks the endpoint row of a workload.
    pub(crate) fn mark_endpoint(&mut self, id: u32) {
        self.mark(Subject::Row(RowSubject::Endpoint(id)));
    }

    /// Marks the row of an address.
    pub(crate) fn mark_address(&mut self, address: IpAddr) {
        self.mark(Subject::Row(RowSubject::Address(Cidr::host(address))));
    }
}
