//! Maps in memory that take the same row writes as the kernel's.

use super::ProxySockets;
use crate::Maps;
use crate::policy::PolicyRows;
use abi::Address;
use abi::address::{AddressInfo, AddressKey};
use abi::config::Config;
use abi::conntrack::{ConnInfo, ConnKey, FragmentInfo, FragmentKey};
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::event::{COUNTER_ROWS, Counter, FlowEvent};
use abi::policy::{ClassKey, ColumnKey, GroupKey, VerdictInfo, VerdictKey};
use abi::row::{MapOp, Row, RowKey};
use abi::service::{BackendInfo, BackendKey, ServiceInfo, ServiceKey};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;

/// The maps of one node. What user space writes is plain; what packets write is behind cells, as [`Maps`] asks.
#[derive(Debug, Default)]
pub struct Tables {
    addresses: HashMap<AddressKey, AddressInfo>,
    endpoints: HashMap<EndpointKey, EndpointInfo>,
    columns: HashMap<ColumnKey, u32>,
    cidr_parents: HashMap<u32, u32>,
    groups: HashMap<GroupKey, u32>,
    classes: HashMap<ClassKey, u32>,
    verdicts: HashMap<VerdictKey, VerdictInfo>,
    services: HashMap<ServiceKey, ServiceInfo>,
    backends: HashMap<BackendKey, BackendInfo>,
    config: Config,
    sockets: ProxySockets,
    connections: RefCell<HashMap<ConnKey, ConnInfo>>,
    connection_limit: Option<usize>,
    fragments: RefCell<HashMap<FragmentKey, FragmentInfo>>,
    counters: RefCell<HashMap<u32, Counter>>,
    events: RefCell<Vec<FlowEvent>>,
    now: Cell<u64>,
}

impl Tables {
    /// Maps without rows, and a configuration of zeros.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does one row write.
    pub fn apply(&mut self, op: MapOp) {
        match op {
            MapOp::Put(row) => self.put(row),
            MapOp::Delete(key) => self.delete(key),
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

    /// From `limit` connections on, no new one is remembered.
    pub fn set_connection_limit(&mut self, limit: usize) {
        self.connection_limit = Some(limit);
    }

    /// Forgets what packets wrote: connections, fragments, counters.
    pub fn forget(&mut self) {
        self.connections.get_mut().clear();
        self.fragments.get_mut().clear();
        self.counters.get_mut().clear();
    }

    /// The remembered connections, by key.
    pub fn connections(&self) -> Vec<(ConnKey, ConnInfo)> {
        let mut rows: Vec<_> = self.connections.borrow().iter().map(|(&key, &row)| (key, row)).collect();
        rows.sort_by_key(|&(key, _)| key);
        rows
    }

    /// The counters that moved, by row (see [`abi::event::counter_index`]).
    pub fn counters(&self) -> Vec<(u32, Counter)> {
        let mut rows: Vec<_> = self.counters.borrow().iter().map(|(&index, &row)| (index, row)).collect();
        rows.sort_by_key(|&(index, _)| index);
        rows
    }

    pub(super) fn set_now(&self, now: u64) {
        self.now.set(now);
    }

    /// The proxy's sockets and the port that it listens at.
    pub(super) fn proxy_sockets(&self) -> (ProxySockets, [u8; 2]) {
        (self.sockets, self.config().map_or([0; 2], |config| config.proxy_port))
    }

    pub(super) fn take_events(&self) -> Vec<FlowEvent> {
        self.events.take()
    }

    fn put(&mut self, row: Row) {
        match row {
            Row::Address(key, value) => drop(self.addresses.insert(key, value)),
            Row::Endpoint(key, value) => drop(self.endpoints.insert(key, value)),
            Row::Column(key, value) => drop(self.columns.insert(key, value)),
            Row::CidrParent(key, value) => drop(self.cidr_parents.insert(key, value)),
            Row::Group(key, value) => drop(self.groups.insert(key, value)),
            Row::Class(key, value) => drop(self.classes.insert(key, value)),
            Row::Verdict(key, value) => drop(self.verdicts.insert(key, value)),
            Row::Service(key, value) => drop(self.services.insert(key, value)),
            Row::Backend(key, value) => drop(self.backends.insert(key, value)),
            Row::Config(value) => self.config = value,
        }
    }

    fn delete(&mut self, key: RowKey) {
        match key {
            RowKey::Address(key) => drop(self.addresses.remove(&key)),
            RowKey::Endpoint(key) => drop(self.endpoints.remove(&key)),
            RowKey::Column(key) => drop(self.columns.remove(&key)),
            RowKey::CidrParent(key) => drop(self.cidr_parents.remove(&key)),
            RowKey::Group(key) => drop(self.groups.remove(&key)),
            RowKey::Class(key) => drop(self.classes.remove(&key)),
            RowKey::Verdict(key) => drop(self.verdicts.remove(&key)),
            RowKey::Service(key) => drop(self.services.remove(&key)),
            RowKey::Backend(key) => drop(self.backends.remove(&key)),
        }
    }
}

impl PolicyRows for Tables {
    fn column(&self, key: &ColumnKey) -> Option<u32> {
        self.columns.get(key).copied()
    }

    fn cidr_parent(&self, class: u32) -> Option<u32> {
        self.cidr_parents.get(&class).copied()
    }

    fn group(&self, key: &GroupKey) -> Option<u32> {
        self.groups.get(key).copied()
    }

    fn class(&self, key: &ClassKey) -> Option<u32> {
        self.classes.get(key).copied()
    }

    fn verdict(&self, key: &VerdictKey) -> Option<VerdictInfo> {
        let found = (VerdictKey::ANY_PROTOCOL..=key.prefix_bits).rev().find_map(|bits| {
            let ports = leading_ones(bits.saturating_sub(VerdictKey::ANY_PORT));
            self.verdicts.get(&VerdictKey {
                prefix_bits: bits,
                // Rows end after the direction, after the protocol, or within the port; never in between.
                protocol: if bits >= VerdictKey::ANY_PORT { key.protocol } else { 0 },
                port: (u16::from_be_bytes(key.port) & (ports >> 112) as u16).to_be_bytes(),
                ..*key
            })
        });
        found.copied()
    }
}

impl Maps for Tables {
    type Connection<'a> = RefMut<'a, ConnInfo>;

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn config(&self) -> Option<&Config> {
        Some(&self.config)
    }

    fn endpoint(&self, key: &EndpointKey) -> Option<&EndpointInfo> {
        self.endpoints.get(key)
    }

    fn address(&self, key: &AddressKey) -> Option<&AddressInfo> {
        (0..=key.prefix_bits).rev().find_map(|bits| {
            let address = u128::from_be_bytes(key.address.0) & leading_ones(bits);
            self.addresses.get(&AddressKey { prefix_bits: bits, address: Address(address.to_be_bytes()) })
        })
    }

    fn service(&self, key: &ServiceKey) -> Option<&ServiceInfo> {
        self.services.get(key)
    }

    fn backend(&self, key: &BackendKey) -> Option<&BackendInfo> {
        self.backends.get(key)
    }

    fn connection(&self, key: &ConnKey) -> Option<RefMut<'_, ConnInfo>> {
        RefMut::filter_map(self.connections.borrow_mut(), |rows| rows.get_mut(key)).ok()
    }

    fn remember(&self, key: &ConnKey, row: &ConnInfo) -> bool {
        let mut rows = self.connections.borrow_mut();
        if self.connection_limit.is_some_and(|limit| rows.len() >= limit && !rows.contains_key(key)) {
            return false;
        }
        rows.insert(*key, *row);
        true
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentInfo> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, ports: &FragmentInfo) -> bool {
        self.fragments.borrow_mut().insert(*key, *ports);
        true
    }

    fn count(&self, index: u32, bytes: u32) {
        assert!(index < COUNTER_ROWS, "counter row {index} is outside the map");
        let mut rows = self.counters.borrow_mut();
        let row = rows.entry(index).or_default();
        row.packets += 1;
        row.bytes += u64::from(bytes);
    }

    fn report(&self, event: FlowEvent) {
        self.events.borrow_mut().push(event);
    }
}

/// A 128-bit mask of the first `bits` bits.
fn leading_ones(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}
