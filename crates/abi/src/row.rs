//! Map rows as values: what `control` computes, `loader` writes to the kernel, and the native home keeps in memory.

use crate::address::{AddressInfo, AddressKey};
use crate::config::Config;
use crate::endpoint::{EndpointInfo, EndpointKey};
use crate::policy::{ClassKey, ColumnKey, GroupKey, VerdictInfo, VerdictKey};
use crate::service::{BackendInfo, BackendKey, ServiceInfo, ServiceKey};

/// One write to one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapOp {
    /// Inserts the row or replaces the one with its key, atomically for readers.
    Put(Row),
    /// Removes the row; that there is none is not an error.
    Delete(RowKey),
}

impl MapOp {
    /// The row that it puts; none where it removes one.
    pub fn put(self) -> Option<Row> {
        match self {
            Self::Put(row) => Some(row),
            Self::Delete(_) => None,
        }
    }
}

/// A row of a map that user space writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Row {
    /// Of [`crate::map::ADDRESSES`].
    Address(AddressKey, AddressInfo),
    /// Of [`crate::map::ENDPOINTS`].
    Endpoint(EndpointKey, EndpointInfo),
    /// Of [`crate::map::COLUMNS`].
    Column(ColumnKey, u32),
    /// Of [`crate::map::CIDR_PARENTS`].
    CidrParent(u32, u32),
    /// Of [`crate::map::GROUPS`].
    Group(GroupKey, u32),
    /// Of [`crate::map::CLASSES`].
    Class(ClassKey, u32),
    /// Of [`crate::map::VERDICTS`].
    Verdict(VerdictKey, VerdictInfo),
    /// Of [`crate::map::SERVICES`].
    Service(ServiceKey, ServiceInfo),
    /// Of [`crate::map::BACKENDS`].
    Backend(BackendKey, BackendInfo),
    /// Of [`crate::map::CONFIG`].
    Config(Config),
}

/// The key of a row that can be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// Of [`crate::map::ADDRESSES`].
    Address(AddressKey),
    /// Of [`crate::map::ENDPOINTS`].
    Endpoint(EndpointKey),
    /// Of [`crate::map::COLUMNS`].
    Column(ColumnKey),
    /// Of [`crate::map::CIDR_PARENTS`].
    CidrParent(u32),
    /// Of [`crate::map::GROUPS`].
    Group(GroupKey),
    /// Of [`crate::map::CLASSES`].
    Class(ClassKey),
    /// Of [`crate::map::VERDICTS`].
    Verdict(VerdictKey),
    /// Of [`crate::map::SERVICES`].
    Service(ServiceKey),
    /// Of [`crate::map::BACKENDS`].
    Backend(BackendKey),
}

impl Row {
    /// The row's key; the configuration has none, for it is never removed.
    pub fn key(&self) -> Option<RowKey> {
        Some(match *self {
            Self::Address(key, _) => RowKey::Address(key),
            Self::Endpoint(key, _) => RowKey::Endpoint(key),
            Self::Column(key, _) => RowKey::Column(key),
            Self::CidrParent(key, _) => RowKey::CidrParent(key),
            Self::Group(key, _) => RowKey::Group(key),
            Self::Class(key, _) => RowKey::Class(key),
            Self::Verdict(key, _) => RowKey::Verdict(key),
            Self::Service(key, _) => RowKey::Service(key),
            Self::Backend(key, _) => RowKey::Backend(key),
            Self::Config(_) => return None,
        })
    }
}
