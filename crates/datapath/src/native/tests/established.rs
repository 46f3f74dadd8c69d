//! Packets of established flows: what their entry holds counts until the epoch rises, and it is what the stages found.

use super::*;
use crate::craft::flag::{ACK, FIN, RST, SYN};
use abi::conntrack::{ConnKey, Way, lifetime};
use abi::mark;

/// A node with a policy for both ends, and an established connection from client to server.
fn established(family: FamilyAddresses) -> NativeNode {
    let mut node = NativeNode::new(family);
    node.enforce(CLIENT, family.client, BOTH);
    node.enforce(SERVER, family.server, BOTH);
    for protocol in [6, 17] {
        node.rule(CLIENT, SERVER.identity, Direction::Egress, (protocol, 80), ALLOW);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (protocol, 80), ALLOW);
    }
    let handshake = [
        (CLIENT, SERVER, tcp(family)),
        (SERVER, CLIENT, back(family).flags(SYN | ACK)),
        (CLIENT, SERVER, tcp(family).flags(ACK)),
    ];
    for (from, to, segment) in handshake {
        let sent = node.from(from, &segment.frame());
        delivered(&sent, to);
        assert_eq!(node.forward(from.interface, to, &sent.frame).verdict, Ok(Delivery::Pass));
    }
    // The second packet of each direction finds the entry as the first one left it.
    let data = back(family).flags(ACK).frame();
    delivered(&node.from(SERVER, &data), CLIENT);
    assert_eq!(node.forward(SERVER.interface, CLIENT, &data).verdict, Ok(Delivery::Pass));
    node
}

#[test]
fn every_packet_is_reported_where_the_configuration_asks_for_it() {
    each_family(|family| {
        let mut node = established(family);
        let data = back(family).flags(ACK).frame();
        let levels = [
            (MEDIUM, [0, 0]),
            (MEDIUM | config::flag::REPORT_PACKETS, [0, 1]),
            (MEDIUM | config::flag::REPORT_PACKETS | config::flag::REPORT_HOPS, [1, 1]),
            (MEDIUM, [0, 0]),
        ];
        for (epoch, (flags, expected)) in (100..).zip(levels) {
            node.configure(Config { epoch, proxy_interface: PROXY, flags, ..Config::default() });
            for _ in 0..3 {
                let sent = node.from(SERVER, &data).events.len();
                let received = node.forward(SERVER.interface, CLIENT, &data).events.len();
                assert_eq!([sent, received], expected, "{flags:#b}");
            }
        }
    });
}

fn tcp(family: FamilyAddresses) -> craft::Craft {
    craft::tcp(at(family.client, 4000), at(family.server, 80))
}

fn back(family: FamilyAddresses) -> craft::Craft {
    craft::tcp(at(family.server, 80), at(family.client, 4000))
}

/// A node with a policy for itself, and an established connection from outside to the node.
fn established_at_node(family: FamilyAddresses) -> NativeNode {
    let mut node = NativeNode::new(family);
    node.own(family.other);
    node.enforce(NODE, family.other, BOTH);
    for protocol in [6, 17] {
        node.rule(NODE, identity::WORLD, Direction::Ingress, (protocol, 80), ALLOW);
    }
    for flags in [SYN, ACK, ACK] {
        assert_eq!(at_node(&node, true, family, flags).verdict, Ok(Delivery::Pass));
        let answer = if flags == SYN { SYN | ACK } else { ACK };
        assert_eq!(at_node(&node, false, family, answer).verdict, Ok(Delivery::Pass));
    }
    node
}

/// Sends a segment of the connection of [`established_at_node`], in or out.
fn at_node(node: &NativeNode, is_in: bool, family: FamilyAddresses, flags: u8) -> Outcome {
    let ends = [at(family.world, 4000), at(family.other, 80)];
    let (hook, [source, destination], ingress) = match is_in {
        true => (Hook::FromOutside, ends, OUTSIDE),
        false => (Hook::ToOutside, [ends[1], ends[0]], 0),
    };
    let frame = craft::tcp(source, destination).flags(flags).frame();
    let now = node.now;
    node.tables.run(hook, Arrival { interface: OUTSIDE, ingress, frame: &frame, now, ..Arrival::default() })
}

#[test]
fn until_the_epoch_rises_the_entry_is_all_that_a_packet_of_the_node_needs() {
    each_family(|family| {
        let mut node = established_at_node(family);
        node.tables.apply(MapOp::Delete(RowKey::Address(AddressKey::host(family.other.into()))));
        node.rule(NODE, identity::WORLD, Direction::Ingress, (6, 80), DENY);
        for is_in in [true, false] {
            let outcome = at_node(&node, is_in, family, ACK);
            assert_eq!((outcome.verdict, outcome.events.len()), (Ok(Delivery::Pass), 0));
        }
        node.own(family.other);
        node.configure(Config { epoch: 1, ..Config::default() });
        for is_in in [true, false] {
            dropped(&node, &at_node(&node, is_in, family, ACK), DropReason::PolicyDeny);
        }
    });
}

#[test]
fn until_the_epoch_rises_the_entry_is_all_that_a_packet_needs() {
    each_family(|family| {
        let mut node = established(family);
        forget_all(&mut node, family);
        let [there, back] = [tcp(family), back(family)].map(|segment| segment.flags(ACK).frame());
        delivered(&node.from(CLIENT, &there), SERVER);
        assert_eq!(node.forward(CLIENT.interface, SERVER, &there).verdict, Ok(Delivery::Pass));
        delivered(&node.from(SERVER, &back), CLIENT);
        assert_eq!(node.forward(SERVER.interface, CLIENT, &back).verdict, Ok(Delivery::Pass));
        node.configure(Config { epoch: 1, ..Config::default() });
        for outcome in [
            node.from(CLIENT, &there),
            node.forward(CLIENT.interface, SERVER, &there),
            node.from(SERVER, &back),
            node.forward(SERVER.interface, CLIENT, &back),
        ] {
            dropped(&node, &outcome, DropReason::UnknownEndpoint);
        }
    });
}

#[test]
fn the_entry_is_all_that_a_connection_needs_to_close_until_the_last_hook_reports_the_end() {
    each_family(|family| {
        let mut node = established(family);
        forget_all(&mut node, family);
        let lifetimes = |node: &NativeNode| {
            let now = (node.now / SECOND) as u32;
            node.tables.connections().into_iter().map(|(_, row)| row.expires - now).collect::<Vec<_>>()
        };
        let [end, last] = [back(family), tcp(family)].map(|segment| segment.flags(FIN | ACK).frame());
        let data = tcp(family).flags(ACK).frame();
        delivered(&node.from(SERVER, &end), CLIENT);
        assert_eq!(node.forward(SERVER.interface, CLIENT, &end).verdict, Ok(Delivery::Pass));
        assert_eq!(lifetimes(&node), [lifetime::TCP_HALF_CLOSED; 2]);
        delivered(&node.from(CLIENT, &data), SERVER);
        assert_eq!(node.forward(CLIENT.interface, SERVER, &data).verdict, Ok(Delivery::Pass));
        assert_eq!(lifetimes(&node), [lifetime::TCP_HALF_CLOSED; 2]);
        delivered(&node.from(CLIENT, &last), SERVER);
        let closed = |rows: Vec<u32>| rows.iter().filter(|&&rest| rest == lifetime::TCP_CLOSING).count();
        assert_eq!(closed(lifetimes(&node)), 1);
        let reported = node.forward(CLIENT.interface, SERVER, &last);
        dropped(&node, &reported, DropReason::UnknownEndpoint);
        // A reset passes the stages, and so does the opening of the next connection.
        for flags in [RST, SYN] {
            dropped(
                &node,
                &node.from(CLIENT, &tcp(family).flags(flags).frame()),
                DropReason::UnknownEndpoint,
            );
        }
    });
}

#[test]
fn a_workload_at_another_interface_gets_its_packets_there_from_the_next_epoch_on() {
    const ELSEWHERE: NativeWorkload = NativeWorkload { interface: 21, mac: [2, 0, 0, 0, 21, 1], ..SERVER };
    each_family(|family| {
        let mut node = established(family);
        let NativeWorkload { interface, identity, mac } = ELSEWHERE;
        let info = AddressInfo { interface, mac, ..address_info(identity) };
        node.put(Row::Address(AddressKey::host(family.server.into()), info));
        let data = tcp(family).flags(ACK).frame();
        delivered(&node.from(CLIENT, &data), SERVER);
        node.configure(Config { epoch: 1, ..Config::default() });
        delivered(&node.from(CLIENT, &data), ELSEWHERE);
        // What the old interface sends with the address is no longer the peer's.
        let answer = back(family).flags(ACK).frame();
        dropped(&node, &node.forward(SERVER.interface, CLIENT, &answer), DropReason::InvalidSource);
        assert_eq!(node.forward(ELSEWHERE.interface, CLIENT, &answer).verdict, Ok(Delivery::Pass));
    });
}

#[test]
fn nothing_but_the_flows_own_interfaces_takes_part_in_it() {
    const OTHER: NativeWorkload = NativeWorkload { interface: 30, identity: 3000, mac: [2, 0, 0, 0, 30, 1] };
    each_family(|family| {
        let mut node = established(family);
        node.enforce(OTHER, family.other, 0);
        let [there, back] = [tcp(family), back(family)].map(|segment| segment.flags(ACK).frame());
        dropped(&node, &node.from(OTHER, &there), DropReason::InvalidSource);
        dropped(&node, &node.forward(CLIENT.interface, OTHER, &there), DropReason::InvalidDestination);
        dropped(&node, &node.forward(OTHER.interface, CLIENT, &back), DropReason::InvalidSource);
        // The proxy may use the address of the other end; what a workload marks does not make it the proxy.
        let marked = node.run(Hook::FromWorkload, CLIENT.interface, mark::FROM_PROXY, &there);
        delivered(&marked, SERVER);
        assert_eq!(marked.mark, 0);
    });
}

#[test]
fn a_flow_to_what_becomes_a_frontend_is_translated_from_the_next_epoch_on() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        let service = at(family.service, 53);
        let query = craft::udp(at(family.client, 4000), service).frame();
        let answer = craft::udp(service, at(family.client, 4000)).frame();
        assert_eq!(node.from(CLIENT, &query).verdict, Ok(Delivery::Pass));
        assert_eq!(node.to(CLIENT, &answer).verdict, Ok(Delivery::Pass));
        node.serve(17, service, 1, &[at(family.server, 5353)]);
        assert_eq!(node.from(CLIENT, &query).verdict, Ok(Delivery::Pass), "the epoch is still the same");
        node.configure(Config { epoch: 1, ..Config::default() });
        // An answer that is late makes the entry one of this epoch, and does not lead queries past the service.
        assert_eq!(node.to(CLIENT, &answer).verdict, Ok(Delivery::Pass));
        delivered(&node.from(CLIENT, &query), SERVER);
    });
}

#[test]
fn a_connection_past_a_frontend_does_not_lead_the_next_one_past_it() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        let service = at(family.service, 80);
        let segment = |flags| craft::tcp(at(family.client, 4000), service).flags(flags).frame();
        let answer = craft::tcp(service, at(family.client, 4000)).flags(SYN | ACK).frame();
        assert_eq!(node.from(CLIENT, &segment(SYN)).verdict, Ok(Delivery::Pass));
        assert_eq!(node.to(CLIENT, &answer).verdict, Ok(Delivery::Pass));
        node.serve(6, service, 1, &[at(family.server, 8080)]);
        node.configure(Config { epoch: 1, ..Config::default() });
        assert_eq!(node.from(CLIENT, &segment(ACK)).verdict, Ok(Delivery::Pass), "from before the service");
        delivered(&node.from(CLIENT, &segment(SYN)), SERVER);
        delivered(&node.from(CLIENT, &segment(ACK)), SERVER);
    });
}

/// Of an entry, all but the ways of its packets and their epoch.
fn without_ways((key, row): (ConnKey, ConnInfo)) -> (ConnKey, ConnInfo) {
    use abi::conntrack::flag::{WAY_IN, WAY_OUT};
    let none = Way::default();
    let flags = row.flags & !(WAY_IN | WAY_OUT);
    (
        key,
        ConnInfo {
            epoch: 0,
            local: none,
            way_out: none,
            way_in: none,
            link: Default::default(),
            flags,
            ..row
        },
    )
}

/// A number that spreads like chance.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// A random packet at a hook.
struct RandomPacket {
    hook: Hook,
    interface: u32,
    ingress: u32,
    mark: u32,
    frame: Vec<u8>,
}

/// A random packet between two ends, mostly of their established connection.
fn random_frame(ends: [SocketAddr; 2], state: &mut u64) -> Vec<u8> {
    const RARE: [u8; 4] = [SYN, SYN | ACK, FIN | ACK, RST];
    let craft = match next(state) % 4 {
        0 => craft::udp(ends[0], ends[1]),
        _ => craft::tcp(ends[0], ends[1]).flags(*RARE.get(next(state) % 40).unwrap_or(&ACK)),
    };
    let craft = craft.hop_limit([0, 1, 2, 64, 64, 64][next(state) % 6]);
    craft.padded((next(state) % 8).saturating_sub(6)).frame()
}

fn between_workloads(family: FamilyAddresses, state: &mut u64) -> RandomPacket {
    let [client, server] = [4000 + (next(state) % 2) as u16, 80 + (next(state) % 8 / 7) as u16];
    let (mut ends, mut doors) = ([at(family.client, client), at(family.server, server)], [CLIENT, SERVER]);
    if next(state).is_multiple_of(2) {
        ends.reverse();
        doors.reverse();
    }
    let (hook, interface) = match next(state) % 2 {
        0 => (Hook::FromWorkload, doors[0].interface),
        _ => (Hook::ToWorkload, doors[1].interface),
    };
    let ingress = [doors[0].interface, doors[0].interface, 0, OUTSIDE][next(state) % 4];
    let mark = if next(state).is_multiple_of(100) { mark::FROM_PROXY } else { 0 };
    RandomPacket { hook, interface, ingress, mark, frame: random_frame(ends, state) }
}

fn outside_the_node(family: FamilyAddresses, state: &mut u64) -> RandomPacket {
    let [client, server] = [4000 + (next(state) % 2) as u16, 80 + (next(state) % 8 / 7) as u16];
    let ends = [at(family.world, client), at(family.other, server)];
    let (hook, ends, ingress) = match next(state) % 2 {
        0 => (Hook::FromOutside, ends, [OUTSIDE, OUTSIDE, OUTSIDE, CLIENT.interface][next(state) % 4]),
        _ => (Hook::ToOutside, [ends[1], ends[0]], 0),
    };
    RandomPacket { hook, interface: OUTSIDE, ingress, mark: 0, frame: random_frame(ends, state) }
}

/// Sends random packets to a node, and to one at which each packet meets an epoch of its own, so that all pass the stages.
fn compare(setup: impl Fn() -> NativeNode, packet: impl Fn(&mut u64) -> RandomPacket) {
    let mut short = 0;
    for seed in 0..30 {
        let state = &mut seed.clone();
        let (mut node, mut staged) = (setup(), setup());
        for step in 1..120 {
            let RandomPacket { hook, interface, ingress, mark, frame } = packet(state);
            let flags = MEDIUM;
            staged.configure(Config { epoch: step, proxy_interface: PROXY, flags, ..Config::default() });
            let run = |node: &NativeNode| {
                let now = node.now;
                node.tables.run(hook, Arrival { interface, ingress, opener: None, mark, frame: &frame, now })
            };
            let outcome = run(&node);
            short += usize::from(outcome.verdict.is_ok() && outcome.events.is_empty());
            let place = format!("seed {seed}, step {step}: {hook}");
            assert_eq!(outcome, run(&staged), "{place}");
            let entries = |node: &NativeNode| {
                node.tables.connections().into_iter().map(without_ways).collect::<Vec<_>>()
            };
            assert_eq!(entries(&node), entries(&staged), "{place}");
            assert_eq!(node.tables.counters(), staged.tables.counters(), "{place}");
            let seconds = [0, 0, 0, 1, 9, 61][next(state) % 6];
            node.wait(seconds);
            staged.wait(seconds);
        }
    }
    assert!(short > 500, "{short} packets without an event are few");
}

#[test]
fn the_short_way_leads_where_the_stages_lead() {
    each_family(|family| compare(|| established(family), |state| between_workloads(family, state)));
}

#[test]
fn the_short_way_leads_where_the_stages_lead_at_the_node() {
    each_family(|family| compare(|| established_at_node(family), |state| outside_the_node(family, state)));
}
