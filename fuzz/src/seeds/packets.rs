//! Seeds of the packet path: conversations between those who are on the node, and frames byte for byte.

use super::target::Seeds;
use crate::packet::arrivals;

/// Bytes that decide on one packet: hook, ways, state, kind, ends, ports, detail, shape.
type Packet = [u8; 8];

/// Every protocol, at every hook, between different ends.
pub fn packet() -> Seeds {
    let mut seeds = Seeds::default();
    for hook in 0..5 {
        for family in [0, 0x40] {
            for protocol in 0..8 {
                for ends in [0x01, 0x03, 0x10, 0x24, 0x42, 0x46, 0x51, 0x64, 0x68] {
                    conversations(&mut seeds, [hook, 0, 0, family | protocol, ends, 0x90, 2, 0]);
                }
            }
        }
    }
    seeds
}

fn conversations(seeds: &mut Seeds, first: Packet) {
    let [hook, _, _, kind, ends, ports, ..] = first;
    let place = if hook < 2 { ends >> 4 } else { 3 };
    let opening = [hook, place, if hook == 4 { 1 } else { 0 }, kind, ends, ports, 2, 0];
    let answer = [1 - hook.min(1), place, 0x20, kind, ends.rotate_left(4), ports.rotate_left(4), 18, 0x30];
    seeds.inputs.insert(opening.to_vec());
    seeds.inputs.insert([opening, answer].concat());
    for shape in [8, 10, 11, 12, 13, 14] {
        let mut shaped = opening;
        shaped[7] = shape;
        seeds.inputs.insert([shaped, opening].concat());
    }
    // The same frame as it stands, so that its bytes can change by themselves.
    for arrived in arrivals::read(&opening) {
        let mut raw = vec![hook, place, opening[2], 0x80];
        raw.extend((arrived.frame.len() as u16).to_be_bytes());
        raw.extend(arrived.frame);
        seeds.inputs.insert(raw);
    }
}
