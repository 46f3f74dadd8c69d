//! The planner alone, on random graphs of rows, with a reader between every two writes.

mod graph;

use super::*;
use abi::Address;
use abi::endpoint::EndpointKey;
use abi::policy::{ClassKey, ColumnKey, Direction, GroupKey, VerdictInfo};
use abi::row::MapOp;
use abi::service::{BackendInfo, BackendKey, ServiceKey};
use datapath::Maps;
use datapath::native::Tables;
use datapath::policy::{FlowQuery, PolicyRows, evaluate};
use graph::{Graph, INTERFACES, hosts, services};
use std::cell::RefCell;

/// What is looked up in the maps.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Read {
    Endpoint(u32),
    Address(Address),
    Group(GroupKey),
    Column(ColumnKey),
    Parent(u32),
    Class(ClassKey),
    Verdict(VerdictKey),
    Service(ServiceKey),
    Backend(BackendKey),
}

/// What a packet asks.
#[derive(Clone, Copy, Debug)]
enum Packet {
    /// To a workload, from an address.
    Policy(u32, Address),
    Service(ServiceKey),
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Unknown,
    Verdict(VerdictInfo),
    Backends(Vec<Option<BackendInfo>>),
}

/// Looks up as the packet path does, each thing in the tables that are chosen for it.
struct Reader<'a> {
    choose: &'a dyn Fn(Read) -> &'a Tables,
    read: RefCell<Vec<Read>>,
}

/// The rows before a step, those after it, and these with those that go after the grace time.
struct States {
    old: Tables,
    new: Tables,
    all: Tables,
}

impl<'a> Reader<'a> {
    fn tables(&self, read: Read) -> &'a Tables {
        self.read.borrow_mut().push(read);
        (self.choose)(read)
    }

    fn answer(&self, packet: Packet) -> Answer {
        match packet {
            Packet::Policy(interface, address) => {
                let endpoint = self.tables(Read::Endpoint(interface)).endpoint(&EndpointKey { interface });
                let peer = self.tables(Read::Address(address)).address(&AddressKey::host(address));
                let (Some(endpoint), Some(peer)) = (endpoint, peer) else { return Answer::Unknown };
                let query = FlowQuery { direction: Direction::Ingress, protocol: 6, port: [0, 80] };
                Answer::Verdict(evaluate(self, endpoint, peer, query))
            }
            Packet::Service(key) => {
                let Some(service) = self.tables(Read::Service(key)).service(&key) else {
                    return Answer::Unknown;
                };
                let backends = (0..service.count).map(|index| {
                    let key = BackendKey { backends: service.backends, index };
                    self.tables(Read::Backend(key)).backend(&key).copied()
                });
                Answer::Backends(backends.collect())
            }
        }
    }
}

impl PolicyRows for Reader<'_> {
    fn column(&self, key: &ColumnKey) -> Option<u32> {
        self.tables(Read::Column(*key)).column(key)
    }

    fn cidr_parent(&self, class: u32) -> Option<u32> {
        self.tables(Read::Parent(class)).cidr_parent(class)
    }

    fn group(&self, key: &GroupKey) -> Option<u32> {
        self.tables(Read::Group(*key)).group(key)
    }

    fn class(&self, key: &ClassKey) -> Option<u32> {
        self.tables(Read::Class(*key)).class(key)
    }

    fn verdict(&self, key: &VerdictKey) -> Option<VerdictInfo> {
        self.tables(Read::Verdict(*key)).verdict(key)
    }
}

/// The answer of the maps in one state, and what is looked up for it.
fn answer(tables: &Tables, packet: Packet) -> (Answer, Vec<Read>) {
    let reader = Reader { choose: &|_| tables, read: RefCell::default() };
    (reader.answer(packet), reader.read.into_inner())
}

fn answer_of<'a>(packet: Packet, choose: &'a dyn Fn(Read) -> &'a Tables) -> Answer {
    Reader { choose, read: RefCell::default() }.answer(packet)
}

fn is_same(one: &Tables, other: &Tables, read: &Read) -> bool {
    match read {
        Read::Endpoint(interface) => {
            let key = EndpointKey { interface: *interface };
            one.endpoint(&key) == other.endpoint(&key)
        }
        Read::Address(address) => {
            let key = AddressKey::host(*address);
            one.address(&key) == other.address(&key)
        }
        Read::Group(key) => one.group(key) == other.group(key),
        Read::Column(key) => one.column(key) == other.column(key),
        Read::Parent(class) => one.cidr_parent(*class) == other.cidr_parent(*class),
        Read::Class(key) => one.class(key) == other.class(key),
        Read::Verdict(key) => one.verdict(key) == other.verdict(key),
        Read::Service(key) => one.service(key) == other.service(key),
        Read::Backend(key) => one.backend(key) == other.backend(key),
    }
}

fn is_root(read: Read) -> bool {
    matches!(read, Read::Endpoint(_) | Read::Address(_) | Read::Service(_))
}

fn tables<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Tables {
    let mut tables = Tables::new();
    tables.apply_all(rows.into_iter().map(|row| MapOp::Put(*row)));
    tables
}

fn packets() -> Vec<Packet> {
    let policies =
        (0..INTERFACES).flat_map(|interface| hosts().map(move |key| Packet::Policy(interface, key.address)));
    policies.chain(services().map(Packet::Service)).collect()
}

impl States {
    fn new(old: &Rows, new: &Rows, changes: &[RowChange]) -> Self {
        // What columns say to a group is the same for all who are in it; that a peer is in it is another switch.
        let meanwhile = changes.iter().filter(|change| {
            let is_transient = change.old.is_none() && change.new.is_none();
            is_transient && !matches!(change.key, RowKey::Group(_))
        });
        let meanwhile = meanwhile.filter_map(|change| change.transient.as_ref());
        let named: Vec<Name> = new.values().flat_map(names).collect();
        let goes = |row: &&Row| row.key().is_some_and(|key| numbers(&key).any(|name| !named.contains(&name)));
        let all = tables(old.values().chain(meanwhile).filter(goes).chain(new.values()));
        Self { old: tables(old.values()), new: tables(new.values()), all }
    }

    /// The old and the new answer to a packet, where a good order of writes can show it just these: one of the rows changes
    /// that it looked up, or they may change in any order but for root rows, which change last.
    fn promised(&self, packet: Packet) -> Option<[Answer; 2]> {
        let (old, looked_up) = answer(&self.old, packet);
        let (new, _) = answer(&self.new, packet);
        let mut changed: Vec<Read> =
            looked_up.iter().filter(|read| !is_same(&self.old, &self.all, read)).copied().collect();
        // The row of a peer hides that of its namespace.
        if let Some(own) =
            changed.iter().position(|read| matches!(read, Read::Group(key) if key.peer < FIRST_NAMESPACE))
        {
            let own = changed[own];
            changed.retain(|read| *read == own || !matches!(read, Read::Group(_)));
        }
        let roots =
            (0..changed.len()).filter(|at| is_root(changed[*at])).fold(0, |roots, at| roots | 1 << at);
        let all = (1u32 << changed.len()) - 1;
        let is_fine = |switched: u32| {
            let choose = |read: Read| match changed.iter().position(|one| *one == read) {
                Some(at) if switched & (1 << at) == 0 => &self.old,
                _ => &self.all,
            };
            [&old, &new].contains(&&answer_of(packet, &choose))
        };
        // Root rows are switched last.
        let mut orders = (0..=all).filter(|switched| switched & roots == 0 || switched | roots == all);
        (changed.len() <= 1 || orders.all(is_fine)).then_some([old, new])
    }
}

/// Makes the writes one by one: each promise must hold after each of them. Returns how many of them are of two answers.
#[track_caller]
fn check(states: &States, mut rows: Rows, wanted: &Rows, (now, later): (Batch, Batch), seed: u64) -> usize {
    let promises: Vec<_> =
        packets().into_iter().filter_map(|packet| Some((packet, states.promised(packet)?))).collect();
    let mut maps = tables(rows.values());
    for write in now.iter() {
        maps.apply(write);
        follow(&mut rows, write);
        for (packet, promised) in &promises {
            let (seen, looked_up) = answer(&maps, *packet);
            assert!(
                promised.contains(&seen),
                "seed {seed}: {packet:?} gets {seen:?} after {write:?}, not {promised:?}; it read {looked_up:?} in {now:#?}"
            );
        }
    }
    for packet in packets() {
        assert_eq!(
            answer(&maps, packet).0,
            answer(&states.new, packet).0,
            "seed {seed}: {packet:?} after all"
        );
    }
    // A packet that read where it starts from before the first write, and the rest after the last.
    for (packet, promised) in &promises {
        let on_its_way = |read: Read| match read {
            read if is_root(read) => &states.old,
            _ => &maps,
        };
        let seen = answer_of(*packet, &on_its_way);
        assert!(
            promised.contains(&seen),
            "seed {seed}: {packet:?} gets {seen:?} on its way, not {promised:?}"
        );
    }
    later.iter().for_each(|write| follow(&mut rows, write));
    assert_eq!(&rows, wanted, "seed {seed}");
    promises.iter().filter(|(_, [old, new])| old != new).count()
}

fn follow(rows: &mut Rows, write: MapOp) {
    match write {
        MapOp::Put(row) => _ = rows.insert(row.key().unwrap(), row),
        MapOp::Delete(key) => assert!(rows.remove(&key).is_some(), "{key:?} is not there"),
    }
}

#[test]
fn every_packet_gets_its_old_or_its_new_answer_while_rows_change() {
    let mut promised = 0;
    for seed in 0..100 {
        let mut graph = Graph::new(seed);
        let (_, _, mut named) = plan_all(Rows::new(), graph.rows.values().copied());
        for _ in 0..6 {
            let old = graph.rows.clone();
            graph.step();
            let changes = graph.changes.take();
            let states = States::new(&old, &graph.rows, &changes);
            let writes = plan(changes, &mut named);
            promised += check(&states, old, &graph.rows, writes, seed);
        }
    }
    assert!(promised > 1_000, "{promised} switched answers are few");
}

#[test]
fn every_packet_gets_its_old_or_its_new_answer_from_whatever_rows_were_found() {
    let mut promised = 0;
    for seed in 0..250 {
        let mut graph = Graph::new(seed);
        let mut found = Graph::new(seed);
        found.litter();
        match seed % 2 {
            0 => graph.restart(),
            _ => graph.step(),
        }
        let states = States::new(&found.rows, &graph.rows, &[]);
        let (now, later, _) = plan_all(found.rows.clone(), graph.rows.values().copied());
        promised += check(&states, found.rows, &graph.rows, (now, later), seed);
    }
    assert!(promised > 1_000, "{promised} switched answers are few");
}
