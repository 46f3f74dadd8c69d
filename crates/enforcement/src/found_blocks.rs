//! Which block of addresses each CIDR class stands for, in rows that were found in the maps.
//!
//! The policies of before name blocks by the numbers of their classes, and judge packets until the policies of now have
//! taken their place. So a block keeps its number, and stays in force until then. The row of a block outside the cluster
//! names the class of the block. A block inside the cluster has no row: only the rows of single addresses name classes
//! there. A class inside is given to a block that holds exactly the addresses of the class, so that each of these addresses
//! stays in the same classes. Where several blocks hold the same addresses, any of them does, in the order of the classes.

use crate::row_changes::Rows;
use abi::Address;
use abi::address::AddressKey;
use abi::policy::FIRST_BLOCK;
use abi::row::{Row, RowKey};
use policy::cidr::AddressSide;
use policy::rule::Cidr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block with the number of its class.
pub(crate) type FoundBlock = (Cidr, AddressSide, u32);

/// The blocks outside the cluster. A number that several rows name is left out: the rows do not show which block has it.
pub(crate) fn blocks_outside(found: &Rows) -> Vec<FoundBlock> {
    let mut blocks: BTreeMap<u32, Vec<Cidr>> = BTreeMap::new();
    for (block, class) in classes(found, AddressSide::World) {
        blocks.entry(class).or_default().push(block);
    }
    let known = blocks.into_iter().filter_map(|(class, blocks)| match blocks[..] {
        [block] if class >= FIRST_BLOCK => Some((block, AddressSide::World, class)),
        _ => None,
    });
    known.collect()
}

/// The blocks inside the cluster.
pub(crate) fn blocks_inside(found: &Rows) -> Vec<FoundBlock> {
    let addresses: Vec<(Cidr, u32)> =
        classes(found, AddressSide::Inside).filter(|(block, _)| block.is_host()).collect();
    let mut classes_by_members = classes_by_members(found, &addresses);
    let blocks_by_members = match classes_by_members.is_empty() {
        true => BTreeMap::new(),
        false => blocks_by_members(found, &addresses),
    };
    // The number of a block outside is that block's alone.
    let taken: BTreeSet<u32> = classes(found, AddressSide::World).map(|(_, class)| class).collect();
    let mut known = Vec::new();
    for (members, classes) in &mut classes_by_members {
        classes.retain(|class| !taken.contains(class));
        let mut blocks = blocks_by_members.get(members).cloned().unwrap_or_default();
        // The row of an address inside the cluster hides the block of this one address outside.
        if let [only] = members[..]
            && blocks.len() < classes.len()
        {
            blocks.insert(0, only);
        }
        known.extend(classes.iter().zip(blocks).map(|(class, block)| (block, AddressSide::Inside, *class)));
    }
    known
}

/// The blocks of one side that have rows, each with the class that its row names; 0 is none.
fn classes(found: &Rows, side: AddressSide) -> impl Iterator<Item = (Cidr, u32)> {
    found.values().filter_map(move |row| match row {
        Row::Address(key, info) if AddressSide::of(info.peer) == side => Some((block_of(key)?, info.cidr)),
        _ => None,
    })
}

/// The classes that hold the same addresses, each before those around it.
fn classes_by_members(found: &Rows, addresses: &[(Cidr, u32)]) -> BTreeMap<Vec<Cidr>, Vec<u32>> {
    let mut members: BTreeMap<u32, (usize, Vec<Cidr>)> = BTreeMap::new();
    for (address, class) in addresses {
        let around = classes_around(found, *class);
        for (at, class) in around.iter().enumerate() {
            // Classes with the same members lie in one chain of parents, so depths order them.
            let (depth, members) = members.entry(*class).or_default();
            *depth = around.len() - at;
            members.push(*address);
        }
    }
    let mut by_depth: Vec<(usize, u32, Vec<Cidr>)> =
        members.into_iter().map(|(class, (depth, members))| (depth, class, members)).collect();
    by_depth.sort_by_key(|(depth, ..)| std::cmp::Reverse(*depth));
    let mut classes: BTreeMap<Vec<Cidr>, Vec<u32>> = BTreeMap::new();
    for (_, class, members) in by_depth {
        classes.entry(members).or_default().push(class);
    }
    classes
}

/// The class and those around it, outwards; none where damaged rows form a circle.
fn classes_around(found: &Rows, class: u32) -> Vec<u32> {
    let mut around = Vec::new();
    let mut next = Some(class).filter(|class| *class >= FIRST_BLOCK);
    while let Some(class) = next {
        if around.contains(&class) {
            return Vec::new();
        }
        around.push(class);
        next = match found.get(&RowKey::CidrParent(class)) {
            Some(Row::CidrParent(_, parent)) => Some(*parent).filter(|parent| *parent >= FIRST_BLOCK),
            _ => None,
        };
    }
    around
}

/// The blocks that hold the same of these addresses, each before those around it. A policy that names a block inside
/// the cluster names it outside too, so every block has a row, but for single addresses.
fn blocks_by_members(found: &Rows, addresses: &[(Cidr, u32)]) -> BTreeMap<Vec<Cidr>, Vec<Cidr>> {
    let blocks: BTreeSet<Cidr> = blocks_outside(found).into_iter().map(|(block, ..)| block).collect();
    let mut members: BTreeMap<Cidr, Vec<Cidr>> = BTreeMap::new();
    for (host, _) in addresses {
        let around = (0..=host.length()).filter_map(|length| Cidr::new(host.address(), length));
        for block in around.filter(|block| blocks.contains(block)) {
            members.entry(block).or_default().push(*host);
        }
    }
    let mut by_length: Vec<(Cidr, Vec<Cidr>)> = members.into_iter().collect();
    by_length.sort_by_key(|(block, _)| std::cmp::Reverse(block.length()));
    let mut blocks: BTreeMap<Vec<Cidr>, Vec<Cidr>> = BTreeMap::new();
    for (block, members) in by_length {
        blocks.entry(members).or_default().push(block);
    }
    blocks
}

/// The block with this key in the address trie; none where the key has more bits than an address.
fn block_of(key: &AddressKey) -> Option<Cidr> {
    let length = u8::try_from(key.prefix_bits).ok()?;
    match key.prefix_bits.checked_sub(Address::V4_PREFIX_BITS) {
        Some(length) if key.address.is_v4() => {
            Cidr::new(Ipv4Addr::from(key.address.v4()).into(), u8::try_from(length).ok()?)
        }
        _ => Cidr::new(IpAddr::V6(Ipv6Addr::from(key.address.0)), length),
    }
}
