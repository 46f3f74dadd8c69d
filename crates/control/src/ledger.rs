//! The rows last planned for the subjects that have one row each.
//!
//! A change marks such a subject; its row is computed when the step settles, and compared with the ledger. So nothing needs
//! to be noted before a change. Rows of groups, columns, classes and backends are not kept here: their owners know which of
//! them change.

use abi::address::AddressInfo;
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::row::Row;
use identity::SharedMap;
use policy::cidr::{AddressSide, address_key};
use policy::rule::Cidr;

/// Something that has at most one row, which follows from the world as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RowSubject {
    /// The endpoint row of a workload, or of the node's own processes ([`crate::change::NODE`]), by its number.
    Endpoint(u32),
    /// The address row of a block, or of one address.
    Address(Cidr),
    /// The row that names the block around a block.
    Nesting(Cidr, AddressSide),
    /// The row of a block whose addresses see the workloads' own addresses.
    Unmasqueraded(Cidr),
}

/// A subject, and the part of its row that does not follow from the subject; none if the subject has no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Endpoint(u32, Option<(EndpointKey, EndpointInfo)>),
    Address(Cidr, Option<AddressInfo>),
    /// A block's class, and the class of the block around it.
    Nesting((Cidr, AddressSide), Option<(u32, u32)>),
    Unmasqueraded(Cidr, Option<u32>),
}

/// The row of each subject that has one. A node with many workloads has many of them, so they are kept by kind, without the
/// keys that follow from the subjects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    endpoints: SharedMap<u32, (EndpointKey, EndpointInfo)>,
    addresses: SharedMap<Cidr, AddressInfo>,
    nestings: SharedMap<(Cidr, AddressSide), (u32, u32)>,
    unmasqueraded: SharedMap<Cidr, u32>,
}

impl Entry {
    /// The row.
    pub(crate) fn row(&self) -> Option<Row> {
        match self {
            Self::Endpoint(_, row) => row.map(|(key, info)| Row::Endpoint(key, info)),
            Self::Address(block, row) => row.map(|info| Row::Address(address_key(block), info)),
            Self::Nesting(_, row) => row.map(|(class, around)| Row::CidrParent(class, around)),
            Self::Unmasqueraded(block, row) => row.map(|value| Row::Unmasqueraded(address_key(block), value)),
        }
    }
}

impl Ledger {
    /// The endpoint rows, by the number of the workload.
    pub(crate) fn endpoints(&self) -> &SharedMap<u32, (EndpointKey, EndpointInfo)> {
        &self.endpoints
    }

    /// The values of the address rows.
    pub(crate) fn addresses(&self) -> &SharedMap<Cidr, AddressInfo> {
        &self.addresses
    }

    /// Replaces the entry of a subject; the entry before is returned.
    pub(crate) fn enter(&mut self, entry: Entry) -> Entry {
        match entry {
            Entry::Endpoint(id, row) => Entry::Endpoint(id, replace(&mut self.endpoints, id, row)),
            Entry::Address(block, row) => Entry::Address(block, replace(&mut self.addresses, block, row)),
            Entry::Nesting(block, row) => Entry::Nesting(block, replace(&mut self.nestings, block, row)),
            Entry::Unmasqueraded(block, row) => {
                Entry::Unmasqueraded(block, replace(&mut self.unmasqueraded, block, row))
            }
        }
    }

    /// The rows.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        let endpoints = self.endpoints.iter().map(|(id, row)| Entry::Endpoint(*id, Some(*row)));
        let addresses = self.addresses.iter().map(|(block, row)| Entry::Address(*block, Some(*row)));
        let nestings = self.nestings.iter().map(|(block, row)| Entry::Nesting(*block, Some(*row)));
        let unmasqueraded =
            self.unmasqueraded.iter().map(|(block, row)| Entry::Unmasqueraded(*block, Some(*row)));
        endpoints.chain(addresses).chain(nestings).chain(unmasqueraded).filter_map(|entry| entry.row())
    }
}

impl FromIterator<Entry> for Ledger {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let (mut endpoints, mut addresses, mut nestings) = (Vec::new(), Vec::new(), Vec::new());
        let mut unmasqueraded = Vec::new();
        for entry in entries {
            match entry {
                Entry::Endpoint(id, row) => endpoints.extend(row.map(|row| (id, row))),
                Entry::Address(block, row) => addresses.extend(row.map(|row| (block, row))),
                Entry::Nesting(block, row) => nestings.extend(row.map(|row| (block, row))),
                Entry::Unmasqueraded(block, row) => unmasqueraded.extend(row.map(|row| (block, row))),
            }
        }
        // A map that is made of all its entries at once has full nodes; one that grows has nodes half empty.
        Self {
            endpoints: endpoints.into_iter().collect(),
            addresses: addresses.into_iter().collect(),
            nestings: nestings.into_iter().collect(),
            unmasqueraded: unmasqueraded.into_iter().collect(),
        }
    }
}

fn replace<K: Clone + Ord, V: Clone>(rows: &mut SharedMap<K, V>, key: K, row: Option<V>) -> Option<V> {
    match row {
        Some(row) => rows.insert(key, row),
        None => rows.remove(&key),
    }
}
