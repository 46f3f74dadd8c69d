//! Random worlds in which some addresses have domain names and some rules match domain names.

use crate::cidr::Blocks;
use crate::domain::DomainPattern;
use crate::generate::{GeneratedWorld, Random};
use crate::names::DomainNames;
use crate::rule::{Cidr, CidrReach, Peer, Peers, Policy};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const NAMES: &[&str] = &["www.example.com", "api.example.com", "a.b.example.com", "example.org"];

const PATTERNS: &[&str] =
    &["www.example.com", "*.example.com", "**.example.com", "example.*", "*", "nobody.example.net"];

/// The most blocks that [`spread`] nests around an address. Together with the blocks of the generator they stay within
/// [`abi::policy::MAX_NESTING`]; beyond, the packet path drops, whatever the model decides.
const DEEPEST: usize = 24;

/// Replaces some blocks of the world's policies by domain names, and adds nested exceptions to others.
pub(super) fn spread(world: &mut GeneratedWorld, seed: u64) {
    let mut random = Random::new(seed ^ 0x64_6f_6d_61_69_6e);
    let mut nested = BTreeMap::<IpAddr, BTreeSet<u8>>::new();
    let addresses: Vec<IpAddr> = world.others.iter().flat_map(|other| other.addresses).collect();
    for peer in world.policies.iter_mut().flat_map(peers) {
        let Peer::Cidr { block, except, reach } = peer else { continue };
        if *reach == CidrReach::World && random.chance(50) {
            *peer = Peer::Domain(DomainPattern::pattern(random.pick(PATTERNS)).unwrap());
        } else if let Some(address) = addresses.iter().find(|address| block.contains(**address)) {
            // Each exception lies within the previous one, so the inner ones exclude no further address.
            let longest = Cidr::host(*address).length();
            let mut lengths: Vec<u8> = (block.length() + 1..=longest).filter(|_| random.chance(10)).collect();
            let around = nested.entry(*address).or_default();
            lengths.retain(|length| around.len() < DEEPEST || around.contains(length));
            around.extend(&lengths);
            except.extend(lengths.iter().filter_map(|length| Cidr::new(*address, *length)));
        }
    }
}

/// Domain names for about half of the addresses that belong to no workload; names of nodes must have no effect.
pub(super) fn names(world: &GeneratedWorld, seed: u64) -> DomainNames {
    let mut random = Random::new(seed ^ 0x6e_61_6d_65_73);
    let mut names = DomainNames::new();
    for address in world.others.iter().flat_map(|other| other.addresses) {
        let some: Vec<&str> = NAMES.iter().filter(|_| random.chance(25)).copied().collect();
        names.put(address, some);
    }
    names
}

/// Adds a CIDR class for each address with names.
pub(super) fn class(names: &DomainNames, blocks: &mut Blocks) {
    for (address, _) in names.iter() {
        blocks.insert_address(address);
    }
}

fn peers(policy: &mut Policy) -> impl Iterator<Item = &mut Peer> {
    let rules = policy.specs.iter_mut().flat_map(|spec| &mut spec.rules);
    rules.flat_map(|rule| match &mut rule.peers {
        Peers::Any => &mut [],
        Peers::Of(peers) => &mut peers[..],
    })
}
