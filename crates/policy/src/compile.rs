//! Policies turned into the rows that the packet path looks up; see [`abi::policy`] for the lookup.
//!
//! A compiled policy serves every subject with the same [`crate::set::PolicyKey`]. Peers are folded into classes as
//! they are met: a peer that comes later adds rows to a policy that is in force and changes none. What the policy says
//! of a block of addresses, it says as a difference to what it says around it (decision 004).

mod block;
mod class;
mod clause;
mod facet;
mod part;
mod profile;
mod rules;
mod table;

pub use block::TrafficBlock;

use crate::book::{L7SetId, RuleBook};
use crate::cidr::{Blocks, CidrClass, Side};
use crate::directory::{Directory, SelectorId};
use crate::party::NamedPorts;
use crate::rule::Direction;
use crate::set::{Selection, port_names};
use abi::identity::ANY_WORKLOAD;
use abi::policy::{CidrPartKey, ClassKey};
use abi::row::{MapOp, Row, RowKey};
use class::Classes;
use facet::Facets;
use part::{Difference, Parts};
use profile::{Profile, Profiles};
use rules::{BothWays, Numbers};
use std::collections::{BTreeMap, BTreeSet};

/// What one selection of specs says, as rows without a policy number.
#[derive(Clone, Debug)]
pub struct Compiled {
    rules: BothWays,
    facets: Facets,
    parts: Parts,
    /// The names of ports that egress rules ask of peers.
    peer_names: BTreeSet<String>,
    classes: Classes,
    profiles: Profiles,
    /// The profile of each peer that has rows of its own, and of those of the world.
    peers: BTreeMap<u32, u32>,
}

impl Compiled {
    /// Compiles what applies to a subject, for all peers of the directory.
    pub fn new(selection: &Selection, directory: &mut Directory, book: &mut RuleBook) -> Self {
        let mut facets = Facets::default();
        let rules = BothWays::new(selection, &mut Numbers { facets: &mut facets, directory, book });
        let facets = facets.complete();
        let mut compiled = Self {
            parts: Parts::new(&facets),
            rules,
            facets,
            peer_names: peer_names(selection),
            classes: Classes::default(),
            profiles: Profiles::default(),
            peers: BTreeMap::new(),
        };
        // Peers that no row tells apart are in class 0.
        compiled
            .classes
            .with(compiled.rules.each(|rules, _| table::answers(rules, &[], NamedPorts::NONE)), book);
        compiled.place(ANY_WORKLOAD, compiled.facets.of_any_workload(), NamedPorts::NONE, book);
        let mut known = compiled.facets.of_known(directory);
        for number in compiled.peer_names.iter().flat_map(|name| directory.with_port_name(name)) {
            known.entry(number).or_insert_with(|| compiled.facets.of_peer(number, directory));
        }
        for number in directory.apart() {
            known.entry(number).or_default();
        }
        for (number, facets) in known {
            let ports = directory.party(number).map_or(NamedPorts::NONE, |party| party.ports);
            compiled.place(number, facets, ports, book);
        }
        compiled
    }

    /// Whether packets of this direction need an allowing row. Where it is false, everything goes.
    pub fn enforces(&self, direction: Direction) -> bool {
        self.rules.of(direction).enforced
    }

    /// Whether what no rule allows is refused; where rules are enforced without it, they only deny.
    pub fn default_denies(&self, direction: Direction) -> bool {
        self.rules.of(direction).default_deny
    }

    /// Every row, but those that name CIDR classes ([`Self::block_rows`]).
    pub fn rows(&self, policy: u32) -> impl Iterator<Item = Row> {
        let classes = self.peers.keys().flat_map(move |peer| self.class_rows(policy, *peer));
        self.classes.rows(policy, 0).chain(classes)
    }

    /// The rows of the policy's own blocks, which are in force.
    pub fn block_rows(&self, policy: u32, blocks: &Blocks) -> impl Iterator<Item = Row> {
        [Side::World, Side::Inside].into_iter().flat_map(move |side| {
            self.parts.blocks(side).iter().filter_map(move |(block, part)| {
                let cidr = blocks.class(block, side)?.number;
                Some(Row::CidrPart(CidrPartKey { policy, cidr }, *part))
            })
        })
    }

    /// The row of the block of a class, where it is one of the policy's own.
    pub fn block_row(&self, policy: u32, class: &CidrClass) -> Option<Row> {
        let part = self.parts.blocks(class.side).get(&class.block)?;
        Some(Row::CidrPart(CidrPartKey { policy, cidr: class.number }, *part))
    }

    /// Adds a peer that is new in the directory; the rows to add are returned. They must be in place before any
    /// address has the peer's number.
    ///
    /// Only a peer need be learnt that one of [`Self::selectors`] selects, that has one of
    /// [`Self::peer_port_names`], or that is not [ordinary](Directory::is_ordinary).
    pub fn learn(&mut self, policy: u32, peer: u32, directory: &Directory, book: &mut RuleBook) -> Vec<Row> {
        let first_new = self.classes.count();
        let ports = directory.party(peer).map_or(NamedPorts::NONE, |party| party.ports);
        self.place(peer, self.facets.of_peer(peer, directory), ports, book);
        self.classes.rows(policy, first_new).chain(self.class_rows(policy, peer)).collect()
    }

    /// Removes a peer that no address has any more; the keys of the rows to delete are returned.
    pub fn forget(&mut self, policy: u32, peer: u32) -> Vec<RowKey> {
        let keys = self.class_rows(policy, peer).filter_map(|row| row.key()).collect();
        self.peers.remove(&peer);
        keys
    }

    /// Whether the policy asks for domain names, so that it must hear of addresses that have some.
    pub fn has_domains(&self) -> bool {
        self.facets.has_domains()
    }

    /// Notes from which names the address of a class of its own ([`Blocks::insert_address`]) was resolved, now or no
    /// more; the writes that this asks for are returned, in order.
    pub fn name(
        &mut self,
        policy: u32,
        class: &CidrClass,
        names: &BTreeSet<String>,
        book: &mut RuleBook,
    ) -> Vec<MapOp> {
        let difference = self.named(class, names);
        let key = CidrPartKey { policy, cidr: class.number };
        if difference.within == difference.around {
            return vec![MapOp::Delete(RowKey::CidrPart(key))];
        }
        let first_new = self.classes.count();
        let (part, is_new) = self.parts.intern(difference, Side::World);
        if is_new {
            let part = (part, self.parts.difference(part));
            self.profiles.enter(part, &self.rules, &mut self.classes, book);
        }
        let of_part = self.peers.keys().filter(|_| is_new).flat_map(|peer| self.class_rows(policy, *peer));
        let of_part = of_part.filter(|row| matches!(row, Row::Class(key, _) if key.part == part));
        let rows = self.classes.rows(policy, first_new).chain(of_part);
        rows.chain([Row::CidrPart(key, part)]).map(MapOp::Put).collect()
    }

    /// The row by which the policy knows an address with these names, which it was told of ([`Self::name`]); none where
    /// the names mean nothing to it.
    pub fn named_row(&self, policy: u32, class: &CidrClass, names: &BTreeSet<String>) -> Option<Row> {
        let part = self.parts.number(&self.named(class, names))?;
        Some(Row::CidrPart(CidrPartKey { policy, cidr: class.number }, part))
    }

    /// What the policy can tell of an address with these names.
    fn named(&self, class: &CidrClass, names: &BTreeSet<String>) -> Difference {
        let Difference { within, around } = self.parts.around(&class.block);
        let within: BTreeSet<u32> = within.into_iter().chain(self.facets.of_names(names)).collect();
        Difference { within: within.into_iter().collect(), around }
    }

    /// The selectors that tell peers apart; they are held in the directory.
    pub fn selectors(&self) -> impl Iterator<Item = SelectorId> {
        self.facets.selectors()
    }

    /// The names of ports that rules ask of peers.
    pub fn peer_port_names(&self) -> impl Iterator<Item = &str> {
        self.peer_names.iter().map(String::as_str)
    }

    /// The sets of HTTP rules that rows name; each is held once in the book.
    pub fn sets(&self) -> impl Iterator<Item = L7SetId> {
        self.classes.sets()
    }

    /// Gives up its selectors, and the sets of HTTP rules, once the rows are gone.
    pub fn release(self, directory: &mut Directory, book: &mut RuleBook) {
        self.facets.release(directory);
        self.classes.release(book);
    }

    /// Finds the profile of a peer, which says in which class it is where.
    fn place(&mut self, number: u32, facets: Vec<u32>, ports: &NamedPorts, book: &mut RuleBook) {
        let profile = Profile::new(number, facets, ports.named(&self.peer_names));
        let profile = self.profiles.number(profile, (&self.rules, &self.parts), &mut self.classes, book);
        // Peers of the world may come to have rows when names are learnt.
        if self.profiles.classes(profile).is_empty() && Side::of(number) != Side::World {
            self.peers.remove(&number);
        } else {
            self.peers.insert(number, profile);
        }
    }

    fn class_rows(&self, policy: u32, peer: u32) -> impl Iterator<Item = Row> {
        let classes = self.peers.get(&peer).map(|profile| self.profiles.classes(*profile));
        let classes = classes.into_iter().flatten();
        classes.map(move |(part, class)| Row::Class(ClassKey { policy, peer, part: *part }, *class))
    }
}

/// The names of ports that egress rules ask of peers.
fn peer_names(selection: &Selection) -> BTreeSet<String> {
    let rules = selection.specs().iter().flat_map(|applying| &applying.spec().rules);
    let egress = rules.filter(|rule| rule.direction == Direction::Egress);
    egress.flat_map(|rule| port_names(&rule.traffic)).map(str::to_owned).collect()
}
