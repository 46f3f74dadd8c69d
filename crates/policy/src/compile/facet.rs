//! What a policy can tell of a peer: which of its peer selectors select it, and which of its blocks hold its address.

use crate::cidr::{Side, family_block};
use crate::directory::{Directory, SelectorId};
use crate::domain::DomainPattern;
use crate::rule::{Cidr, CidrReach, Entity, Peer};
use abi::identity::{HOST, is_remote_node, is_workload};
use foldhash::HashMap;
use identity::{Operator, Selector, Source, key};
use std::collections::{BTreeMap, BTreeSet};

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

    /// Gives up what only [`Self::intern`] needs.
    pub(super) fn complete(mut self) -> Self {
        self.index = HashMap::default();
        self.facets.shrink_to_fit();
        self
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

    /// The blocks that count for addresses of this side, each with the facet that names it.
    pub(super) fn blocks(&self, side: Side) -> Vec<(Cidr, u32)> {
        let mut blocks = Vec::new();
        for (index, facet) in self.enumerate() {
            if let Facet::Block { block, except, reach } = facet
                && (side == Side::World || *reach == CidrReach::Everything)
            {
                blocks.extend(std::iter::once(block).chain(except).map(|block| (*block, index)));
            }
        }
        blocks
    }

    /// The facets of addresses in a block, given those of addresses around it and the facets that name it.
    pub(super) fn within(&self, block: &Cidr, around: &[u32], naming: impl Iterator<Item = u32>) -> FacetSet {
        let mut within = BTreeSet::from_iter(around.iter().copied());
        for index in naming {
            match &self.facets[index as usize] {
                Facet::Block { except, .. } if except.iter().any(|except| except.encloses(block)) => {
                    within.remove(&index);
                }
                _ => drop(within.insert(index)),
            }
        }
        within.into_iter().collect()
    }

    /// The facets of addresses that were resolved from these names.
    pub(super) fn of_names(&self, names: &BTreeSet<String>) -> Vec<u32> {
        let meant = |facet: &Facet| match facet {
            Facet::Domain(pattern) => names.iter().any(|name| pattern.matches(name)),
            _ => false,
        };
        self.enumerate().filter(|(_, facet)| meant(facet)).map(|(index, _)| index).collect()
    }

    /// Whether addresses are told apart by names.
    pub(super) fn has_domains(&self) -> bool {
        self.facets.iter().any(|facet| matches!(facet, Facet::Domain(_)))
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
}

/// Whether the peer is everybody, known or not.
fn is_everybody(peer: &Peer) -> bool {
    match peer {
        Peer::Entity(entity) => *entity == Entity::All,
        Peer::Labels(selector) => selector.requirements().is_empty(),
        _ => false,
    }
}

fn asks_only_for_a_namespace(selector: &Selector) -> bool {
    selector.requirements().iter().all(|requirement| {
        requirement.name == key::NAMESPACE
            && requirement.operator == Operator::Exists
            && requirement.source.as_ref().is_none_or(|source| *source == Source::K8s)
    })
}
