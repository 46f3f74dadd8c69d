//! What a policy can tell of a peer: which of its peer selectors select it, and which of its blocks hold its address.

use crate::cidr::{Side, blocks_with, family_block};
use crate::directory::{Directory, SelectorId};
use crate::domain::DomainPattern;
use crate::rule::{Cidr, CidrReach, Entity, Peer};
use abi::identity::{HOST, is_remote_node, is_workload};
use identity::{Operator, Selector, Source, key};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A sorted set of facets by index: all that rules can see of a peer but its named ports.
pub(super) type FacetSet = Box<[u32]>;

/// The distinct ways in which one policy's rules tell peers apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Facets {
    facets: Vec<Facet>,
    index: HashMap<Facet, u32>,
}

/// One way to tell peers apart. Selectors are held in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Facet {
    /// Workloads, and whoever else has such labels.
    Labels(SelectorId),
    /// A selector that every workload has the label for; those without a namespace are asked one by one.
    AnyWorkload(SelectorId),
    Nodes(SelectorId),
    Entity(Entity),
    Block {
        block: Cidr,
        except: Box<[Cidr]>,
        reach: CidrReach,
    },
    Domain(DomainPattern),
}

/// The policy's own numbers for what it can tell of an address.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    numbers: HashMap<FacetSet, u32>,
    /// The block facets of each part, by number.
    members: Vec<FacetSet>,
    /// The parts that addresses of each side can be in.
    world: BTreeSet<u32>,
    inside: BTreeSet<u32>,
}

impl Facets {
    /// The index of the facet; none where the peer is everybody.
    pub(super) fn intern(&mut self, peer: &Peer, directory: &mut Directory) -> Option<u32> {
        if is_everybody(peer) {
            return None;
        }
        let facet = Facet::new(peer, directory);
        let held = facet.selector();
        let next = self.facets.len() as u32;
        let index = *self.index.entry(facet).or_insert_with_key(|facet| {
            self.facets.push(facet.clone());
            next
        });
        // A facet holds its selector once.
        if let Some(selector) = held.filter(|_| index != next) {
            directory.release(selector);
        }
        Some(index)
    }

    pub(super) fn len(&self) -> usize {
        self.facets.len()
    }

    /// The selectors that it holds, those apart that select every workload.
    pub(super) fn selectors(&self) -> impl Iterator<Item = SelectorId> {
        self.facets.iter().filter(|facet| !matches!(facet, Facet::AnyWorkload(_))).filter_map(Facet::selector)
    }

    /// Gives up its selectors.
    pub(super) fn release(self, directory: &mut Directory) {
        self.facets.iter().filter_map(Facet::selector).for_each(|selector| directory.release(selector));
    }

    /// The facets of every peer that has any but those of [`Self::of_any_workload`].
    pub(super) fn of_known(&self, directory: &Directory) -> BTreeMap<u32, Vec<u32>> {
        let mut known: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let common = self.of_any_workload();
        for (index, facet) in self.enumerate() {
            match facet {
                Facet::Block { .. } | Facet::Domain(_) => {}
                Facet::Labels(selector) => {
                    for number in directory.selected(*selector) {
                        known.entry(*number).or_default().push(index);
                    }
                }
                Facet::Entity(_) | Facet::AnyWorkload(_) | Facet::Nodes(_) => {
                    for number in directory.apart().filter(|number| facet.selects(*number, directory)) {
                        known.entry(number).or_default().push(index);
                    }
                }
            }
        }
        for (number, facets) in &mut known {
            if is_workload(*number) {
                facets.extend(&common);
            }
        }
        known.extend(directory.without_namespace().map(|number| (number, self.of_peer(number, directory))));
        known
    }

    /// The facets of one peer, by asking each.
    pub(super) fn of_peer(&self, number: u32, directory: &Directory) -> Vec<u32> {
        self.enumerate()
            .filter(|(_, facet)| facet.selects(number, directory))
            .map(|(index, _)| index)
            .collect()
    }

    /// The facets that every workload has, whatever its labels.
    pub(super) fn of_any_workload(&self) -> Vec<u32> {
        let common = |facet: &Facet| matches!(facet, Facet::AnyWorkload(_) | Facet::Entity(Entity::Cluster));
        self.enumerate().filter(|(_, facet)| common(facet)).map(|(index, _)| index).collect()
    }

    /// The facets of addresses for which this is the longest block in force.
    pub(super) fn of_block(&self, longest: &Cidr, side: Side) -> FacetSet {
        let holds = |facet: &Facet| match facet {
            Facet::Block { block, except, reach } => {
                (side == Side::World || *reach == CidrReach::Everything)
                    && block.encloses(longest)
                    && !except.iter().any(|except| except.encloses(longest))
            }
            _ => false,
        };
        self.enumerate().filter(|(_, facet)| holds(facet)).map(|(index, _)| index).collect()
    }

    fn enumerate(&self) -> impl Iterator<Item = (u32, &Facet)> {
        (0..).zip(&self.facets)
    }
}

impl Facet {
    /// What the peer tells apart; its selector is held once more.
    fn new(peer: &Peer, directory: &mut Directory) -> Self {
        match peer {
            Peer::Labels(selector) if asks_only_for_a_namespace(selector) => {
                Self::AnyWorkload(directory.intern(selector))
            }
            Peer::Labels(selector) => Self::Labels(directory.intern(selector)),
            Peer::Nodes(selector) => Self::Nodes(directory.intern(selector)),
            // The family of the world is told by address, since the world may have one number for both.
            Peer::Entity(entity) => match family_block(*entity) {
                Some(block) => Self::Block { block, except: Box::default(), reach: CidrReach::World },
                None => Self::Entity(*entity),
            },
            Peer::Cidr { block, except, reach } => {
                Self::Block { block: *block, except: except.as_slice().into(), reach: *reach }
            }
            Peer::Domain(pattern) => Self::Domain(pattern.clone()),
            Peer::Group { .. } | Peer::Service(_) => unreachable!("references were resolved"),
        }
    }

    fn selector(&self) -> Option<SelectorId> {
        match self {
            Self::Labels(selector) | Self::AnyWorkload(selector) | Self::Nodes(selector) => Some(*selector),
            Self::Entity(_) | Self::Block { .. } | Self::Domain(_) => None,
        }
    }

    /// Whether it tells the peer apart; blocks and names are asked by address, elsewhere.
    fn selects(&self, number: u32, directory: &Directory) -> bool {
        match self {
            Self::Labels(selector) | Self::AnyWorkload(selector) => directory.selects(*selector, number),
            Self::Nodes(selector) => {
                (number == HOST || is_remote_node(number)) && directory.selects(*selector, number)
            }
            Self::Entity(entity) => entity.names(number),
            Self::Block { .. } | Self::Domain(_) => false,
        }
    }

    /// The blocks whose addresses it may tell apart.
    fn blocks(&self) -> Vec<(Cidr, Side)> {
        match self {
            Self::Block { block, except, reach } => blocks_with(*block, except, *reach).collect(),
            _ => Vec::new(),
        }
    }
}

impl Parts {
    /// The parts of a policy follow from its own blocks: whatever other block is the longest around an address, of
    /// the policy's own blocks the longest around it tells all that the policy can know.
    pub(super) fn new(facets: &Facets) -> Self {
        let none = FacetSet::default();
        let mut parts = Self {
            numbers: HashMap::from([(none.clone(), 0)]),
            members: vec![none],
            world: BTreeSet::from([0]),
            inside: BTreeSet::from([0]),
        };
        for (block, side) in facets.facets.iter().flat_map(Facet::blocks) {
            let members = facets.of_block(&block, side);
            let next = parts.members.len() as u32;
            let part = *parts.numbers.entry(members).or_insert_with_key(|members| {
                parts.members.push(members.clone());
                next
            });
            match side {
                Side::World => parts.world.insert(part),
                Side::Inside => parts.inside.insert(part),
            };
        }
        parts
    }

    /// The number of the part with these facets.
    pub(super) fn number(&self, facets: &FacetSet) -> u32 {
        *self.numbers.get(facets).expect("the policy's own longest block around an address made the part")
    }

    /// The parts that addresses of this side can be in, with their facets.
    pub(super) fn of_side(&self, side: Side) -> impl Iterator<Item = (u32, &FacetSet)> {
        let parts = match side {
            Side::World => &self.world,
            Side::Inside => &self.inside,
        };
        parts.iter().map(|part| (*part, &self.members[*part as usize]))
    }
}

/// Whether the peer is everybody, known or not.
fn is_everybody(peer: &Peer) -> bool {
    match peer {
        Peer::Entity(entity) => *entity == Entity::All,
        Peer::Labels(selector) => selector.requirements.is_empty(),
        _ => false,
    }
}

fn asks_only_for_a_namespace(selector: &Selector) -> bool {
    selector.requirements.iter().all(|requirement| {
        requirement.name == key::NAMESPACE
            && requirement.operator == Operator::Exists
            && requirement.source.as_ref().is_none_or(|source| *source == Source::K8s)
    })
}
