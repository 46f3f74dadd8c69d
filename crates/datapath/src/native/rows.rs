//! The maps of the native engine: they take the same row writes as the kernel's.

use super::arrival::ProxySockets;
use super::bytes::ByteMap;
use crate::policy::PolicyRows;
use crate::{AddressFact, Find, Keep, Maps};
use abi::Address;
use abi::capacity::Capacities;
use abi::conntrack::{ConnInfo, ConnKey};
use abi::event::{Counter, FlowEvent};
use abi::map::{self, Map, MapId, Writer};
use abi::policy::{ClassKey, ColumnKey, GroupKey, VerdictInfo, VerdictKey};
use abi::row::{MapOp, Row, RowKey};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashSet;
use zerocopy::{FromBytes, IntoBytes};

/// The maps of one node, each at its number. A map is in one of two lists: what user space writes is plain, and what packets
/// write is behind cells, since packets change it through a shared reference.
#[derive(Debug)]
pub struct Tables {
    written: Vec<ByteMap>,
    kept: Vec<RefCell<ByteMap>>,
    sockets: ProxySockets,
    connection_limit: Option<usize>,
    events: RefCell<Vec<FlowEvent>>,
    /// Facts of addresses, with their epochs.
    facts: RefCell<HashSet<(AddressFact, Address, u32)>>,
    /// Ports of the node's own sockets, by protocol.
    ports: HashSet<(u8, u16)>,
    now: Cell<u64>,
}

impl Default for Tables {
    fn default() -> Self {
        Self::new()
    }
}

impl Tables {
    /// Maps without entries, and a configuration of zeros. What user space writes has no limit.
    pub fn new() -> Self {
        Self::with_capacities(&Capacities::DEFAULT)
    }

    /// The same with these capacities of the maps that packets write.
    pub fn with_capacities(capacities: &Capacities) -> Self {
        let capacity = |map: MapId| match map.writer() {
            Writer::Control if map.kind().has_capacity() => u32::MAX,
            _ => capacities.of(map),
        };
        let map = |&map: &MapId| ByteMap::new(map, capacity(map));
        Self {
            written: MapId::ALL.iter().map(map).collect(),
            kept: MapId::ALL.iter().map(map).map(RefCell::new).collect(),
            sockets: ProxySockets::default(),
            connection_limit: None,
            events: RefCell::default(),
            facts: RefCell::default(),
            ports: HashSet::new(),
            now: Cell::default(),
        }
    }

    /// Does one row write.
    pub fn apply(&mut self, op: MapOp) {
        match op {
            MapOp::Put(row) => self.put(&row),
            MapOp::Delete(key) => self.delete(&key),
        }
    }

    /// Does row writes in order.
    pub fn apply_all(&mut self, ops: impl IntoIterator<Item = MapOp>) {
        ops.into_iter().for_each(|op| self.apply(op));
    }

    /// Sets what [`crate::to_proxy`] finds; without this the proxy has no sockets.
    pub fn set_proxy_sockets(&mut self, sockets: ProxySockets) {
        self.sockets = sockets;
    }

    /// Takes a port as one of the node's own sockets does.
    pub fn take_port(&mut self, protocol: u8, port: u16) {
        self.ports.insert((protocol, port));
    }

    /// From `limit` flows on, answered or not, no new one is remembered.
    pub fn set_connection_limit(&mut self, limit: usize) {
        self.connection_limit = Some(limit);
    }

    /// Forgets what packets wrote: connections, choices of backends, fragments, counters.
    pub fn forget(&mut self) {
        self.kept.iter_mut().for_each(|map| map.get_mut().clear());
        self.facts.get_mut().clear();
    }

    /// The remembered flows, answered and not, by key.
    pub fn connections(&self) -> Vec<(ConnKey, ConnInfo)> {
        let mut all = [self.entries(map::Conntrack), self.entries(map::Openings)].concat();
        all.sort_by_key(|&(key, _)| key);
        all
    }

    /// The entries of a map that packets write, by key.
    pub fn entries<M: Map>(&self, _map: M) -> Vec<(M::Key, M::Value)> {
        let map = self.kept[M::ID as usize].borrow();
        let mut entries: Vec<_> = map.iter().map(|(key, value)| (copy(key), copy(value))).collect();
        entries.sort_by_key(|&(key, _)| key);
        entries
    }

    /// The counters that moved, by index (see [`abi::event::counter_index`]).
    pub fn counters(&self) -> Vec<(u32, Counter)> {
        let map = self.kept[MapId::Counters as usize].borrow();
        let counter = |index: u32| Some((index, copy::<Counter>(map.lookup(index.as_bytes())?)));
        (0..abi::event::COUNTER_ROWS).filter_map(counter).filter(|(_, counter)| counter.packets > 0).collect()
    }

    pub(super) fn set_now(&self, now: u64) {
        self.now.set(now);
    }

    /// The proxy's sockets and the port that it listens at.
    pub(super) fn proxy_sockets(&self) -> (ProxySockets, [u8; 2]) {
        (self.sockets, self.config().map_or([0; 2], |config| config.proxy_port))
    }

    /// The ports of the node's own sockets, by protocol.
    pub(super) fn ports(&self) -> HashSet<(u8, u16)> {
        self.ports.clone()
    }

    pub(super) fn take_events(&self) -> Vec<FlowEvent> {
        self.events.take()
    }

    fn put(&mut self, row: &Row) {
        row.encode(|map, key, value| self.written[map as usize].update(key, value))
            .expect("what user space writes has no limit");
    }

    fn delete(&mut self, key: &RowKey) {
        key.encode(|map, key| self.written[map as usize].delete(key));
    }
}

impl<M: Map> Find<M> for Tables {
    #[inline]
    fn find(&self, key: &M::Key) -> Option<&M::Value> {
        let value = self.written[M::ID as usize].lookup(key.as_bytes())?;
        Some(M::Value::ref_from_bytes(value).expect(ALIGNED))
    }
}

impl<M: Map> Keep<M> for Tables {
    type Entry<'a> = RefMut<'a, M::Value>;

    fn find_mut(&self, key: &M::Key) -> Option<RefMut<'_, M::Value>> {
        let map = self.kept[M::ID as usize].borrow_mut();
        let value = RefMut::filter_map(map, |map| map.lookup_mut(key.as_bytes())).ok()?;
        Some(RefMut::map(value, |value| M::Value::mut_from_bytes(value).expect(ALIGNED)))
    }

    fn insert(&self, key: &M::Key, value: &M::Value) -> bool {
        let mut map = self.kept[M::ID as usize].borrow_mut();
        let limit = self.connection_limit.filter(|_| matches!(M::ID, MapId::Conntrack | MapId::Openings));
        if limit.is_some_and(|limit| map.len() >= limit && map.lookup(key.as_bytes()).is_none()) {
            return false;
        }
        map.update(key.as_bytes(), value.as_bytes()).is_ok()
    }

    fn insert_new(&self, key: &M::Key, value: &M::Value) -> bool {
        Keep::<M>::find_mut(self, key).is_none() && Keep::<M>::insert(self, key, value)
    }

    fn remove(&self, key: &M::Key) {
        self.kept[M::ID as usize].borrow_mut().delete(key.as_bytes());
    }
}

impl PolicyRows for Tables {
    fn column(&self, key: &ColumnKey) -> Option<u32> {
        self.lookup(map::Columns, key).copied()
    }

    fn cidr_parent(&self, class: u32) -> Option<u32> {
        self.lookup(map::CidrParents, &class).copied()
    }

    fn group(&self, key: &GroupKey) -> Option<u32> {
        self.lookup(map::Groups, key).copied()
    }

    fn class(&self, key: &ClassKey) -> Option<u32> {
        self.lookup(map::Classes, key).copied()
    }

    fn verdict(&self, key: &VerdictKey) -> Option<VerdictInfo> {
        self.lookup(map::Verdicts, key).copied()
    }
}

impl Maps for Tables {
    fn clock(&self) -> (u64, u32) {
        let now = self.now.get();
        (now, (now / 1_000_000_000) as u32)
    }

    fn count(&self, index: u32, bytes: u32) {
        let counter = self.lookup_mut(map::Counters, &index);
        let mut counter = counter.unwrap_or_else(|| panic!("counter {index} is outside the map"));
        counter.packets += 1;
        counter.bytes += u64::from(bytes);
    }

    fn report(&self, event: &FlowEvent) {
        self.events.borrow_mut().push(*event);
    }

    fn knows(&self, fact: AddressFact, address: &Address, epoch: u32) -> bool {
        self.facts.borrow().contains(&(fact, *address, epoch))
    }

    fn remember(&self, fact: AddressFact, address: &Address, epoch: u32) {
        self.facts.borrow_mut().insert((fact, *address, epoch));
    }
}

/// Why bytes of a map can be seen as its values.
const ALIGNED: &str = "a map's values have its value size and are aligned to eight bytes";

fn copy<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_bytes(bytes).expect("an entry has the sizes of its map")
}
