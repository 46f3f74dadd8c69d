//! The blocks of addresses that a policy names, and what the policy distinguishes in each.

use crate::cidr::AddressSide;
use crate::directory::{Directory, FacetId};
use crate::domain::DomainPattern;
use crate::facet::Facet;
use crate::rule::{Cidr, CidrReach};
use identity::NumberIndex;
use std::collections::BTreeSet;

/// A set of facets in order: everything that rules can match of an address.
pub(super) type FacetSet = Box<[FacetId]>;

/// The parts of one policy, by number. The first two are root parts: each holds all addresses of its side. A part has no
/// holders, since it stays as long as its policy.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    parts: Vec<Part>,
    /// All parts except the root parts.
    numbers: NumberIndex,
    /// The blocks with facets other than those of the addresses around them, in order.
    world: Vec<(Cidr, u32)>,
    inside: Vec<(Cidr, u32)>,
    /// The domain patterns of the rules.
    domains: Vec<(FacetId, DomainPattern)>,
}

/// Addresses of one side that the policy does not distinguish, and that lie within addresses of another such part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub(super) side: AddressSide,
    pub(super) difference: Difference,
}

/// How a part differs from the part around it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Difference {
    /// The facets of addresses in the part.
    pub(super) within: FacetSet,
    /// The facets of addresses in the part around it.
    pub(super) around: FacetSet,
}

impl Difference {
    /// True for the root part of a side.
    pub(super) fn is_root(&self) -> bool {
        self.within.is_empty() && self.around.is_empty()
    }
}

impl Parts {
    /// The parts of the blocks that these facets name. Blocks of other policies add no part: the longest block of this
    /// policy around an address determines everything that the policy can match of the address.
    pub(super) fn new(facets: &[FacetId], directory: &Directory) -> Self {
        let root = |side| Part { side, difference: Difference::default() };
        let mut parts = Self {
            parts: vec![root(AddressSide::Inside), root(AddressSide::World)],
            numbers: NumberIndex::default(),
            world: Vec::new(),
            inside: Vec::new(),
            domains: Vec::new(),
        };
        for facet in facets {
            if let Facet::Domain(pattern) = directory.facet(*facet) {
                parts.domains.push((*facet, pattern.clone()));
            }
        }
        for side in [AddressSide::World, AddressSide::Inside] {
            parts.divide(blocks(facets, side, directory), side, directory);
        }
        parts.parts.shrink_to_fit();
        parts
    }

    /// Adds a part for each of these blocks in which the facets differ from those around it. The blocks are in order.
    fn divide(&mut self, named: Vec<(Cidr, FacetId)>, side: AddressSide, directory: &Directory) {
        let mut own = Vec::new();
        // Each block comes right after the blocks that enclose it, so the open blocks form a stack.
        let mut open: Vec<(Cidr, FacetSet)> = Vec::new();
        for same in named.chunk_by(|(one, _), (other, _)| one == other) {
            let block = same[0].0;
            while open.pop_if(|(outer, _)| !outer.encloses(&block)).is_some() {}
            let around = open.last().map(|(_, facets)| facets.clone()).unwrap_or_default();
            let within = within(&block, &around, same.iter().map(|(_, facet)| *facet), directory);
            open.push((block, within.clone()));
            if within != around {
                let (part, _) = self.intern(Part { side, difference: Difference { within, around } });
                own.push((block, part));
            }
        }
        own.shrink_to_fit();
        match side {
            AddressSide::World => self.world = own,
            AddressSide::Inside => self.inside = own,
        }
    }

    /// The number of a part, and whether the part is new.
    pub(super) fn intern(&mut self, part: Part) -> (u32, bool) {
        let hash = self.numbers.hash(&part);
        if let Some(number) = self.find(hash, &part) {
            return (number, false);
        }
        let number = self.parts.len() as u32;
        self.parts.push(part);
        self.numbers.insert(hash, number, |number| &self.parts[number as usize]);
        (number, true)
    }

    /// The number of a part, if the policy has the part and it is no root part.
    pub(super) fn number(&self, part: &Part) -> Option<u32> {
        self.find(self.numbers.hash(part), part)
    }

    fn find(&self, hash: u64, part: &Part) -> Option<u32> {
        self.numbers.find(hash, |number| self.part(number) == part)
    }

    /// The number of the root part of a side.
    pub(super) fn root(side: AddressSide) -> u32 {
        match side {
            AddressSide::Inside => 0,
            AddressSide::World => 1,
        }
    }

    /// The numbers of all parts.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.parts.len() as u32
    }

    /// The part with this number.
    pub(super) fn part(&self, number: u32) -> &Part {
        &self.parts[number as usize]
    }

    /// The blocks whose facets differ from those around them, with their parts, in order.
    pub(super) fn blocks(&self, side: AddressSide) -> &[(Cidr, u32)] {
        match side {
            AddressSide::World => &self.world,
            AddressSide::Inside => &self.inside,
        }
    }

    /// Whether a rule matches domain names.
    pub(super) fn has_domains(&self) -> bool {
        !self.domains.is_empty()
    }

    /// The part of an address outside the cluster that has these names; `block` holds that address alone. The part may
    /// equal the part around it.
    pub(super) fn with_names(&self, block: &Cidr, names: &BTreeSet<String>) -> Part {
        let Difference { within, around } = self.around(block);
        let meant = self.domains.iter().filter(|(_, pattern)| names.iter().any(|name| pattern.matches(name)));
        let within: BTreeSet<FacetId> = within.into_iter().chain(meant.map(|(facet, _)| *facet)).collect();
        let difference = Difference { within: within.into_iter().collect(), around };
        Part { side: AddressSide::World, difference }
    }

    /// The difference of addresses outside the cluster in this block: their facets, and the facets around the block.
    fn around(&self, block: &Cidr) -> Difference {
        let mut holding = (0..=block.length()).rev().filter_map(|length| {
            let wanted = Cidr::new(block.address(), length)?;
            let at = self.world.binary_search_by_key(&wanted, |(known, _)| *known).ok()?;
            Some((length, &self.part(self.world[at].1).difference))
        });
        match holding.next() {
            Some((length, own)) if length == block.length() => own.clone(),
            Some((_, own)) => Difference { within: own.within.clone(), around: own.within.clone() },
            None => Difference::default(),
        }
    }
}

/// The blocks that match addresses of this side, in order, each with the facet that names it.
fn blocks(facets: &[FacetId], side: AddressSide, directory: &Directory) -> Vec<(Cidr, FacetId)> {
    let mut blocks = Vec::new();
    for facet in facets {
        if let Facet::Block { block, except, reach } = directory.facet(*facet)
            && (side == AddressSide::World || *reach == CidrReach::Everything)
        {
            blocks.extend(std::iter::once(block).chain(except).map(|block| (*block, *facet)));
        }
    }
    blocks.sort_unstable();
    blocks
}

/// The facets of addresses in a block, from the facets around the block and the facets that name it.
fn within(
    block: &Cidr,
    around: &[FacetId],
    naming: impl Iterator<Item = FacetId>,
    directory: &Directory,
) -> FacetSet {
    let mut within = around.to_vec();
    for facet in naming {
        let leaves_out = match directory.facet(facet) {
            Facet::Block { except, .. } => except.iter().any(|except| except.encloses(block)),
            _ => false,
        };
        match (within.binary_search(&facet), leaves_out) {
            (Ok(at), true) => _ = within.remove(at),
            (Err(at), false) => within.insert(at, facet),
            (Ok(_), false) | (Err(_), true) => {}
        }
    }
    within.into()
}
