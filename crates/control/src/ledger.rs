//! The rows last planned for the subjects that have one row each.
//!
//! A change marks such a subject; what its row is now is computed when the step settles, and compared with the ledger. So
//! nothing needs to be noted before a change. Rows of groups, columns, classes and backends are not kept here: their
//! owners know which of them change.

use abi::address::AddressInfo;
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::row::Row;
use policy::cidr::{AddressSide, address_key};
use policy::rule::Cidr;
use std::collections::BTreeMap;

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

/// The row of each subject that has one. A node with many workloads has many of them, so they are kept by kind, without the
/// keys that follow from the subjects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// By workload.
    endpoints: BTreeMap<u32, (EndpointKey, EndpointInfo)>,
    node: Option<EndpointInfo>,
    addresses: BTreeMap<Cidr, AddressInfo>,
    /// A block's class, and that of the block around it.
    nestings: BTreeMap<(Cidr, AddressSide), (u32, u32)>,
}

impl Ledger {
    /// Enters the row that a subject has now; the row that it had is returned.
    pub(crate) fn enter(&mut self, subject: RowSubject, row: Option<Row>) -> Option<Row> {
        let before = match &subject {
            RowSubject::Endpoint(id) => self.endpoints.get(id).map(|(key, info)| Row::Endpoint(*key, *info)),
            RowSubject::Node => self.node.map(|info| Row::Endpoint(EndpointKey::NODE, info)),
            RowSubject::Address(block) => {
                self.addresses.get(block).map(|info| Row::Address(address_key(block), *info))
            }
            RowSubject::Nesting(block, side) => {
                let nesting = self.nestings.get(&(*block, *side));
                nesting.map(|(class, around)| Row::CidrParent(*class, *around))
            }
        };
        if before != row {
            self.replace(subject, row);
        }
        before
    }

    fn replace(&mut self, subject: RowSubject, row: Option<Row>) {
        match (subject, row) {
            (RowSubject::Endpoint(id), Some(Row::Endpoint(key, info))) => {
                self.endpoints.insert(id, (key, info));
            }
            (RowSubject::Node, Some(Row::Endpoint(_, info))) => self.node = Some(info),
            (RowSubject::Address(block), Some(Row::Address(_, info))) => {
                self.addresses.insert(block, info);
            }
            (RowSubject::Nesting(block, side), Some(Row::CidrParent(class, around))) => {
                self.nestings.insert((block, side), (class, around));
            }
            (RowSubject::Endpoint(id), _) => drop(self.endpoints.remove(&id)),
            (RowSubject::Node, _) => self.node = None,
            (RowSubject::Address(block), _) => drop(self.addresses.remove(&block)),
            (RowSubject::Nesting(block, side), _) => drop(self.nestings.remove(&(block, side))),
        }
    }

    /// The rows.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        let endpoints = self.endpoints.values().map(|(key, info)| Row::Endpoint(*key, *info));
        let node = self.node.map(|info| Row::Endpoint(EndpointKey::NODE, info));
        let addresses = self.addresses.iter().map(|(block, info)| Row::Address(address_key(block), *info));
        let nestings = self.nestings.values().map(|(class, around)| Row::CidrParent(*class, *around));
        endpoints.chain(node).chain(addresses).chain(nestings)
    }
}

impl FromIterator<(RowSubject, Row)> for Ledger {
    fn from_iter<I: IntoIterator<Item = (RowSubject, Row)>>(rows: I) -> Self {
        let mut node = None;
        let (mut endpoints, mut addresses, mut nestings) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            match row {
                (RowSubject::Endpoint(id), Row::Endpoint(key, info)) => endpoints.push((id, (key, info))),
                (RowSubject::Node, Row::Endpoint(_, info)) => node = Some(info),
                (RowSubject::Address(block), Row::Address(_, info)) => addresses.push((block, info)),
                (RowSubject::Nesting(block, side), Row::CidrParent(class, around)) => {
                    nestings.push(((block, side), (class, around)));
                }
                (subject, row) => unreachable!("{row:?} is no row of {subject:?}"),
            }
        }
        // A tree that is made of all its entries at once has full nodes; one that grows has nodes half empty.
        Self {
            endpoints: endpoints.into_iter().collect(),
            node,
            addresses: addresses.into_iter().collect(),
            nestings: nestings.into_iter().collect(),
        }
    }
}
