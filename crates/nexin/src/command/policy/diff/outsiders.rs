//! Peers outside the cluster: the world, and the blocks, domains and entities that rules name.

use super::api_servers;
use super::breadth::Breadth;
use super::end_group::peers;
use crate::command::policy::scenario::Scenario;
use abi::identity::{REMOTE_NODE, WORLD};
use agent::explain::ConnectionEnd;
use identity::Labels;
use policy::domain::{DomainPattern, TooManyOverlaps, samples};
use policy::rule::{Cidr, CidrReach, Entity, Peer};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The external peers that rules name.
#[derive(Debug, Default)]
pub(super) struct Outsiders {
    /// All CIDR blocks, including those in `except`.
    blocks: BTreeSet<Cidr>,
    /// The blocks that match addresses of workloads and nodes, too.
    reaching_everything: BTreeSet<Cidr>,
    entities: BTreeSet<Entity>,
    /// Whether rules name API servers and none is known.
    lacks_api_servers: bool,
    /// A domain name for each combination of patterns, and how it is printed.
    names: Vec<(String, String)>,
}

impl Outsiders {
    /// Collects the external peers of all rules of both scenarios.
    pub(super) fn collect(worlds: &[Scenario; 2]) -> Result<Self, TooManyOverlaps> {
        let mut outsiders = Self::default();
        let mut patterns = BTreeSet::new();
        for peer in peers(worlds) {
            match peer {
                Peer::Cidr { block, except, reach } => {
                    outsiders.blocks.extend(except.iter().chain([block]).copied());
                    if *reach == CidrReach::Everything {
                        outsiders.reaching_everything.extend(except.iter().chain([block]).copied());
                    }
                }
                Peer::Domain(pattern) => drop(patterns.insert(pattern)),
                Peer::Entity(entity) => drop(outsiders.entities.insert(*entity)),
                Peer::Labels(selector) if api_servers::are_selected_by(selector) => {
                    outsiders.entities.insert(Entity::KubeApiserver);
                }
                Peer::Labels(_) | Peer::Nodes(_) | Peer::CidrGroup { .. } | Peer::Service(_) => {}
            }
        }
        // Known API servers are groups of their own.
        outsiders.lacks_api_servers =
            outsiders.entities.remove(&Entity::KubeApiserver) && !api_servers::are_known(worlds);
        let patterns: Vec<&DomainPattern> = patterns.into_iter().collect();
        let names = samples(&patterns)?.into_iter().map(|name| {
            let printed = printed(&name, &patterns);
            (name, printed)
        });
        outsiders.names = names.collect();
        Ok(outsiders)
    }

    /// Whether policies may distinguish workloads by their addresses.
    pub(super) fn distinguish_workloads(&self) -> bool {
        self.reaching_everything.iter().any(|block| block.length() > 0)
    }

    /// Addresses that rules distinguish on workloads and nodes, each with its block.
    pub(super) fn places(&self) -> Vec<(Cidr, IpAddr)> {
        addresses(&self.reaching_everything)
    }

    /// The blocks that are compared.
    pub(super) fn compared_blocks(&self) -> BTreeSet<Cidr> {
        addresses(&self.blocks).into_iter().map(|(block, _)| block).collect()
    }

    /// The world; a peer for each block, each name and each entity; if everything is compared, each name with an
    /// address of each block, too.
    pub(super) fn ends(&self, breadth: Breadth) -> Vec<ConnectionEnd> {
        let node = ConnectionEnd::new("other nodes", REMOTE_NODE, Labels::reserved("remote-node"));
        let mut ends = vec![outside("world"), node];
        let places = addresses(&self.blocks);
        let at = |(block, address): &(Cidr, IpAddr)| ConnectionEnd {
            addresses: vec![*address],
            ..outside(&block.to_string())
        };
        ends.extend(places.iter().map(at));
        for (name, printed) in &self.names {
            let names = BTreeSet::from([name.clone()]);
            if breadth == Breadth::Everything {
                let at = |(block, address): &(Cidr, IpAddr)| ConnectionEnd {
                    addresses: vec![*address],
                    names: names.clone(),
                    ..outside(&format!("{printed} in {block}"))
                };
                ends.extend(places.iter().map(at));
            }
            ends.push(ConnectionEnd { names, ..outside(printed) });
        }
        if self.lacks_api_servers {
            let places = if breadth == Breadth::Everything { &places[..] } else { &[] };
            ends.extend(api_servers::generated(places));
        }
        let named = [Entity::Ingress, Entity::Health, Entity::Init, Entity::Unmanaged];
        for entity in named.into_iter().filter(|entity| self.entities.contains(entity)) {
            ends.extend(ConnectionEnd::reserved(entity.name()));
        }
        ends
    }
}

/// A name as it is printed: alone if a rule names it, else with the patterns that it matches.
fn printed(name: &str, patterns: &[&DomainPattern]) -> String {
    let matching = patterns.iter().filter(|pattern| pattern.matches(name)).map(ToString::to_string);
    let matching: Vec<String> = matching.collect();
    if matching.iter().any(|pattern| pattern == name) {
        return name.to_owned();
    }
    let more = matching.len().saturating_sub(SHOWN);
    let shown = matching[..matching.len() - more].join(", ");
    if more == 0 { format!("{name} ({shown})") } else { format!("{name} ({shown} and {more} more)") }
}

fn outside(name: &str) -> ConnectionEnd {
    ConnectionEnd::new(name, WORLD, Labels::reserved("world"))
}

/// An address for each block that has one outside all blocks within it. A whole family is represented by the world.
fn addresses(blocks: &BTreeSet<Cidr>) -> Vec<(Cidr, IpAddr)> {
    let compared = blocks.iter().filter(|block| block.length() > 0);
    compared.filter_map(|block| Some((*block, address_in(block, blocks)?))).collect()
}

/// An address of the block outside all blocks within it, if there is one: the block's first address, or the next
/// address after one of those blocks.
fn address_in(block: &Cidr, blocks: &BTreeSet<Cidr>) -> Option<IpAddr> {
    let inner: Vec<&Cidr> = blocks.iter().filter(|one| block.encloses(one) && *one != block).collect();
    let nexts = inner.iter().filter_map(|one| next(one));
    let mut candidates = [block.address()].into_iter().chain(nexts);
    candidates.find(|address| block.contains(*address) && !inner.iter().any(|one| one.contains(*address)))
}

/// The first address after the block.
fn next(block: &Cidr) -> Option<IpAddr> {
    Some(match block.address() {
        IpAddr::V4(first) => {
            let size = 1u32.checked_shl(32 - u32::from(block.length()))?;
            Ipv4Addr::from_bits(first.to_bits().checked_add(size)?).into()
        }
        IpAddr::V6(first) => {
            let size = 1u128.checked_shl(128 - u32::from(block.length()))?;
            Ipv6Addr::from_bits(first.to_bits().checked_add(size)?).into()
        }
    })
}

/// Maximum number of patterns that are printed with a name.
const SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_represented_by_an_address_outside_the_blocks_within_it() {
        let cidr = |text: &str| {
            let (address, length) = text.split_once('/').unwrap();
            Cidr::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
        };
        let check = |block: &str, within: &[&str], expected: Option<&str>| {
            let blocks = within.iter().map(|text| cidr(text)).chain([cidr(block)]).collect();
            let address = address_in(&cidr(block), &blocks).map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{block} without {within:?}");
        };
        check("10.0.0.0/8", &[], Some("10.0.0.0"));
        check("10.0.0.0/8", &["10.0.0.0/16", "10.1.0.0/24"], Some("10.1.1.0"));
        check("10.0.0.0/8", &["10.0.0.0/9", "10.128.0.0/9"], None);
        check("255.0.0.0/8", &["255.0.0.0/9", "255.128.0.0/9"], None);
        check("2001:db8::/32", &["2001:db8::/128"], Some("2001:db8::1"));
    }
}
