//! Which blocks of the policies in force hold an address, as one number for each answer that differs.
//!
//! Blocks nest or are disjoint, so the longest one that holds an address tells all that do: a class is its longest
//! block. A block that only reaches the world says nothing of addresses inside the cluster, so there are two layers.

use crate::party;
use crate::rule::{Cidr, CidrReach, Entity, Peer, Peers, Policy};
use abi::address::AddressKey;
use identity::Numbering;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where the owner of an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Outside the cluster; every block counts.
    World,
    /// Workloads, nodes and the cluster's reserved peers; only blocks that reach everything count.
    Inside,
}

/// The addresses of one side for which `block` is the longest block in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CidrClass {
    /// The number of the class, from 1; 0 is the class of addresses that no block holds.
    pub number: u32,
    /// The longest block that holds its addresses.
    pub block: Cidr,
    /// Whose addresses.
    pub side: Side,
}

/// The blocks of the policies in force and the classes they make.
#[derive(Clone, Debug)]
pub struct Blocks {
    world: Layer,
    inside: Layer,
    numbers: Numbering<(Cidr, Side)>,
}

/// The blocks that count for one side.
#[derive(Clone, Debug, Default)]
struct Layer {
    /// How many policies name the block.
    blocks: HashMap<Cidr, usize>,
    /// How many blocks have a length, by family.
    lengths: BTreeMap<(bool, u8), usize>,
}

impl Side {
    /// The side of whoever has this identity or peer number.
    pub fn of(number: u32) -> Self {
        if party::is_world(number) { Self::World } else { Self::Inside }
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Self { world: Layer::default(), inside: Layer::default(), numbers: Numbering::new(1..=u32::MAX) }
    }
}

impl Blocks {
    /// No block is in force, and every address is in class 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the blocks of a policy; the classes that are new are returned.
    ///
    /// An address that lies in the block of a new class has that class from now on, unless a longer block holds it.
    pub fn insert(&mut self, policy: &Policy) -> Vec<CidrClass> {
        let mut new = Vec::new();
        for (block, side) in blocks_of(policy) {
            if self.layer_mut(side).insert(block) {
                let number =
                    self.numbers.acquire(&(block, side)).expect("fewer blocks than numbers fit in memory");
                new.push(CidrClass { number, block, side });
            }
        }
        new
    }

    /// Forgets the blocks of a policy; the classes that are no more are returned.
    pub fn remove(&mut self, policy: &Policy) -> Vec<CidrClass> {
        let mut gone = Vec::new();
        for (block, side) in blocks_of(policy) {
            if self.layer_mut(side).remove(&block)
                && let Some(number) = self.numbers.number(&(block, side))
            {
                self.numbers.release(number);
                gone.push(CidrClass { number, block, side });
            }
        }
        gone
    }

    /// The class of an address whose owner is on this side; 0 where no block holds it.
    pub fn class_of(&self, address: IpAddr, side: Side) -> u32 {
        let longest = self.layer(side).longest(address);
        longest.and_then(|block| self.numbers.number(&(block, side))).unwrap_or(0)
    }

    /// How many policies name the block for this side.
    pub fn holders(&self, block: &Cidr, side: Side) -> usize {
        self.layer(side).blocks.get(block).copied().unwrap_or(0)
    }

    /// The number of the class with this longest block.
    pub fn number(&self, block: &Cidr, side: Side) -> Option<u32> {
        self.numbers.number(&(*block, side))
    }

    /// All classes in force, by number.
    pub fn classes(&self) -> impl Iterator<Item = CidrClass> {
        self.numbers.iter().map(|(number, &(block, side))| CidrClass { number, block, side })
    }

    /// The rows that the address trie needs for addresses outside the cluster.
    pub fn world_rows(&self) -> impl Iterator<Item = (AddressKey, u32)> {
        let world = self.classes().filter(|class| class.side == Side::World);
        world.map(|class| (address_key(&class.block), class.number))
    }

    fn layer(&self, side: Side) -> &Layer {
        match side {
            Side::World => &self.world,
            Side::Inside => &self.inside,
        }
    }

    fn layer_mut(&mut self, side: Side) -> &mut Layer {
        match side {
            Side::World => &mut self.world,
            Side::Inside => &mut self.inside,
        }
    }
}

impl Layer {
    /// Whether the block was not there.
    fn insert(&mut self, block: Cidr) -> bool {
        let count = self.blocks.entry(block).or_default();
        *count += 1;
        let new = *count == 1;
        if new {
            *self.lengths.entry(length_key(&block)).or_default() += 1;
        }
        new
    }

    /// Whether that was the last.
    fn remove(&mut self, block: &Cidr) -> bool {
        let Some(count) = self.blocks.get_mut(block) else { return false };
        *count -= 1;
        let gone = *count == 0;
        if gone {
            self.blocks.remove(block);
            if let Some(blocks) = self.lengths.get_mut(&length_key(block)) {
                *blocks -= 1;
            }
        }
        gone
    }

    fn longest(&self, address: IpAddr) -> Option<Cidr> {
        let lengths = self.lengths.range((address.is_ipv4(), 0)..=(address.is_ipv4(), 128)).rev();
        lengths
            .filter(|(_, blocks)| **blocks > 0)
            .filter_map(|((_, length), _)| Cidr::new(address, *length))
            .find(|block| self.blocks.contains_key(block))
    }
}

fn length_key(block: &Cidr) -> (bool, u8) {
    (block.address().is_ipv4(), block.length())
}

/// The key of the block in the address trie.
pub fn address_key(block: &Cidr) -> AddressKey {
    let offset = if block.address().is_ipv4() { abi::Address::V4_PREFIX_BITS } else { 0 };
    AddressKey { prefix_bits: offset + u32::from(block.length()), address: block.address().into() }
}

/// The block of all addresses of one family, which tells the two families of the world apart.
pub(crate) fn family_block(entity: Entity) -> Option<Cidr> {
    match entity {
        Entity::WorldIpv4 => Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        Entity::WorldIpv6 => Cidr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
        _ => None,
    }
}

/// Every block that the policy names, exceptions included, with the sides for which it counts.
pub fn blocks_of(policy: &Policy) -> Vec<(Cidr, Side)> {
    let rules = policy.specs.iter().flat_map(|spec| &spec.rules);
    let peers = rules.flat_map(|rule| match &rule.peers {
        Peers::Any => &[][..],
        Peers::Of(peers) => peers,
    });
    peers.flat_map(blocks_of_peer).collect()
}

/// The blocks of one peer.
fn blocks_of_peer(peer: &Peer) -> Vec<(Cidr, Side)> {
    match peer {
        Peer::Labels(_) | Peer::Nodes(_) | Peer::Domain(_) | Peer::Group { .. } | Peer::Service(_) => {
            Vec::new()
        }
        Peer::Entity(entity) => family_block(*entity).into_iter().map(|block| (block, Side::World)).collect(),
        Peer::Cidr { block, except, reach } => blocks_with(*block, except, *reach).collect(),
    }
}

/// A block and those left out of it, with the sides for which they count.
pub(crate) fn blocks_with(
    block: Cidr,
    except: &[Cidr],
    reach: CidrReach,
) -> impl Iterator<Item = (Cidr, Side)> + '_ {
    let sides = match reach {
        CidrReach::World => &[Side::World][..],
        CidrReach::Everything => &[Side::World, Side::Inside],
    };
    let blocks = std::iter::once(block).chain(except.iter().copied());
    blocks.flat_map(move |block| sides.iter().map(move |side| (block, *side)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{Action, Direction, Kind, PolicyId, Rule, Spec, Subject, Tier, Traffic};
    use identity::Selector;

    fn cidr(text: &str) -> Cidr {
        let (address, length) = text.split_once('/').unwrap();
        Cidr::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    fn policy(block: &str, except: &[&str], reach: CidrReach) -> Policy {
        let peer =
            Peer::Cidr { block: cidr(block), except: except.iter().map(|text| cidr(text)).collect(), reach };
        let rule = Rule {
            place: "spec.egress[0]".into(),
            direction: Direction::Egress,
            priority: 0,
            action: Action::Allow,
            peers: Peers::Of(vec![peer]),
            traffic: Traffic::Any,
        };
        let spec = Spec {
            subject: Subject::Workloads(Selector::default()),
            tier: Tier::Normal,
            log: None,
            default_deny_ingress: false,
            default_deny_egress: true,
            rules: vec![rule],
        };
        Policy {
            id: PolicyId { kind: Kind::CiliumNetworkPolicy, namespace: None, name: block.into() },
            specs: vec![spec],
        }
    }

    #[test]
    fn addresses_in_the_same_blocks_have_the_same_class() {
        let mut blocks = Blocks::new();
        let new = blocks.insert(&policy("10.0.0.0/8", &["10.1.0.0/16"], CidrReach::World));
        assert_eq!(new.len(), 2);
        let class = |address: &str| blocks.class_of(address.parse().unwrap(), Side::World);
        assert_eq!(class("10.2.0.1"), class("10.255.0.1"));
        assert_eq!(class("10.1.0.1"), class("10.1.255.1"));
        assert_ne!(class("10.1.0.1"), class("10.2.0.1"));
        assert_eq!((class("11.0.0.1"), class("::ffff:a00:1")), (0, 0));
    }

    #[test]
    fn a_block_that_reaches_only_the_world_says_nothing_of_workloads() {
        let mut blocks = Blocks::new();
        blocks.insert(&policy("10.0.0.0/8", &[], CidrReach::World));
        assert_eq!(blocks.class_of("10.0.0.1".parse().unwrap(), Side::Inside), 0);
        blocks.insert(&policy("10.0.0.0/16", &[], CidrReach::Everything));
        assert_ne!(blocks.class_of("10.0.0.1".parse().unwrap(), Side::Inside), 0);
        assert_eq!(blocks.class_of("10.1.0.1".parse().unwrap(), Side::Inside), 0);
    }

    #[test]
    fn a_class_keeps_its_number_while_one_policy_names_its_block() {
        let mut blocks = Blocks::new();
        let (one, two) =
            (policy("10.0.0.0/8", &[], CidrReach::World), policy("10.0.0.0/8", &[], CidrReach::World));
        let class = blocks.insert(&one)[0];
        assert_eq!(blocks.insert(&two), []);
        blocks.insert(&policy("0.0.0.0/0", &[], CidrReach::World));
        assert_eq!(blocks.class_of("10.9.9.9".parse().unwrap(), Side::World), class.number);
        assert_eq!(blocks.remove(&one), []);
        assert_eq!(blocks.remove(&two), [class]);
        assert_ne!(blocks.class_of("10.9.9.9".parse().unwrap(), Side::World), class.number);
        assert_ne!(blocks.class_of("10.9.9.9".parse().unwrap(), Side::World), 0);
    }

    #[test]
    fn world_rows_are_prefixes_of_the_mapped_address() {
        let mut blocks = Blocks::new();
        blocks.insert(&policy("10.0.0.0/8", &[], CidrReach::World));
        let (key, class) = blocks.world_rows().next().unwrap();
        assert_eq!((key.prefix_bits, class), (104, 1));
        assert_eq!(key.address, abi::Address::from_v4([10, 0, 0, 0]));
    }
}
