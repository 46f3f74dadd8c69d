//! Map reads: rows as values again, flows, counters and the configuration.

use crate::loaded::Loaded;
use crate::sys::Table;
use abi::config::Config;
use abi::conntrack::{ConnInfo, ConnKey};
use abi::event::{COUNTER_ROWS, Counter, DropReason, counter_index};
use abi::map;
use abi::policy::Direction;
use abi::row::Row;
use std::borrow::Borrow;
use std::io;
use zerocopy::{FromBytes, IntoBytes};

/// A map could not be read.
#[derive(Debug, thiserror::Error)]
#[error("map {map}: {source}")]
pub struct ReadError {
    /// The map.
    pub map: &'static str,
    /// Why.
    pub source: io::Error,
}

/// Packets and bytes that met one end in one direction, of all CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterRow {
    /// Why they were dropped; none where they were forwarded.
    pub reason: Option<DropReason>,
    /// Which way, seen from the workload.
    pub direction: Direction,
    /// How many.
    pub counter: Counter,
}

impl Loaded {
    /// Every row that [`Self::apply`] can write, the configuration included, in no order.
    pub fn rows(&self) -> Result<Vec<Row>, ReadError> {
        rows(|map| Ok(self.table(map)))
    }

    /// Every flow that is remembered, in no order, expired ones included.
    pub fn connections(&self) -> Result<Vec<(ConnKey, ConnInfo)>, ReadError> {
        connections(self.table(map::CONNTRACK))
    }

    /// Forgets a flow; false where it was not remembered.
    pub fn forget(&self, flow: &ConnKey) -> Result<bool, ReadError> {
        let deleted = self.table(map::CONNTRACK).delete(flow.as_bytes());
        deleted.map_err(|source| ReadError { map: map::CONNTRACK, source })
    }

    /// The configuration in force.
    pub fn config(&self) -> Result<Config, ReadError> {
        let value = self.value(map::CONFIG, 0)?;
        Ok(decode(&value))
    }

    /// The counters that have counted something.
    pub fn counters(&self) -> Result<Vec<CounterRow>, ReadError> {
        let mut rows = Vec::new();
        let reasons = DropReason::ALL.iter().copied().map(Some);
        for reason in std::iter::once(None).chain(reasons) {
            for direction in [Direction::Ingress, Direction::Egress] {
                let index = counter_index(reason.map_or(0, |reason| reason as u8), direction);
                debug_assert!(index < COUNTER_ROWS);
                let counter = sum(&self.value(map::COUNTERS, index)?);
                if counter.packets > 0 {
                    rows.push(CounterRow { reason, direction, counter });
                }
            }
        }
        Ok(rows)
    }

    fn value(&self, map: &'static str, index: u32) -> Result<Vec<u8>, ReadError> {
        let value = self.table(map).lookup(index.as_bytes());
        value
            .and_then(|value| value.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(|source| ReadError { map, source })
    }
}

/// Every row that can be written, the configuration included, of the maps that `table` gives by name.
pub(crate) fn rows<T: Borrow<Table>>(
    table: impl Fn(&'static str) -> Result<T, ReadError>,
) -> Result<Vec<Row>, ReadError> {
    let mut rows = Vec::new();
    read(map::CONFIG, table(map::CONFIG)?.borrow(), &mut rows, |_: u32, config| Row::Config(config))?;
    read(map::ADDRESSES, table(map::ADDRESSES)?.borrow(), &mut rows, Row::Address)?;
    read(map::ENDPOINTS, table(map::ENDPOINTS)?.borrow(), &mut rows, Row::Endpoint)?;
    read(map::COLUMNS, table(map::COLUMNS)?.borrow(), &mut rows, Row::Column)?;
    read(map::CIDR_PARENTS, table(map::CIDR_PARENTS)?.borrow(), &mut rows, Row::CidrParent)?;
    read(map::GROUPS, table(map::GROUPS)?.borrow(), &mut rows, Row::Group)?;
    read(map::CLASSES, table(map::CLASSES)?.borrow(), &mut rows, Row::Class)?;
    read(map::VERDICTS, table(map::VERDICTS)?.borrow(), &mut rows, Row::Verdict)?;
    read(map::SERVICES, table(map::SERVICES)?.borrow(), &mut rows, Row::Service)?;
    read(map::BACKENDS, table(map::BACKENDS)?.borrow(), &mut rows, Row::Backend)?;
    Ok(rows)
}

/// Every flow of the connection table.
pub(crate) fn connections(table: &Table) -> Result<Vec<(ConnKey, ConnInfo)>, ReadError> {
    let mut flows = Vec::new();
    read(map::CONNTRACK, table, &mut flows, |key, info| (key, info))?;
    Ok(flows)
}

fn read<K: FromBytes, V: FromBytes, R>(
    map: &'static str,
    table: &Table,
    into: &mut Vec<R>,
    row: impl Fn(K, V) -> R,
) -> Result<(), ReadError> {
    let rows = table.rows().map_err(|source| ReadError { map, source })?;
    let (keys, values) = (rows.keys.chunks_exact(size_of::<K>()), rows.values.chunks_exact(size_of::<V>()));
    into.extend(keys.zip(values).map(|(key, value)| row(decode(key), decode(value))));
    Ok(())
}

fn decode<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_bytes(bytes).expect("the spec was checked for the sizes of abi")
}

fn sum(cpus: &[u8]) -> Counter {
    cpus.chunks_exact(size_of::<Counter>()).map(decode::<Counter>).fold(Counter::default(), |sum, counter| {
        Counter { packets: sum.packets + counter.packets, bytes: sum.bytes + counter.bytes }
    })
}
