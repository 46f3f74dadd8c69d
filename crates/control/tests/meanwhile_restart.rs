//! What packets find while a restarted agent replaces the rows that it found: verdicts by blocks of addresses.

use abi::address::{AddressInfo, AddressKey};
use abi::batch::Batch;
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::policy::Direction::{self, Egress, Ingress};
use abi::policy::action;
use abi::protocol;
use abi::row::{MapOp, Row, RowKey};
use control::fixtures::{address_of, interface_of, random_change, workload};
use control::{Change, Rows, World, Writes};
use datapath::Maps;
use datapath::native::Tables;
use datapath::policy::{FlowQuery, evaluate};
use identity::Selector;
use policy::fixtures::{allow, block, deny, policy, spec};
use policy::generate::Random;
use policy::rule::CidrReach::{Everything, World as Outside};
use policy::rule::{Direction as RuleDirection, Peer, Rule, Traffic};
use std::net::IpAddr;

/// Each workload, by its number.
const WORKLOADS: [u32; 4] = [1, 2, 70, 130];

/// Addresses outside the cluster in blocks of [`blocks`], in the exceptions in these, and around both.
const OUTSIDE: [[u8; 4]; 7] = [
    [10, 1, 2, 3],
    [10, 1, 9, 9],
    [10, 2, 0, 1],
    [192, 0, 2, 1],
    [192, 0, 2, 130],
    [198, 51, 100, 7],
    [11, 0, 0, 1],
];

/// A packet of TCP port 80 that the workload behind an interface sends or gets.
#[derive(Clone, Copy, Debug)]
struct Packet {
    interface: u32,
    direction: Direction,
    peer: IpAddr,
}

/// The rows that a packet reads first.
#[derive(Clone, Copy)]
struct Roots {
    endpoint: EndpointInfo,
    peer: AddressInfo,
}

impl Packet {
    fn all() -> Vec<Self> {
        let peers: Vec<IpAddr> =
            OUTSIDE.into_iter().map(IpAddr::from).chain(WORKLOADS.map(address_of)).collect();
        let of = |workload, direction| {
            peers.iter().map(move |peer| Self { interface: interface_of(workload), direction, peer: *peer })
        };
        WORKLOADS.into_iter().flat_map(|one| of(one, Ingress).chain(of(one, Egress))).collect()
    }

    fn roots(&self, tables: &Tables) -> Roots {
        let key = EndpointKey { interface: self.interface };
        Roots {
            endpoint: *tables.endpoint(&key).expect("a workload has a row"),
            peer: *tables
                .address(&AddressKey::host(self.peer.into()))
                .expect("each address is in a block with a row"),
        }
    }

    fn is_allowed(&self, roots: Roots, tables: &Tables) -> bool {
        let query = FlowQuery { direction: self.direction, protocol: protocol::TCP, port: [0, 80] };
        evaluate(tables, &roots.endpoint, &roots.peer, query).action == action::ALLOW
    }
}

fn tables(rows: &Rows) -> Tables {
    let mut tables = Tables::new();
    tables.apply_all(rows.values().copied().map(MapOp::Put));
    tables
}

/// Makes the writes one by one. After each write every packet gets its verdict before all of them or after all of them:
/// a packet that starts then, and a packet that read rows before the first write of the batch.
#[track_caller]
fn check(packets: &[Packet], before: &Rows, after: &Rows, writes: &Writes) {
    let (old, new, mut maps) = (tables(before), tables(after), tables(before));
    let of = |packet: &Packet, tables: &Tables| packet.is_allowed(packet.roots(tables), tables);
    for (name, batch) in stages(writes) {
        let start: Vec<Roots> = packets.iter().map(|packet| packet.roots(&maps)).collect();
        for write in batch.iter() {
            maps.apply(write);
            for (packet, start) in packets.iter().zip(&start) {
                let now = packet.roots(&maps);
                let last = of(packet, &new);
                let allowed = [if name == "now" { of(packet, &old) } else { last }, last];
                for (when, roots) in [
                    ("after the write", now),
                    ("with the endpoint row of before", Roots { endpoint: start.endpoint, ..now }),
                    ("with both rows of before", *start),
                ] {
                    let verdict = packet.is_allowed(roots, &maps);
                    assert!(
                        allowed.contains(&verdict),
                        "{packet:?} {when} gets {verdict}, not one of {allowed:?}; {name}, {write:?}"
                    );
                }
            }
        }
    }
    packets.iter().for_each(|packet| assert_eq!(of(packet, &maps), of(packet, &new)));
}

/// The writes, with a grace time between: a packet that starts during one stage has passed before the next.
fn stages(writes: &Writes) -> [(&str, &Batch); 3] {
    [("now", &writes.now), ("later", &writes.later), ("last", &writes.last)]
}

/// A policy of all workloads with these rules in both directions; in neither a packet is allowed without a rule.
fn both_ways(name: &str, rules: Vec<(bool, Peer)>) -> Change {
    let rule = |direction, is_allow: bool, peer: Peer| -> Rule {
        match is_allow {
            true => allow(direction, peer, Traffic::Any),
            false => deny(direction, peer, Traffic::Any),
        }
    };
    let all = [RuleDirection::Ingress, RuleDirection::Egress].into_iter().flat_map(|direction| {
        rules.iter().map(move |(is_allow, peer)| rule(direction, *is_allow, peer.clone()))
    });
    Change::Policy(policy(name, [spec(Selector::default(), all)]))
}

/// Rules by blocks that nest, with exceptions, outside the cluster and inside.
fn blocks() -> Vec<Change> {
    vec![
        both_ways(
            "nested",
            vec![
                (true, block("10.0.0.0/8", &[], Everything)),
                (false, block("10.1.0.0/16", &[], Everything)),
                (false, block("10.0.0.64/26", &[], Everything)),
            ],
        ),
        both_ways(
            "except",
            vec![
                (true, block("192.0.2.0/24", &["192.0.2.128/25"], Outside)),
                (true, block("198.51.100.7/32", &[], Outside)),
                (false, block("10.0.0.130/32", &[], Everything)),
            ],
        ),
    ]
}

/// Blocks that no rule of a workload names: their classes only lead to those around them.
fn blocks_of_no_workload() -> Change {
    let peers = ["10.2.0.0/16", "10.0.0.0/25", "10.0.0.64/27"].map(|text| block(text, &[], Everything));
    let rule = allow(RuleDirection::Ingress, peers, Traffic::Any);
    Change::Policy(policy("none", [spec(policy::fixtures::app("none"), [rule])]))
}

/// Other rules by some of the blocks of [`blocks`], and by others between and within them.
fn other_blocks() -> Vec<Change> {
    vec![
        both_ways(
            "nested",
            vec![
                (true, block("10.0.0.0/8", &["10.1.2.0/24"], Everything)),
                (false, block("10.0.0.0/25", &[], Everything)),
            ],
        ),
        both_ways("except", vec![(true, block("192.0.2.128/25", &[], Outside))]),
    ]
}

/// Blocks that hold the same workload: one names it outside the cluster only.
fn alike_inside() -> Vec<Change> {
    let inner = vec![
        (true, block("10.0.0.0/8", &[], Everything)),
        (true, block("10.0.0.64/28", &[], Everything)),
        (true, block("10.0.0.64/27", &[], Outside)),
    ];
    let outer = vec![(false, block("10.0.0.64/26", &[], Everything))];
    vec![both_ways("nested", inner), both_ways("except", outer)]
}

fn workloads() -> Vec<Change> {
    WORKLOADS.map(|id| workload(id, "default", "web")).into()
}

fn world(policies: Vec<Change>) -> World {
    let mut world = World::new();
    world.apply([]);
    world.apply(workloads().into_iter().chain(policies));
    world
}

/// The agent restarts with these rows in the maps, and these policies to enforce.
#[track_caller]
fn restart(world: &World, found: &Rows, policies: Vec<Change>) -> World {
    let mut restarted = World::adopt(found.values().copied(), world.identities().clone());
    let writes = restarted.apply(workloads().into_iter().chain(policies));
    check(&Packet::all(), found, &restarted.rows(), &writes);
    restarted
}

#[test]
fn a_restart_with_the_same_policies_changes_no_verdict() {
    let world = world(blocks());
    let mut maps = world.rows();
    for _ in 0..3 {
        maps = restart(&world, &maps, blocks()).rows();
    }
}

#[test]
fn a_restart_with_other_policies_leads_from_the_old_verdicts_to_the_new_ones() {
    let more = blocks().into_iter().chain([blocks_of_no_workload()]).collect();
    let all = [blocks(), more, other_blocks(), Vec::new()];
    for before in &all {
        let world = world(before.clone());
        for after in &all {
            restart(&world, &world.rows(), after.clone());
        }
    }
}

#[test]
fn a_change_that_failed_half_way_is_taken_back_without_a_third_verdict() {
    let all = [blocks(), other_blocks(), Vec::new(), alike_inside(), alike_inside()[..1].to_vec()];
    let pairs = all.iter().flat_map(|before| all.iter().map(move |after| (before, after)));
    for (before, after) in pairs.filter(|(before, after)| before != after) {
        let mut tried = world(before.clone());
        let whole = tried.rows();
        let removals =
            ["nested", "except"].map(|name| Change::RemovePolicy(policy::fixtures::policy_id(name)));
        let writes = tried.apply(removals.into_iter().chain(after.clone()));
        let all: Vec<MapOp> = writes.now.iter().collect();
        for made in (0..all.len()).step_by(8).chain([all.len()]) {
            let (mut world, mut found) = (tried.clone(), whole.clone());
            make(&mut found, &all[..made]);
            world.adopt_rows(found.values().copied());
            let undo = world.apply(writes.undo.clone());
            check(&Packet::all(), &found, &world.rows(), &undo);
            assert_eq!(classes(&world.rows()), classes(&whole), "after {made} of {} writes", all.len());
        }
    }
}

/// Makes writes in a copy of the maps.
fn make(maps: &mut Rows, writes: &[MapOp]) {
    for write in writes {
        match write {
            MapOp::Put(row) => _ = row.key().map(|key| maps.insert(key, *row)),
            MapOp::Delete(key) => _ = maps.remove(key),
        }
    }
}

#[test]
fn a_block_that_goes_leads_packets_on_their_way_to_those_around_it() {
    let mut world = world(blocks());
    for change in [blocks_of_no_workload(), Change::RemovePolicy(policy::fixtures::policy_id("none"))] {
        let before = world.rows();
        let writes = world.apply([change]);
        check(&Packet::all(), &before, &world.rows(), &writes);
    }
}

/// Packets between every endpoint and the first address of every block that both have rows.
fn packets_between(rows: &Rows) -> Vec<Packet> {
    let peers = rows.keys().filter_map(|key| match key {
        RowKey::Address(key) => Some(IpAddr::from(key.address)),
        _ => None,
    });
    let peers: Vec<IpAddr> = peers.collect();
    let interfaces = rows.keys().filter_map(|key| match key {
        RowKey::Endpoint(key) => Some(key.interface),
        _ => None,
    });
    let of =
        |(interface, direction)| peers.iter().map(move |peer| Packet { interface, direction, peer: *peer });
    interfaces.flat_map(|one| [(one, Ingress), (one, Egress)]).flat_map(of).collect()
}

#[test]
fn a_restart_of_a_random_world_changes_no_verdict() {
    let mut checked = 0;
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut world = World::new();
        world.apply([]);
        let changes: Vec<Change> = (0..40).map(|_| random_change(&mut random)).collect();
        for change in changes.clone() {
            world.apply([change]);
        }
        let found = world.rows();
        let mut restarted = World::adopt(found.values().copied(), world.identities().clone());
        let writes = restarted.apply(changes);
        let packets = packets_between(&found);
        checked += packets.len();
        check(&packets, &found, &restarted.rows(), &writes);
    }
    assert!(checked > 1_000, "{checked} packets are few");
}

/// The class of each address row, and those around it.
fn classes(rows: &Rows) -> Vec<(AddressKey, Vec<u32>)> {
    let around = |class: &u32| match rows.get(&RowKey::CidrParent(*class)) {
        Some(Row::CidrParent(_, around)) => Some(*around),
        _ => None,
    };
    let class = |row: &Row| match row {
        Row::Address(key, info) if info.cidr != 0 => {
            Some((*key, std::iter::successors(Some(info.cidr), around).collect()))
        }
        _ => None,
    };
    rows.values().filter_map(class).collect()
}

#[test]
fn blocks_keep_their_classes_in_a_restart() {
    let world = world(blocks());
    let restarted = restart(&world, &world.rows(), blocks());
    assert_eq!(classes(&restarted.rows()), classes(&world.rows()));
    assert!(classes(&world.rows()).len() > 8, "blocks outside, and addresses inside");
}

#[test]
fn rows_that_are_damaged_join_no_two_blocks() {
    let world = world(blocks());
    let whole = world.rows();
    let outside = |text: &str| policy::cidr::address_key(&policy::fixtures::cidr(text));
    let keys = [outside("10.0.0.0/8"), outside("10.1.0.0/16"), outside("192.0.2.0/24")].map(RowKey::Address);
    let name = |rows: &mut Rows, at: usize, class| {
        let row = with_class(rows[&keys[at]], class);
        rows.insert(keys[at], row);
    };
    let damages: [&dyn Fn(&mut Rows); 6] = [
        &|rows| name(rows, 0, class_of(&rows[&keys[1]])),
        &|rows| _ = rows.remove(&keys[1]),
        &|rows| name(rows, 2, 1),
        &|rows| name(rows, 2, u32::MAX),
        &|rows| rows.retain(|key, _| !matches!(key, RowKey::CidrParent(_))),
        &|rows| {
            // Every class is around itself.
            for row in rows.values_mut() {
                if let Row::CidrParent(class, around) = row {
                    *around = *class;
                }
            }
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut found = whole.clone();
        damage(&mut found);
        let mut restarted = World::adopt(found.values().copied(), world.identities().clone());
        let mut maps = found.clone();
        let writes = restarted.apply(workloads().into_iter().chain(blocks()));
        stages(&writes).iter().for_each(|(_, batch)| make(&mut maps, &batch.iter().collect::<Vec<_>>()));
        assert_eq!(maps, restarted.rows(), "damage {number}");
        let (old, new) = (tables(&whole), tables(&maps));
        for packet in Packet::all() {
            let [before, after] = [&old, &new].map(|tables| packet.is_allowed(packet.roots(tables), tables));
            assert_eq!(before, after, "damage {number}: {packet:?}");
        }
    }
}

fn class_of(row: &Row) -> u32 {
    let Row::Address(_, info) = row else { panic!("{row:?} is no row of an address") };
    info.cidr
}

fn with_class(row: Row, class: u32) -> Row {
    let Row::Address(key, info) = row else { panic!("{row:?} is no row of an address") };
    Row::Address(key, AddressInfo { cidr: class, ..info })
}
