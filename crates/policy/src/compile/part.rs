//! A policy's own blocks of addresses, and what the policy can tell of an address in each.

use super::facet::{FacetSet, Facets};
use crate::cidr::Side;
use crate::rule::Cidr;
use foldhash::HashMap;
use std::collections::BTreeMap;

/// The parts of one policy, by number. Part 0 holds every address; it differs from nothing.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    parts: Vec<Part>,
    numbers: HashMap<Difference, u32>,
    world: BTreeMap<Cidr, u32>,
    inside: BTreeMap<Cidr, u32>,
}

/// Addresses that the policy cannot tell apart, of blocks that lie in such addresses.
#[derive(Clone, Debug)]
struct Part {
    difference: Difference,
    sides: Sides,
}

/// Whose addresses may be in a part.
#[derive(Clone, Copy, Debug, Default)]
struct Sides {
    world: bool,
    inside: bool,
}

/// How a part differs from the part around it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Difference {
    /// The facets of addresses in the part.
    pub(super) within: FacetSet,
    /// The facets of addresses in the part around it.
    pub(super) around: FacetSet,
}

impl Parts {
    /// The parts of the policy's own blocks. Blocks of other policies change nothing: the longest of its own around an
    /// address tells all that the policy can know.
    pub(super) fn new(facets: &Facets) -> Self {
        let whole = Part { difference: Difference::default(), sides: Sides { world: true, inside: true } };
        let mut parts = Self {
            numbers: HashMap::default(),
            parts: vec![whole],
            world: BTreeMap::new(),
            inside: BTreeMap::new(),
        };
        for side in [Side::World, Side::Inside] {
            let mut named = facets.blocks(side);
            named.sort_unstable();
            // Blocks come with those that hold them right before, so the open ones form a stack.
            let mut open: Vec<(Cidr, FacetSet)> = Vec::new();
            for same in named.chunk_by(|(one, _), (other, _)| one == other) {
                let block = same[0].0;
                while open.pop_if(|(outer, _)| !outer.encloses(&block)).is_some() {}
                let around = open.last().map(|(_, facets)| facets.clone()).unwrap_or_default();
                let within = facets.within(&block, &around, same.iter().map(|(_, facet)| *facet));
                open.push((block, within.clone()));
                if within != around {
                    let (part, _) = parts.intern(Difference { within, around }, side);
                    parts.blocks_mut(side).insert(block, part);
                }
            }
        }
        parts
    }

    /// The number of a part, and whether no address of this side could be in it before.
    pub(super) fn intern(&mut self, difference: Difference, side: Side) -> (u32, bool) {
        let next = self.parts.len() as u32;
        let number = *self.numbers.entry(difference).or_insert_with_key(|difference| {
            self.parts.push(Part { difference: difference.clone(), sides: Sides::default() });
            next
        });
        let sides = &mut self.parts[number as usize].sides;
        let seen = match side {
            Side::World => &mut sides.world,
            Side::Inside => &mut sides.inside,
        };
        (number, !std::mem::replace(seen, true))
    }

    /// The number of a part that has one.
    pub(super) fn number(&self, difference: &Difference) -> Option<u32> {
        self.numbers.get(difference).copied()
    }

    /// The parts but the first that addresses of this side can be in.
    pub(super) fn of_side(&self, side: Side) -> impl Iterator<Item = u32> {
        let parts = (0..).zip(&self.parts).skip(1).filter(move |(_, part)| match side {
            Side::World => part.sides.world,
            Side::Inside => part.sides.inside,
        });
        parts.map(|(number, _)| number)
    }

    /// How the part differs from the one around it.
    pub(super) fn difference(&self, part: u32) -> &Difference {
        &self.parts[part as usize].difference
    }

    /// The policy's own blocks that make a difference, with their parts.
    pub(super) fn blocks(&self, side: Side) -> &BTreeMap<Cidr, u32> {
        match side {
            Side::World => &self.world,
            Side::Inside => &self.inside,
        }
    }

    /// What the policy can tell of addresses of the world in this block: of those of no longer block of its own, and
    /// of those of no block of its own that is as long.
    pub(super) fn around(&self, block: &Cidr) -> Difference {
        let mut holding = (0..=block.length()).rev().filter_map(|length| {
            let part = self.world.get(&Cidr::new(block.address(), length)?)?;
            Some((length, self.difference(*part)))
        });
        match holding.next() {
            Some((length, own)) if length == block.length() => own.clone(),
            Some((_, own)) => Difference { within: own.within.clone(), around: own.within.clone() },
            None => Difference::default(),
        }
    }

    fn blocks_mut(&mut self, side: Side) -> &mut BTreeMap<Cidr, u32> {
        match side {
            Side::World => &mut self.world,
            Side::Inside => &mut self.inside,
        }
    }
}
