//! What a policy can tell of a peer: which of its peer selectors select it, and which of its blocks hold its address.

use crate::cidr::{Side, blocks_of_peer, family_block};
use crate::directory::Directory;
use crate::party::Party;
use crate::rule::{Cidr, CidrReach, Entity, Peer};
use abi::identity::{HOST, is_remote_node, is_workload};
use identity::{Operator, Selector, Source, key};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A sorted set of facets by index: all that rules can see of a peer but its named ports.
pub(super) type FacetSet = Box<[u32]>;

/// The distinct peer selectors of one policy's rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Facets {
    peers: Vec<Peer>,
    index: HashMap<Peer, u32>,
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
    pub(super) fn intern(&mut self, peer: &Peer) -> Option<u32> {
        if is_everybody(peer) {
            return None;
        }
        let peer = match peer {
            // The family of the world is told by address, since the world may have one number for both.
            Peer::Entity(entity) => match family_block(*entity) {
                Some(block) => Peer::Cidr { block, except: Vec::new(), reach: CidrReach::World },
                None => peer.clone(),
            },
            _ => peer.clone(),
        };
        let next = self.peers.len() as u32;
        Some(*self.index.entry(peer).or_insert_with_key(|peer| {
            self.peers.push(peer.clone());
            next
        }))
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// The facets of every peer that has any but those of [`Self::of_any_workload`].
    pub(super) fn of_known(&self, directory: &mut Directory) -> BTreeMap<u32, Vec<u32>> {
        let mut known: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let common = self.of_any_workload();
        for (facet, peer) in self.enumerate() {
            match peer {
                Peer::Cidr { .. } | Peer::Domain(_) => {}
                Peer::Group { .. } | Peer::Service(_) => unreachable!("references were resolved"),
                Peer::Labels(selector) if common.binary_search(&facet).is_err() => {
                    for number in directory.selected(selector) {
                        known.entry(*number).or_default().push(facet);
                    }
                }
                Peer::Entity(_) | Peer::Labels(_) | Peer::Nodes(_) => {
                    for number in directory.apart() {
                        let party = directory.party(number).expect("a number of the directory has a party");
                        if selects(peer, &party) {
                            known.entry(number).or_default().push(facet);
                        }
                    }
                }
            }
        }
        for (number, facets) in &mut known {
            if is_workload(*number) {
                facets.extend(&common);
            }
        }
        known.extend(directory.without_namespace().filter_map(|number| {
            let party = directory.party(number)?;
            Some((number, self.of_party(&party)))
        }));
        known
    }

    /// The facets of one peer, by asking each.
    pub(super) fn of_party(&self, party: &Party<'_>) -> Vec<u32> {
        self.enumerate().filter(|(_, peer)| selects(peer, party)).map(|(facet, _)| facet).collect()
    }

    /// The facets that every workload has, whatever its labels.
    pub(super) fn of_any_workload(&self) -> Vec<u32> {
        self.enumerate().filter(|(_, peer)| is_any_workload(peer)).map(|(facet, _)| facet).collect()
    }

    /// The facets of addresses for which this is the longest block in force.
    pub(super) fn of_block(&self, longest: &Cidr, side: Side) -> FacetSet {
        let holds = |peer: &Peer| match peer {
            Peer::Cidr { block, except, reach } => {
                (side == Side::World || *reach == CidrReach::Everything)
                    && block.encloses(longest)
                    && !except.iter().any(|except| except.encloses(longest))
            }
            _ => false,
        };
        self.enumerate().filter(|(_, peer)| holds(peer)).map(|(facet, _)| facet).collect()
    }

    fn enumerate(&self) -> impl Iterator<Item = (u32, &Peer)> {
        (0..).zip(&self.peers)
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
        for (block, side) in facets.peers.iter().flat_map(blocks_of_peer) {
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

/// Whether every workload is selected for being one; those without a namespace are asked one by one.
fn is_any_workload(peer: &Peer) -> bool {
    match peer {
        Peer::Entity(entity) => *entity == Entity::Cluster,
        Peer::Labels(selector) => asks_only_for_a_namespace(selector),
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

/// Whether the facet selects the peer; blocks are asked by address, elsewhere.
fn selects(peer: &Peer, party: &Party<'_>) -> bool {
    match peer {
        Peer::Labels(selector) => selector.selects(party.labels),
        Peer::Entity(entity) => entity.names(party.number),
        Peer::Nodes(selector) => {
            (party.number == HOST || is_remote_node(party.number)) && selector.selects(party.labels)
        }
        Peer::Cidr { .. } | Peer::Domain(_) => false,
        Peer::Group { .. } | Peer::Service(_) => unreachable!("references were resolved"),
    }
}
