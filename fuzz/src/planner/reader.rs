//! Packets that look up rows during a step, and the verdicts that they may get.

use abi::Address;
use abi::address::AddressKey;
use abi::endpoint::EndpointKey;
use abi::policy::{ClassKey, ColumnKey, Direction, GroupKey, VerdictInfo, VerdictKey};
use datapath::Maps;
use datapath::native::Tables;
use datapath::policy::{FlowQuery, PolicyRows, evaluate};
use std::cell::RefCell;

/// Limit on the changed rows that a packet looks up; each doubles the work.
const MOST_CHANGED: usize = 4;

/// The look-up of one packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    endpoint: EndpointKey,
    address: Address,
    direction: Direction,
}

/// The verdict on a packet; none where its endpoint or its peer is unknown.
pub type Answer = Option<VerdictInfo>;

/// The verdicts that a packet may get during a step.
#[derive(Clone, Debug)]
pub struct Promise([Answer; 2]);

/// A look-up in the maps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read {
    /// The row of an endpoint.
    Endpoint(EndpointKey),
    /// The row of an address.
    Address(Address),
    /// The group of a peer.
    Group(GroupKey),
    /// The column of a policy.
    Column(ColumnKey),
    /// The block around a block.
    Parent(u32),
    /// The class of a group in a column.
    Class(ClassKey),
    /// The verdict of a class.
    Verdict(VerdictKey),
}

impl Packet {
    /// A packet of each direction.
    pub fn both_ways(endpoint: EndpointKey, address: Address) -> [Self; 2] {
        [Direction::Ingress, Direction::Egress].map(|direction| Self { endpoint, address, direction })
    }
}

impl Promise {
    /// Whether the packet may get this answer.
    pub fn holds(&self, seen: &Answer) -> bool {
        self.0.contains(seen)
    }
}

/// Evaluates packets as the packet path does, but chooses the tables for each look-up.
struct Reader<'a> {
    choose: &'a dyn Fn(Read) -> &'a Tables,
    read: RefCell<Vec<Read>>,
}

impl<'a> Reader<'a> {
    fn tables(&self, read: Read) -> &'a Tables {
        self.read.borrow_mut().push(read);
        (self.choose)(read)
    }

    fn answer(&self, packet: &Packet) -> Answer {
        let endpoint = self.tables(Read::Endpoint(packet.endpoint)).endpoint(&packet.endpoint)?;
        let peer = self.tables(Read::Address(packet.address)).address(&AddressKey::host(packet.address))?;
        let query = FlowQuery { direction: packet.direction, protocol: 6, port: [0, 80] };
        Some(evaluate(self, endpoint, peer, query))
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

/// The verdict in one state of the maps, and the look-ups for it.
pub fn answer(tables: &Tables, packet: &Packet) -> (Answer, Vec<Read>) {
    let reader = Reader { choose: &|_| tables, read: RefCell::default() };
    (reader.answer(packet), reader.read.into_inner())
}

fn is_same(one: &Tables, other: &Tables, read: &Read) -> bool {
    match read {
        Read::Endpoint(key) => one.endpoint(key) == other.endpoint(key),
        Read::Address(address) => {
            let key = AddressKey::host(*address);
            one.address(&key) == other.address(&key)
        }
        Read::Group(key) => one.group(key) == other.group(key),
        Read::Column(key) => one.column(key) == other.column(key),
        Read::Parent(class) => one.cidr_parent(*class) == other.cidr_parent(*class),
        Read::Class(key) => one.class(key) == other.class(key),
        Read::Verdict(key) => one.verdict(key) == other.verdict(key),
    }
}

/// The old and the new verdict on a packet, if some order of writes can keep all others from it: at most one of the rows that
/// the packet looks up changes, or every order of the changes has these two verdicts only.
///
/// `all` has the rows of both states: a row that the step removes is there until its end.
pub fn promise([old, new, all]: [&Tables; 3], packet: &Packet) -> Option<Promise> {
    let ((before, looked_up), (after, _)) = (answer(old, packet), answer(new, packet));
    let changed: Vec<Read> = looked_up.iter().filter(|read| !is_same(old, new, read)).copied().collect();
    if changed.len() > MOST_CHANGED {
        return None;
    }
    let is_fine = |switched: u32| {
        let choose = |read: Read| match changed.iter().position(|one| *one == read) {
            Some(at) if switched & (1 << at) == 0 => old,
            Some(_) => new,
            None if looked_up.contains(&read) => old,
            None => all,
        };
        let seen = Reader { choose: &choose, read: RefCell::default() }.answer(packet);
        seen == before || seen == after
    };
    let is_promised = changed.len() <= 1 || (0..1 << changed.len()).all(is_fine);
    is_promised.then_some(Promise([before, after]))
}
