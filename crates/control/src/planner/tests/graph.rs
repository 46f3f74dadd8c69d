//! Random graphs of rows that change as owners of rows change them, for the test of the planner.

use abi::Address;
use abi::address::{AddressInfo, AddressKey};
use abi::endpoint::{self, EndpointInfo, EndpointKey, flag};
use abi::identity::{FIRST_ALLOCATED, FIRST_NAMESPACE, WORLD};
use abi::policy::{
    ClassKey, ColumnKey, FIRST_BLOCK, GroupKey, VerdictInfo, VerdictKey, WHOLE_INSIDE, WHOLE_WORLD,
};
use abi::row::{Row, RowKey};
use abi::service::{BackendInfo, BackendKey, ServiceInfo, ServiceKey};
use enforcement::RowChanges;
use enforcement::Rows;
use policy::generate::Random;
use std::collections::BTreeSet;

pub(super) const INTERFACES: u32 = 3;
const PEERS: u32 = 5;
const NAMESPACES: u32 = 2;
const ADDRESSES: u8 = 6;

/// The rows of a small node, and what the last changes did to them.
pub(super) struct Graph {
    pub(super) rows: Rows,
    pub(super) changes: RowChanges,
    random: Random,
    /// The last number that was given to anything.
    last: u32,
    /// The grouping of each column, by which its groups are numbered; and how many groups each grouping has.
    columns: Vec<(u32, u32)>,
    groups: Vec<(u32, u32)>,
}

pub(super) fn host(last: u8) -> AddressKey {
    AddressKey::host(Address::from_v4([10, 0, 0, last]))
}

/// The keys of all addresses that a packet may have.
pub(super) fn hosts() -> impl Iterator<Item = AddressKey> {
    (0..ADDRESSES).map(host)
}

pub(super) fn services() -> impl Iterator<Item = ServiceKey> {
    (0..2).map(|last| ServiceKey {
        address: host(100 + last).address,
        port: [0, 80],
        protocol: 6,
        padding: 0,
    })
}

impl Graph {
    /// A node with some of everything.
    pub(super) fn new(seed: u64) -> Self {
        let random = Random::new(seed);
        let mut graph = Self {
            rows: Rows::new(),
            changes: RowChanges::default(),
            random,
            last: FIRST_BLOCK,
            columns: Vec::new(),
            groups: Vec::new(),
        };
        let world = AddressKey { prefix_bits: 96, address: host(0).address };
        let world = AddressKey { address: Address::from_v4([0; 4]), ..world };
        graph
            .put(Row::Address(world, AddressInfo { identity: WORLD, peer: WORLD, ..AddressInfo::default() }));
        for _ in 0..12 {
            graph.change();
        }
        graph.sweep();
        graph.changes = RowChanges::default();
        graph
    }

    /// Several changes at once; what nothing names any more goes.
    pub(super) fn step(&mut self) {
        self.changes = RowChanges::default();
        for _ in 0..=self.random.below(3) {
            self.change();
        }
        self.sweep();
    }

    /// All under new numbers, as after a restart.
    pub(super) fn restart(&mut self) {
        for interface in 0..INTERFACES {
            self.repolicy(interface, true);
        }
        self.step();
    }

    /// Rows that a step left behind which failed half way, some of them in force.
    pub(super) fn litter(&mut self) {
        for _ in 0..self.random.below(8) {
            let (policies, columns) = (self.policies(), self.columns.clone());
            let number = 1 + self.random.below(self.last as usize) as u32;
            let row = match self.random.below(5) {
                0 => Row::Group(
                    GroupKey { grouping: self.any_grouping().unwrap_or(number), peer: self.peer() },
                    2,
                ),
                1 if !policies.is_empty() => {
                    let (policy, _) = self.random.pick(&policies);
                    Row::Column(ColumnKey { policy, cidr: self.block().unwrap_or(number) }, number)
                }
                2 if !columns.is_empty() => {
                    let (column, _) = self.random.pick(&columns);
                    Row::Class(ClassKey { column, group: self.random.below(5) as u32 }, number)
                }
                3 => Row::CidrParent(number.max(FIRST_BLOCK), FIRST_BLOCK + self.last),
                _ => verdict(number, self.random.chance(50), number),
            };
            self.rows.entry(row.key().unwrap()).or_insert(row);
        }
    }

    fn change(&mut self) {
        let interface = self.random.below(INTERFACES as usize) as u32;
        match self.random.below(16) {
            0 | 1 => self.repolicy(interface, false),
            2 => self.repolicy(interface, true),
            3 => self.remove(RowKey::Endpoint(EndpointKey { interface })),
            4 | 15 => self.switch_column(),
            5 | 6 => self.regroup(),
            7 | 8 => self.readdress(),
            9 => self.divide(),
            10 => self.insert_block(),
            11 => self.join(interface),
            // A new version of a policy, which tells more peers apart.
            12 | 13 => {
                self.regroup();
                (0..INTERFACES).for_each(|interface| self.repolicy(interface, false));
            }
            _ => self.reserve(),
        }
    }

    fn put(&mut self, row: Row) {
        let key = row.key().unwrap();
        match self.rows.insert(key, row) {
            Some(old) if old == row => return,
            old => self.changes.remove(old),
        }
        self.changes.put([row]);
    }

    fn remove(&mut self, key: RowKey) {
        let old = self.rows.remove(&key);
        self.changes.remove(old);
    }

    fn next(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    /// A new policy for an endpoint, with its own grouping or a new one.
    fn repolicy(&mut self, interface: u32, is_new_grouping: bool) {
        let key = EndpointKey { interface };
        let known = match self.rows.get(&RowKey::Endpoint(key)) {
            Some(Row::Endpoint(_, info)) => Some(info.grouping.number()).filter(|_| !is_new_grouping),
            _ => self.any_grouping().filter(|_| !is_new_grouping),
        };
        let grouping = known.unwrap_or_else(|| self.new_grouping());
        let policy = self.next();
        let blocks: Vec<u32> = self.blocks().into_iter().filter(|_| self.random.chance(40)).collect();
        for cidr in [WHOLE_INSIDE, WHOLE_WORLD].into_iter().chain(blocks) {
            let column = self.new_column(grouping);
            self.put(Row::Column(ColumnKey { policy, cidr }, column));
        }
        let grouping = endpoint::GroupingNumber::new(grouping);
        let info = EndpointInfo { policy, grouping, flags: flag::ENFORCE_INGRESS, ..EndpointInfo::default() };
        self.put(Row::Endpoint(key, info));
    }

    /// An endpoint comes under the policy of another.
    fn join(&mut self, interface: u32) {
        let other = EndpointKey { interface: (interface + 1) % INTERFACES };
        if let Some(Row::Endpoint(_, info)) = self.rows.get(&RowKey::Endpoint(other)).copied() {
            self.put(Row::Endpoint(EndpointKey { interface }, info));
        }
    }

    fn new_grouping(&mut self) -> u32 {
        let (grouping, count) = (self.next(), 2 + self.random.below(4) as u32);
        self.groups.push((grouping, count));
        let namespaces = (0..NAMESPACES).map(|number| FIRST_NAMESPACE + number);
        for peer in (0..PEERS).map(|number| FIRST_ALLOCATED + number).chain(namespaces) {
            if self.random.chance(50) {
                let group = self.random.below(count as usize) as u32;
                self.put(Row::Group(GroupKey { grouping, peer }, group));
            }
        }
        grouping
    }

    fn new_column(&mut self, grouping: u32) -> u32 {
        let column = self.next();
        self.columns.push((column, grouping));
        for group in 0..self.count(grouping) {
            if self.random.chance(70) {
                let class = self.class();
                self.put(Row::Class(ClassKey { column, group }, class));
            }
        }
        column
    }

    /// The class that says nothing, one that is in force, or a new one.
    fn class(&mut self) -> u32 {
        let known: Vec<u32> = self
            .rows
            .values()
            .filter_map(|row| if let Row::Class(_, class) = row { Some(*class) } else { None })
            .collect();
        match self.random.below(10) {
            0 => VerdictKey::SILENT,
            1..5 if !known.is_empty() => self.random.pick(&known),
            _ => {
                let class = self.next();
                let is_allowed = self.random.chance(50);
                self.put(verdict(class, is_allowed, class));
                class
            }
        }
    }

    fn switch_column(&mut self) {
        let policies = self.policies();
        if policies.is_empty() {
            return;
        }
        let (policy, grouping) = self.random.pick(&policies);
        let whole = self.random.pick(&[WHOLE_INSIDE, WHOLE_WORLD]);
        let cidr = self.block().filter(|_| self.random.chance(60)).unwrap_or(whole);
        let key = ColumnKey { policy, cidr };
        if self.random.chance(30) {
            return self.remove(RowKey::Column(key));
        }
        let column = self.new_column(grouping);
        self.put(Row::Column(key, column));
    }

    /// Moves a peer or a namespace to another group of a grouping. What the columns say to a new group is what they said
    /// to the group of before. Peers of a namespace that stay behind get rows of their own.
    fn regroup(&mut self) {
        let Some(grouping) = self.any_grouping() else { return };
        let peer = self.peer();
        let key = GroupKey { grouping, peer };
        let before = self.group_of(grouping, peer);
        let group = match self.random.below(3) {
            0 => self.new_group(grouping, before),
            1 => self.random.below(self.count(grouping) as usize) as u32,
            _ => return self.remove(RowKey::Group(key)),
        };
        if peer >= FIRST_NAMESPACE && self.random.chance(50) {
            for member in (0..PEERS)
                .map(|number| FIRST_ALLOCATED + number)
                .filter(|member| namespace_of(*member) == peer)
            {
                let own = GroupKey { grouping, peer: member };
                if !self.rows.contains_key(&RowKey::Group(own)) {
                    self.put(Row::Group(own, before));
                }
            }
        }
        self.put(Row::Group(key, group));
    }

    fn new_group(&mut self, grouping: u32, before: u32) -> u32 {
        let group = self.count(grouping);
        self.groups.retain(|(number, _)| *number != grouping);
        self.groups.push((grouping, group + 1));
        for (column, _) in self.columns.clone().into_iter().filter(|(_, of)| *of == grouping) {
            let class = |group| match self.rows.get(&RowKey::Class(ClassKey { column, group })) {
                Some(Row::Class(_, class)) => Some(*class),
                _ => None,
            };
            let is_kept =
                self.rows.values().any(|row| matches!(row, Row::Column(_, number) if *number == column));
            if let (true, Some(class)) = (is_kept, class(before).or(class(1))) {
                self.put(Row::Class(ClassKey { column, group }, class));
            }
        }
        group
    }

    fn readdress(&mut self) {
        let key = host(self.random.below(ADDRESSES as usize) as u8);
        if self.random.chance(40) {
            return self.remove(RowKey::Address(key));
        }
        let peer = FIRST_ALLOCATED + self.random.below(PEERS as usize) as u32;
        let cidr = self.block().filter(|_| self.random.chance(60)).unwrap_or(0);
        let info = AddressInfo {
            identity: peer,
            peer,
            namespace: namespace_of(peer),
            cidr,
            ..AddressInfo::default()
        };
        self.put(Row::Address(key, info));
    }

    /// A new block within another: its addresses, or those of the world, are in its class.
    fn divide(&mut self) {
        let (around, class) = (self.block().unwrap_or(0), self.next().max(FIRST_BLOCK));
        if around != 0 {
            self.put(Row::CidrParent(class, around));
        }
        let mut within = Vec::new();
        for row in self.rows.values() {
            if let Row::Address(key, info) = row
                && info.cidr == around
                && key.prefix_bits == 128
            {
                within.push(Row::Address(*key, AddressInfo { cidr: class, ..*info }));
            }
        }
        if within.is_empty() || self.random.chance(50) {
            let prefix_bits = self.random.pick(&[120, 126]);
            let info = AddressInfo { identity: WORLD, peer: WORLD, cidr: class, ..AddressInfo::default() };
            return self.put(Row::Address(AddressKey { prefix_bits, address: host(0).address }, info));
        }
        within.into_iter().for_each(|row| self.put(row));
    }

    /// New blocks between a block and the one around it.
    fn insert_block(&mut self) {
        let Some(mut inner) = self.block() else { return };
        let around = self.rows.get(&RowKey::CidrParent(inner)).copied();
        for _ in 0..=self.random.below(2) {
            let class = self.next();
            self.put(Row::CidrParent(inner, class));
            inner = class;
        }
        if let Some(Row::CidrParent(_, around)) = around {
            self.put(Row::CidrParent(inner, around));
        }
    }

    /// Other backends for a service.
    fn reserve(&mut self) {
        let key = self.random.pick(&services().collect::<Vec<_>>());
        if self.random.chance(30) {
            return self.remove(RowKey::Service(key));
        }
        let (backends, count) = (self.next(), 1 + self.random.below(3) as u32);
        for index in 0..count {
            let info = BackendInfo {
                address: host(index as u8).address,
                port: [0, backends as u8],
                padding: [0; 2],
            };
            self.put(Row::Backend(BackendKey { backends, index }, info));
        }
        self.put(Row::Service(key, ServiceInfo { backends, count }));
    }

    /// Removes the rows whose keys nothing names any more.
    fn sweep(&mut self) {
        loop {
            let named: BTreeSet<_> =
                self.rows.values().flat_map(super::super::names).map(|name| format!("{name:?}")).collect();
            let is_named =
                |key: &RowKey| super::super::numbers(key).all(|name| named.contains(&format!("{name:?}")));
            let gone: Vec<RowKey> = self.rows.keys().filter(|key| !is_named(key)).copied().collect();
            if gone.is_empty() {
                return;
            }
            gone.into_iter().for_each(|key| self.remove(key));
        }
    }

    fn group_of(&self, grouping: u32, peer: u32) -> u32 {
        let row = |peer| match self.rows.get(&RowKey::Group(GroupKey { grouping, peer })) {
            Some(Row::Group(_, group)) => Some(*group),
            _ => None,
        };
        row(peer).or_else(|| row(namespace_of(peer))).unwrap_or(1)
    }

    fn count(&self, grouping: u32) -> u32 {
        self.groups.iter().find(|(number, _)| *number == grouping).map_or(2, |(_, count)| *count)
    }

    fn peer(&mut self) -> u32 {
        let (peers, namespaces) = (PEERS as usize, NAMESPACES as usize);
        match self.random.below(peers + namespaces) {
            number if number < peers => FIRST_ALLOCATED + number as u32,
            number => FIRST_NAMESPACE + (number - peers) as u32,
        }
    }

    /// The policies in force, each with its grouping.
    fn policies(&self) -> Vec<(u32, u32)> {
        let policy = |row: &Row| match row {
            Row::Endpoint(_, info) => Some((info.policy, info.grouping.number())),
            _ => None,
        };
        self.rows.values().filter_map(policy).collect()
    }

    fn any_grouping(&mut self) -> Option<u32> {
        let policies = self.policies();
        (!policies.is_empty()).then(|| self.random.pick(&policies).1)
    }

    fn blocks(&self) -> Vec<u32> {
        let block = |row: &Row| match row {
            Row::Address(_, info) => Some(info.cidr).filter(|cidr| *cidr != 0),
            _ => None,
        };
        self.rows.values().filter_map(block).collect()
    }

    fn block(&mut self) -> Option<u32> {
        let blocks = self.blocks();
        (!blocks.is_empty()).then(|| self.random.pick(&blocks))
    }
}

fn namespace_of(peer: u32) -> u32 {
    if peer >= FIRST_NAMESPACE { 0 } else { FIRST_NAMESPACE + peer % NAMESPACES }
}

fn verdict(class: u32, is_allowed: bool, rule: u32) -> Row {
    let key =
        VerdictKey { prefix_bits: VerdictKey::ANY_PROTOCOL, class, direction: 0, protocol: 0, port: [0; 2] };
    Row::Verdict(key, VerdictInfo { action: u32::from(is_allowed), rule, l7: 0 })
}
