//! Packets parsed from an input: byte for byte, or built from its decisions and then mutated.

use super::node::{ADDRESSES, OUTSIDE, PROXY, WORKLOADS, addresses, mac};
use crate::input::Input;
use abi::{Hook, mark};
use datapath::SocketState;
use datapath::craft::{self, Craft};
use datapath::native::{Arrival, ProxySockets};
use std::net::SocketAddr;

/// Most packets of one input.
const MOST: usize = 16;
/// Ports that policies and services name, and others.
const PORTS: [u16; 10] = [80, 8080, 53, 443, 22, 25, 7000, 7001, 15001, 40000];
/// ICMP types: errors, echo, neighbour discovery.
const KINDS: [u8; 12] = [0, 3, 8, 11, 1, 2, 128, 129, 133, 135, 136, 143];

/// A packet at a hook.
#[derive(Debug)]
pub struct Arrived {
    /// The hook.
    pub hook: Hook,
    /// All but its bytes.
    pub arrival: Arrival<'static>,
    /// Its bytes.
    pub frame: Vec<u8>,
    /// The sockets of the proxy at that moment.
    pub sockets: ProxySockets,
}

/// Parses packets until the input ends.
pub fn read(data: &[u8]) -> Vec<Arrived> {
    let mut input = Input::new(data);
    let mut arrived = Vec::new();
    let mut now = 1_000_000_000_000;
    while !input.is_empty() && arrived.len() < MOST {
        let hook = input.pick(&[
            Hook::FromWorkload,
            Hook::ToWorkload,
            Hook::FromOutside,
            Hook::ToOutside,
            Hook::ToProxy,
        ]);
        let ways = input.byte();
        let interfaces = [10, 20, 30, OUTSIDE, PROXY, 7];
        let interface = interfaces[usize::from(ways & 15) % interfaces.len()];
        let ingress = [0, 10, 20, OUTSIDE, PROXY][usize::from(ways >> 4) % 5];
        let state = input.byte();
        let mark = [0, mark::TO_PROXY, mark::FROM_PROXY, 0xffff_ffff, 1][usize::from(state & 7) % 5];
        now += u64::from(state >> 5) * 40_000_000_000;
        let states = [
            None,
            Some(SocketState::Listen(15001u16.to_be_bytes())),
            Some(SocketState::TimeWait),
            Some(SocketState::Connected),
        ];
        let sockets =
            ProxySockets { connected: states[usize::from(state >> 3) & 3], listens: state & 4 != 0 };
        let frame = frame(&mut input);
        let opener = (state & 7 > 4).then(|| addresses(usize::from(ways) % ADDRESSES.len()));
        let opener = opener.map(|ends| ends[usize::from(state & 1)].into());
        let arrival = Arrival { interface, ingress, opener, mark, now, ..Arrival::default() };
        arrived.push(Arrived { hook, arrival, frame, sockets });
    }
    arrived
}

fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.byte();
    if kind & 0x80 != 0 {
        let length = usize::from(input.short() % 2048);
        return input.take(length).to_vec();
    }
    let family = usize::from(kind >> 6 & 1);
    let mut frame = match kind & 7 {
        7 => discovery(input, family),
        _ => packet(input, family, kind & 7),
    };
    // Mutations: the offset and the new value of each.
    for _ in 0..usize::from(kind >> 3 & 7) {
        let (place, value) = (input.byte(), input.byte());
        if let Some(byte) = frame.get_mut(usize::from(place)) {
            *byte = value;
        }
    }
    frame
}

/// ARP or a neighbour solicitation.
fn discovery(input: &mut Input<'_>, family: usize) -> Vec<u8> {
    let (who, target, operation) = (input.below(WORKLOADS.len()), input.below(ADDRESSES.len()), input.byte());
    match (addresses(who), addresses(target), family) {
        ([std::net::IpAddr::V4(source), _], [std::net::IpAddr::V4(target), _], 0) => {
            craft::arp(operation % 4, mac(who), source, target)
        }
        ([_, std::net::IpAddr::V6(source)], [_, std::net::IpAddr::V6(target)], _) => {
            craft::neighbour_solicitation(mac(who), source, target)
        }
        _ => unreachable!("the first address of each is of IPv4"),
    }
}

/// An IP packet between two of the known ends.
fn packet(input: &mut Input<'_>, family: usize, protocol: u8) -> Vec<u8> {
    let who = input.byte();
    let [source, destination] =
        [who >> 4, who & 15].map(|at| addresses(usize::from(at) % ADDRESSES.len())[family]);
    let ports = input.byte();
    let [from, to] = [ports >> 4, ports & 15].map(|at| PORTS[usize::from(at) % PORTS.len()]);
    let (from, to) = (SocketAddr::new(source, from), SocketAddr::new(destination, to));
    let detail = input.byte();
    let craft = match protocol {
        0 | 1 => craft::tcp(from, to).flags(detail),
        2 => craft::udp(from, to),
        3 => craft::sctp(from, to),
        4 => craft::icmp(source, destination, KINDS[usize::from(detail) % KINDS.len()], detail >> 6),
        5 => {
            // An error about a packet of the opposite direction.
            let lost = craft::tcp(to, from).frame();
            craft::icmp_error(source, destination, KINDS[usize::from(detail) % KINDS.len()], 0, &lost)
        }
        // A protocol with a header of its own is built above; GRE stands for it here.
        _ if [1, 6, 17, 58, 132].contains(&detail) => craft::other(source, destination, 47),
        _ => craft::other(source, destination, detail),
    };
    shaped(input, craft)
}

/// The frame of a packet with a payload, padding or a hop limit of the input's; or the first of its fragments.
fn shaped(input: &mut Input<'_>, craft: Craft) -> Vec<u8> {
    let shape = input.byte();
    let payload = vec![0x5a; usize::from(shape >> 4) * 4];
    let craft = craft.payload(&payload);
    match shape & 15 {
        0..8 => craft.frame(),
        8 => craft.hop_limit(1).frame(),
        9 => craft.hop_limit(255).frame(),
        10 => craft.padded(1).frame(),
        11 => craft.padded(3).frame(),
        12 => craft.without_checksum().frame(),
        nth => {
            let mut fragments = craft.payload(&[0x5a; 64]).fragments(24);
            fragments.swap_remove(usize::from(nth - 13) % fragments.len())
        }
    }
}
