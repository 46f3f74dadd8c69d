//! CIDR classes: which blocks of the policies in force contain an address.
//!
//! Two blocks nest or are disjoint, so the longest block that contains an address determines all others. A class is the
//! longest block of its addresses; its parent is the class of the next longer block around it. Blocks that match only
//! addresses outside the cluster do not classify addresses inside it, so there are two forests (decision 004).

mod span;

use crate::rule::{Cidr, CidrReach, Entity, Peer, Peers, Policy};
use abi::address::AddressKey;
use abi::identity::is_world;
use abi::policy::FIRST_BLOCK;
use abi::row::Row;
use identity::Numbering;
use span::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether the owner of an address is outside or inside the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressSide {
    /// Outside the cluster; every block matches.
    World,
    /// Workloads, nodes and reserved peers of the cluster; only blocks with [`CidrReach::Everything`] match.
    Inside,
}

/// The addresses of one side whose longest block in force is `block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CidrClass {
    /// The number of the class, from [`FIRST_BLOCK`]. 0 is the class of addresses that no block contains.
    pub number: u32,
    /// The longest block that contains its addresses.
    pub block: Cidr,
    /// The side of its addresses.
    pub side: AddressSide,
    /// The number of the class of the next block around this one; 0 if there is none.
    pub parent: u32,
}

/// How a change of the blocks in force changed their classes.
///
/// The rows of added classes must be written in their order, before the rows of reparented classes and before any
/// address is assigned to them. The rows of removed classes must stay until no row refers to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockChanges {
    /// New classes, each after the classes around it. The addresses in the block of a new class have that class from
    /// now on, unless a longer block contains them.
    pub added: Vec<CidrClass>,
    /// Classes with another parent: as they were, and as they are.
    pub reparented: Vec<(CidrClass, CidrClass)>,
    /// Removed classes, as they were.
    pub removed: Vec<CidrClass>,
}

/// Blocks whose parent changed, with the number of the parent they had before.
type OldParents = BTreeMap<(AddressSide, Span), u32>;

/// The blocks of the policies in force, and their classes.
#[derive(Clone, Debug)]
pub struct Blocks {
    world: Layer,
    inside: Layer,
    numbers: Numbering<(Cidr, AddressSide)>,
}

/// The blocks that match addresses of one side. Each block comes right before the blocks within it.
#[derive(Clone, Debug, Default)]
struct Layer(BTreeMap<Span, BlockEntry>);

/// A block in force.
#[derive(Clone, Debug)]
struct BlockEntry {
    block: Cidr,
    number: u32,
    /// How many rules name the block.
    holders: usize,
    /// The next block around it.
    parent: Option<Span>,
}

impl AddressSide {
    /// The side of the endpoint with this identity or peer number.
    pub fn of(number: u32) -> Self {
        if is_world(number) { Self::World } else { Self::Inside }
    }
}

impl CidrClass {
    /// The row that holds the parent of the class; none without a parent.
    pub fn parent_row(&self) -> Option<Row> {
        (self.parent != 0).then_some(Row::CidrParent(self.number, self.parent))
    }
}

impl BlockChanges {
    /// Adds later changes.
    pub fn append(&mut self, later: Self) {
        self.added.extend(later.added);
        self.reparented.extend(later.reparented);
        self.removed.extend(later.removed);
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            world: Layer::default(),
            inside: Layer::default(),
            numbers: Numbering::new(FIRST_BLOCK..=u32::MAX),
        }
    }
}

impl Blocks {
    /// No block is in force: every address is in class 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the blocks of a policy.
    pub fn insert(&mut self, policy: &Policy) -> BlockChanges {
        self.insert_all(blocks_of(policy))
    }

    /// Removes the blocks of a policy.
    pub fn remove(&mut self, policy: &Policy) -> BlockChanges {
        self.remove_all(blocks_of(policy))
    }

    /// Adds a class for one address outside the cluster, for facts about that address alone.
    pub fn insert_address(&mut self, address: IpAddr) -> BlockChanges {
        self.insert_all(vec![(Cidr::host(address), AddressSide::World)])
    }

    /// Reverts one [`Self::insert_address`].
    pub fn remove_address(&mut self, address: IpAddr) -> BlockChanges {
        self.remove_all(vec![(Cidr::host(address), AddressSide::World)])
    }

    /// Assigns no class a number up to this one, which the maps may still contain.
    pub fn number_above(&mut self, number: u32) {
        // At the end of the range the numbers wrap around, as those of the numbering do.
        let _ = self.numbers.continue_at(self.numbers.next().max(number.saturating_add(1)));
    }

    /// Counts a block whose class has this number in the maps. Returns whether neither had another meaning; else nothing
    /// changes.
    pub fn restore(&mut self, block: Cidr, side: AddressSide, number: u32) -> bool {
        let is_restored = self.numbers.restore(number, (block, side)).is_ok();
        if is_restored {
            self.insert_all(vec![(block, side)]);
        }
        is_restored
    }

    /// The class of an address whose owner is on this side; 0 if no block contains it.
    pub fn class_of(&self, address: IpAddr, side: AddressSide) -> u32 {
        self.layer(side).longest(address).map_or(0, |held| held.number)
    }

    /// The class of a block that is in force.
    pub fn class(&self, block: &Cidr, side: AddressSide) -> Option<CidrClass> {
        self.layer(side).class(Span::new(block), side)
    }

    /// How many rules name the block for this side.
    pub fn holders(&self, block: &Cidr, side: AddressSide) -> usize {
        self.layer(side).0.get(&Span::new(block)).map_or(0, |held| held.holders)
    }

    /// The number of the class with this longest block.
    pub fn number(&self, block: &Cidr, side: AddressSide) -> Option<u32> {
        Some(self.class(block, side)?.number)
    }

    /// All classes in force, by number.
    pub fn classes(&self) -> impl Iterator<Item = CidrClass> {
        self.numbers.iter().filter_map(|(_, (block, side))| self.class(block, *side))
    }

    /// The entries of the address trie for addresses outside the cluster.
    pub fn world_rows(&self) -> impl Iterator<Item = (AddressKey, u32)> {
        self.world.0.values().map(|held| (address_key(&held.block), held.number))
    }

    /// The rows of all classes that have a parent.
    pub fn parent_rows(&self) -> impl Iterator<Item = Row> {
        self.classes().filter_map(|class| class.parent_row())
    }

    /// Counts blocks.
    pub fn insert_all(&mut self, blocks: Vec<(Cidr, AddressSide)>) -> BlockChanges {
        let (mut added, mut reparented) = (BTreeSet::new(), OldParents::new());
        for (block, side) in blocks {
            let span = Span::new(&block);
            if self.layer_mut(side).hold(span) {
                continue;
            }
            let number =
                self.numbers.acquire(&(block, side)).expect("fewer blocks than numbers fit in memory");
            let children =
                self.layer_mut(side).insert(span, BlockEntry { block, number, holders: 1, parent: None });
            let parent = self.class(&block, side).map_or(0, |class| class.parent);
            for child in children {
                reparented.entry((side, child)).or_insert(parent);
            }
            added.insert((side, span));
        }
        reparented.retain(|place, _| !added.contains(place));
        BlockChanges {
            added: self.classes_at(&added),
            reparented: self.reparented(&reparented),
            removed: Vec::new(),
        }
    }

    /// Forgets blocks, each counted before.
    pub fn remove_all(&mut self, blocks: Vec<(Cidr, AddressSide)>) -> BlockChanges {
        let (mut removed, mut reparented) = (Vec::new(), OldParents::new());
        for (block, side) in blocks {
            let span = Span::new(&block);
            if self.layer_mut(side).give_up(span)
                && let Some(class) = self.class(&block, side)
            {
                for child in self.layer_mut(side).remove(span) {
                    reparented.entry((side, child)).or_insert(class.number);
                }
                self.numbers.release(class.number);
                // The class may have been reparented by an earlier block of the list.
                let parent = reparented.remove(&(side, span)).unwrap_or(class.parent);
                removed.push(CidrClass { parent, ..class });
            }
        }
        BlockChanges { added: Vec::new(), reparented: self.reparented(&reparented), removed }
    }

    /// The reparented classes, as they were and as they are.
    fn reparented(&self, reparented: &OldParents) -> Vec<(CidrClass, CidrClass)> {
        let classes = reparented.iter().filter_map(|((side, span), parent)| {
            let now = self.layer(*side).class(*span, *side)?;
            Some((CidrClass { parent: *parent, ..now }, now))
        });
        classes.collect()
    }

    /// The classes of these blocks that are still in force.
    fn classes_at(&self, places: &BTreeSet<(AddressSide, Span)>) -> Vec<CidrClass> {
        places.iter().filter_map(|(side, span)| self.layer(*side).class(*span, *side)).collect()
    }

    fn layer(&self, side: AddressSide) -> &Layer {
        match side {
            AddressSide::World => &self.world,
            AddressSide::Inside => &self.inside,
        }
    }

    fn layer_mut(&mut self, side: AddressSide) -> &mut Layer {
        match side {
            AddressSide::World => &mut self.world,
            AddressSide::Inside => &mut self.inside,
        }
    }
}

impl Layer {
    /// Adds a reference to a block, and returns whether the block is in force.
    fn hold(&mut self, span: Span) -> bool {
        self.0.get_mut(&span).map(|held| held.holders += 1).is_some()
    }

    /// Removes a reference to a block, and returns whether it was the last.
    fn give_up(&mut self, span: Span) -> bool {
        self.0.get_mut(&span).is_some_and(|held| {
            held.holders -= 1;
            held.holders == 0
        })
    }

    /// Adds a block, and returns the blocks whose parent it is now.
    fn insert(&mut self, span: Span, held: BlockEntry) -> Vec<Span> {
        let children = self.children(span);
        let parent = self.around(span);
        self.0.insert(span, BlockEntry { parent, ..held });
        self.move_under(&children, Some(span));
        children
    }

    /// Removes a block, and returns the blocks that have its parent now.
    fn remove(&mut self, span: Span) -> Vec<Span> {
        let parent = self.0.remove(&span).and_then(|held| held.parent);
        let children = self.children(span);
        self.move_under(&children, parent);
        children
    }

    fn move_under(&mut self, children: &[Span], parent: Option<Span>) {
        for child in children {
            self.0.get_mut(child).expect("a child is in force").parent = parent;
        }
    }

    /// The longest block in force around this one.
    fn around(&self, span: Span) -> Option<Span> {
        let mut nearest = self.0.range(..span).next_back().map(|(before, _)| *before);
        // A block that encloses the span comes before it, so that block is the nearest one before the span or encloses
        // the nearest one.
        while let Some(before) = nearest.filter(|before| !before.encloses(&span)) {
            nearest = self.0[&before].parent;
        }
        nearest
    }

    /// The longest blocks in force within this one.
    fn children(&self, span: Span) -> Vec<Span> {
        let mut children = Vec::new();
        let mut next = Some(span);
        while let Some(from) = next {
            let following = self.0.range(from..).map(|(found, _)| *found).find(|found| *found != span);
            let Some(child) = following.filter(|found| span.encloses(found)) else { break };
            children.push(child);
            next = child.after();
        }
        children
    }

    fn longest(&self, address: IpAddr) -> Option<&BlockEntry> {
        let host = Span::new(&Cidr::host(address));
        self.0.get(&host).or_else(|| self.0.get(&self.around(host)?))
    }

    fn class(&self, span: Span, side: AddressSide) -> Option<CidrClass> {
        let held = self.0.get(&span)?;
        let parent = held.parent.map_or(0, |parent| self.0[&parent].number);
        Some(CidrClass { number: held.number, block: held.block, side, parent })
    }
}

/// The key of the block in the address trie.
pub fn address_key(block: &Cidr) -> AddressKey {
    let offset = if block.address().is_ipv4() { abi::Address::V4_PREFIX_BITS } else { 0 };
    AddressKey { prefix_bits: offset + u32::from(block.length()), address: block.address().into() }
}

/// The block of all addresses of one family, by which entities of one family are matched.
pub(crate) fn family_block(entity: Entity) -> Option<Cidr> {
    match entity {
        Entity::WorldIpv4 => Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        Entity::WorldIpv6 => Cidr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
        _ => None,
    }
}

/// Every block that the policy names, exceptions included, with the sides whose addresses it matches.
pub fn blocks_of(policy: &Policy) -> Vec<(Cidr, AddressSide)> {
    let rules = policy.specs.iter().flat_map(|spec| &spec.rules);
    let peers = rules.flat_map(|rule| match &rule.peers {
        Peers::Any => &[][..],
        Peers::Of(peers) => peers,
    });
    peers.flat_map(blocks_of_peer).collect()
}

/// The blocks of one peer.
fn blocks_of_peer(peer: &Peer) -> Vec<(Cidr, AddressSide)> {
    match peer {
        Peer::Labels(_) | Peer::Nodes(_) | Peer::Domain(_) | Peer::CidrGroup { .. } | Peer::Service(_) => {
            Vec::new()
        }
        Peer::Entity(entity) => {
            family_block(*entity).into_iter().map(|block| (block, AddressSide::World)).collect()
        }
        Peer::Cidr { block, except, reach } => {
            let sides = match reach {
                CidrReach::World => &[AddressSide::World][..],
                CidrReach::Everything => &[AddressSide::World, AddressSide::Inside],
            };
            let blocks = std::iter::once(block).chain(except);
            blocks.flat_map(|block| sides.iter().map(|side| (*block, *side))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, allow, cidr, spec};
    use crate::rule::{Direction, Traffic};
    use identity::Selector;

    fn policy(block: &str, except: &[&str], reach: CidrReach) -> Policy {
        let rule = allow(Direction::Egress, fixtures::block(block, except, reach), Traffic::Any);
        fixtures::policy(block, [spec(Selector::default(), [rule])])
    }

    #[test]
    fn addresses_in_the_same_blocks_have_the_same_class() {
        let mut blocks = Blocks::new();
        let new = blocks.insert(&policy("10.0.0.0/8", &["10.1.0.0/16"], CidrReach::World)).added;
        assert_eq!((new.len(), new[0].parent, new[1].parent), (2, 0, new[0].number));
        let class = |address: &str| blocks.class_of(address.parse().unwrap(), AddressSide::World);
        assert_eq!(class("10.2.0.1"), class("10.255.0.1"));
        assert_eq!(class("10.1.0.1"), class("10.1.255.1"));
        assert_ne!(class("10.1.0.1"), class("10.2.0.1"));
        assert_eq!((class("11.0.0.1"), class("::ffff:a00:1")), (0, 0));
    }

    #[test]
    fn a_block_that_reaches_only_the_world_says_nothing_of_workloads() {
        let mut blocks = Blocks::new();
        blocks.insert(&policy("10.0.0.0/8", &[], CidrReach::World));
        assert_eq!(blocks.class_of("10.0.0.1".parse().unwrap(), AddressSide::Inside), 0);
        blocks.insert(&policy("10.0.0.0/16", &[], CidrReach::Everything));
        assert_ne!(blocks.class_of("10.0.0.1".parse().unwrap(), AddressSide::Inside), 0);
        assert_eq!(blocks.class_of("10.1.0.1".parse().unwrap(), AddressSide::Inside), 0);
    }

    #[test]
    fn a_class_keeps_its_number_while_one_policy_names_its_block() {
        let mut blocks = Blocks::new();
        let (one, two) =
            (policy("10.0.0.0/8", &[], CidrReach::World), policy("10.0.0.0/8", &[], CidrReach::World));
        let class = blocks.insert(&one).added[0];
        assert_eq!(blocks.insert(&two), BlockChanges::default());
        let all = blocks.insert(&policy("0.0.0.0/0", &[], CidrReach::World));
        let reparented = CidrClass { parent: all.added[0].number, ..class };
        assert_eq!(all.reparented, [(class, reparented)]);
        assert_eq!(blocks.class_of("10.9.9.9".parse().unwrap(), AddressSide::World), class.number);
        assert_eq!(blocks.remove(&one), BlockChanges::default());
        assert_eq!(
            blocks.remove(&two),
            BlockChanges { removed: vec![reparented], ..BlockChanges::default() }
        );
        assert_eq!(blocks.class_of("10.9.9.9".parse().unwrap(), AddressSide::World), all.added[0].number);
    }

    /// After any sequence of changes each class has the next block around it as parent, and the reported changes lead
    /// from one forest to the next.
    #[test]
    fn parents_follow_blocks_that_come_and_go() {
        let pool: Vec<Cidr> =
            ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "10.1.2.0/24"]
                .into_iter()
                .chain([
                    "10.1.2.3/32",
                    "10.255.255.255/32",
                    "255.255.255.255/32",
                    "::/0",
                    "fd00::/8",
                    "fd00::1/128",
                ])
                .map(cidr)
                .collect();
        let mut blocks = Blocks::new();
        let mut reported = BTreeMap::new();
        let mut state = 7_u64;
        for _ in 0..2000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let block = pool[(state >> 33) as usize % pool.len()];
            let one = (block, AddressSide::World);
            let changed = if blocks.class(&block, AddressSide::World).is_some() {
                blocks.remove_all(vec![one])
            } else {
                blocks.insert_all(vec![one])
            };
            for (before, _) in &changed.reparented {
                assert_eq!(reported[&before.block], before.parent);
            }
            changed
                .removed
                .iter()
                .for_each(|class| assert_eq!(reported.remove(&class.block), Some(class.parent)));
            let now = changed.added.iter().chain(changed.reparented.iter().map(|(_, now)| now));
            reported.extend(now.map(|class| (class.block, class.parent)));
            let force: Vec<CidrClass> = blocks.classes().collect();
            assert_eq!(reported, force.iter().map(|class| (class.block, class.parent)).collect());
            for class in &force {
                let around =
                    force.iter().filter(|one| one.block != class.block && one.block.encloses(&class.block));
                let parent = around.max_by_key(|one| one.block.length()).map_or(0, |one| one.number);
                assert_eq!(class.parent, parent, "{}", class.block);
                assert_eq!(blocks.class_of(class.block.address(), AddressSide::World), {
                    let holding = force.iter().filter(|one| one.block.contains(class.block.address()));
                    holding.max_by_key(|one| one.block.length()).map_or(0, |one| one.number)
                });
            }
        }
    }

    #[test]
    fn world_rows_are_prefixes_of_the_mapped_address() {
        let mut blocks = Blocks::new();
        blocks.insert(&policy("10.0.0.0/8", &[], CidrReach::World));
        let (key, class) = blocks.world_rows().next().unwrap();
        assert_eq!((key.prefix_bits, class), (104, FIRST_BLOCK));
        assert_eq!(key.address, abi::Address::from_v4([10, 0, 0, 0]));
    }
}
