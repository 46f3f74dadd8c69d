//! Map reads: entries as the values of `abi`.

use crate::sys::Table;
use abi::config::Config;
use abi::event::{COUNTER_ROWS, Counter, DropReason, LOST_DENIALS, LOST_FORWARDS, counter_index};
use abi::map::{self, Map, MapId, Writer};
use abi::policy::Direction;
use abi::row::Row;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// A map could not be read.
#[derive(Debug, thiserror::Error)]
#[error("map {map}: {source}")]
pub struct ReadError {
    /// The map.
    pub map: MapId,
    /// Why.
    pub source: io::Error,
}

/// Keys and values of a map.
pub type MapEntries<M> = Vec<(<M as Map>::Key, <M as Map>::Value)>;

/// Packets and bytes of one direction that were forwarded, or dropped for one reason, of all CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterRow {
    /// Why they were dropped; none where they were forwarded.
    pub reason: Option<DropReason>,
    /// Which way, seen from the workload.
    pub direction: Direction,
    /// How many.
    pub counter: Counter,
}

/// How many events found no room in their ring since the maps were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostCounts {
    /// Of forwarded packets.
    pub forwards: u64,
    /// Of denied packets.
    pub denials: u64,
}

/// The maps of one packet path whose entries can be read.
#[derive(Debug)]
pub(crate) struct Tables(BTreeMap<MapId, Table>);

/// The packet counters, which any thread may read.
#[derive(Clone, Debug)]
pub struct Counters(pub(crate) Arc<Tables>);

impl Counters {
    /// The counters that have counted something.
    pub fn read(&self) -> Result<Vec<CounterRow>, ReadError> {
        self.0.counters()
    }

    /// How many events found no room in their ring.
    pub fn lost_events(&self) -> Result<LostCounts, ReadError> {
        self.0.lost_events()
    }
}

impl Tables {
    /// Opens these maps, except for maps without entries.
    pub(crate) fn open<E>(
        maps: &[MapId],
        mut open: impl FnMut(MapId) -> Result<Table, E>,
    ) -> Result<Self, E> {
        let maps = maps.iter().copied().filter(|map| map.kind().has_entries());
        maps.map(|map| Ok((map, open(map)?))).collect::<Result<_, E>>().map(Self)
    }

    /// The maps that were opened.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (MapId, &Table)> {
        self.0.iter().map(|(map, table)| (*map, table))
    }

    /// One map; an error if it was not opened.
    pub(crate) fn of(&self, map: MapId) -> Result<&Table, ReadError> {
        let missing = || failed(map)(io::Error::other("this process has not opened the map"));
        self.0.get(&map).ok_or_else(missing)
    }

    /// The value of a key; none where the map has no such entry.
    pub(crate) fn lookup<M: Map>(&self, key: &M::Key) -> Result<Option<M::Value>, ReadError> {
        let mut value = M::Value::new_zeroed();
        let found = self.of(M::ID)?.lookup(key.as_bytes(), value.as_mut_bytes());
        found.map(|found| found.then_some(value)).map_err(failed(M::ID))
    }

    /// All entries of a map, in no order.
    pub(crate) fn entries<M: Map>(&self) -> Result<MapEntries<M>, ReadError> {
        let rows = self.of(M::ID)?.rows().map_err(failed(M::ID))?;
        let entry = |(key, value): (&[u8], &[u8])| (decode(key), decode(value));
        Ok(rows.iter().map(entry).collect())
    }

    /// The entries of flows, answered and not.
    pub(crate) fn connections(&self) -> Result<MapEntries<map::Conntrack>, ReadError> {
        Ok([self.entries::<map::Conntrack>()?, self.entries::<map::Openings>()?].concat())
    }

    /// Every row that `control` can have written, the configuration included, in no order.
    pub(crate) fn rows(&self) -> Result<Vec<Row>, ReadError> {
        let mut all = Vec::new();
        for &map in MapId::ALL.iter().filter(|map| map.writer() == Writer::Control) {
            let rows = self.of(map)?.rows().map_err(failed(map))?;
            let row = |(key, value): (&[u8], &[u8])| Row::decode(map, key, value);
            all.extend(rows.iter().map(|entry| row(entry).expect("the sizes of the map are those of abi")));
        }
        Ok(all)
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Result<Config, ReadError> {
        let config = self.lookup::<map::Config>(&0)?;
        config.ok_or_else(|| failed(MapId::Config)(io::ErrorKind::NotFound.into()))
    }

    /// The counters that have counted something.
    pub(crate) fn counters(&self) -> Result<Vec<CounterRow>, ReadError> {
        let mut rows = Vec::new();
        let reasons = DropReason::ALL.iter().copied().map(Some);
        for reason in std::iter::once(None).chain(reasons) {
            for direction in [Direction::Ingress, Direction::Egress] {
                let index = counter_index(reason.map_or(0, |reason| reason as u8), direction);
                debug_assert!(index < COUNTER_ROWS);
                let counter = self.counter(index)?;
                if counter.packets > 0 {
                    rows.push(CounterRow { reason, direction, counter });
                }
            }
        }
        Ok(rows)
    }

    /// How many events found no room in their ring.
    pub(crate) fn lost_events(&self) -> Result<LostCounts, ReadError> {
        let packets = |index| Ok(self.counter(index)?.packets);
        Ok(LostCounts { forwards: packets(LOST_FORWARDS)?, denials: packets(LOST_DENIALS)? })
    }

    /// One counter, summed over the CPUs.
    fn counter(&self, index: u32) -> Result<Counter, ReadError> {
        let failed = failed(MapId::Counters);
        let table = self.of(MapId::Counters)?;
        let mut cpus = vec![0; table.value_size()];
        if !table.lookup(index.as_bytes(), &mut cpus).map_err(&failed)? {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        let counters = cpus.chunks_exact(size_of::<Counter>()).map(decode::<Counter>);
        Ok(counters.fold(Counter::default(), |sum, counter| Counter {
            packets: sum.packets + counter.packets,
            bytes: sum.bytes + counter.bytes,
        }))
    }
}

/// What could not be done with a map.
pub(crate) fn failed(map: MapId) -> impl Fn(io::Error) -> ReadError {
    move |source| ReadError { map, source }
}

fn decode<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_bytes(bytes).expect("the sizes of the map are those of abi")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_was_not_opened_is_an_error() {
        let tables = Tables::open::<ReadError>(&[], |map| panic!("{map} is opened")).unwrap();
        let error = tables.lookup::<map::Endpoints>(&abi::endpoint::EndpointKey::NODE).unwrap_err();
        assert_eq!(error.map, MapId::Endpoints);
        assert!(error.to_string().ends_with("this process has not opened the map"), "{error}");
    }
}
