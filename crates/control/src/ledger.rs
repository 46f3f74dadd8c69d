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
        match subject {
            RowSubject::Endpoint(id) => {
                let before = replace(&mut self.endpoints, id, row.map(endpoint));
                before.map(|(key, info)| Row::Endpoint(key, info))
            }
            RowSubject::Node => {
                let before = std::mem::replace(&mut self.node, row.map(|row| endpoint(row).1));
                before.map(|info| Row::Endpoint(EndpointKey::NODE, info))
            }
            RowSubject::Address(block) => {
                let before = replace(&mut self.addresses, block, row.map(address));
                before.map(|info| Row::Address(address_key(&block), info))
            }
            RowSubject::Nesting(block, side) => {
                let before = replace(&mut self.nestings, (block, side), row.map(nesting));
                before.map(|(class, around)| Row::CidrParent(class, around))
            }
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
        for (subject, row) in rows {
            match subject {
                RowSubject::Endpoint(id) => endpoints.push((id, endpoint(row))),
                RowSubject::Node => node = Some(endpoint(row).1),
                RowSubject::Address(block) => addresses.push((block, address(row))),
                RowSubject::Nesting(block, side) => nestings.push(((block, side), nesting(row))),
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

/// Replaces the value of a key by a value or by none; the value of before is returned.
fn replace<K: Ord, V>(values: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match (values.get_mut(&key), value) {
        (Some(before), Some(value)) => Some(std::mem::replace(before, value)),
        (Some(_), None) => values.remove(&key),
        (None, Some(value)) => values.insert(key, value),
        (None, None) => None,
    }
}

fn endpoint(row: Row) -> (EndpointKey, EndpointInfo) {
    match row {
        Row::Endpoint(key, info) => (key, info),
        row => unreachable!("{row:?} is no row of an endpoint"),
    }
}

fn address(row: Row) -> AddressInfo {
    match row {
        Row::Address(_, info) => info,
        row => unreachable!("{row:?} is no row of an address"),
    }
}

fn nesting(row: Row) -> (u32, u32) {
    match row {
        Row::CidrParent(class, around) => (class, around),
        row => unreachable!("{row:?} is no row of a nesting"),
    }
}
