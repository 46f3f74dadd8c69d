//! The rules of one direction, found by whom and what they are about.

use super::block::TrafficBlock;
use super::clause::{Clause, Level, Numbered, Reading, Term, What};
use super::facet::Facets;
use crate::book::{RuleBook, RuleId};
use crate::directory::Directory;
use crate::party::NamedPorts;
use crate::rule::{Action, Direction, Entity, Peer, Peers, Tier};
use crate::set::Selection;

/// The rules of both directions.
#[derive(Clone, Debug)]
pub(super) struct BothWays {
    ingress: Rules,
    egress: Rules,
}

/// The rules of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// Whether what no rule allows is refused.
    pub(super) default_deny: bool,
    /// Without it everything goes, and there is no row for the direction.
    pub(super) enforced: bool,
    clauses: Box<[Clause]>,
    /// Clauses by the facet they are about, in order.
    by_facet: Box<[(u32, u32)]>,
    /// The terms of clauses about everybody, but those that the peer's ports decide on.
    about_all: Terms,
    /// The terms about everybody that the peer's ports decide on, by clause and place there.
    about_ports: Box<[(u32, u32)]>,
}

/// Terms by the blocks of traffic that they are about.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    entries: Box<[Entry]>,
    /// The bit of each length that a block of them has.
    lengths: u32,
}

/// A block of traffic that a clause is about in one of its terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) block: TrafficBlock,
    pub(super) clause: u32,
    pub(super) term: u32,
}

/// Whatever gives numbers to what rules name.
pub(super) struct Numbers<'a> {
    pub(super) facets: &'a mut Facets,
    pub(super) directory: &'a mut Directory,
    pub(super) book: &'a mut RuleBook,
}

impl BothWays {
    pub(super) fn new(selection: &Selection, numbers: &mut Numbers<'_>) -> Self {
        let mut rules = |direction| Rules::new(selection, direction, numbers);
        Self { ingress: rules(Direction::Ingress), egress: rules(Direction::Egress) }
    }

    pub(super) fn of(&self, direction: Direction) -> &Rules {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// What is asked of the rules of each direction.
    pub(super) fn each<T>(&self, ask: impl Fn(&Rules, Direction) -> T) -> [(Direction, T); 2] {
        let of = |direction| (direction, ask(self.of(direction), direction));
        [Direction::Ingress, Direction::Egress].map(of)
    }
}

impl Rules {
    fn new(selection: &Selection, direction: Direction, numbers: &mut Numbers<'_>) -> Self {
        let isolation = selection.isolation(direction);
        let default_deny = isolation.is_some();
        let reading = Reading { direction, ports: selection.ports(), default_deny };
        let mut clauses = Vec::new();
        let mut position = 0;
        let mut denies = false;
        for applying in selection.specs() {
            let tier = applying.spec().tier;
            // Isolation decides before the baseline is asked.
            if tier == Tier::Baseline && isolation == Some(Tier::Normal) {
                continue;
            }
            for rule in applying.spec().rules.iter().filter(|rule| rule.direction == direction) {
                let id = numbers.book.rule(applying.policy_id(), &rule.place);
                let facets = numbers.facets_of(&rule.peers);
                clauses.extend(reading.clauses(rule, Numbered { id, tier, position }, facets));
                denies |= rule.action == Action::Deny;
                position += 1;
            }
        }
        let enforced = default_deny || denies;
        if !enforced {
            clauses.clear();
        } else if !default_deny {
            clauses.push(Clause::allow_all(Level::Otherwise, RuleId::DEFAULT, None));
        }
        if enforced && direction == Direction::Ingress && !selection.is_about_host() {
            let host = numbers.facets.intern(&Peer::Entity(Entity::Host), numbers.directory);
            let facets = Some(host.into_iter().collect());
            clauses.push(Clause::allow_all(Level::Constant, RuleId::LOCAL_HOST, facets));
        }
        Self { default_deny, enforced, clauses: clauses.into(), ..Self::default() }.indexed()
    }

    pub(super) fn clause(&self, index: u32) -> &Clause {
        &self.clauses[index as usize]
    }

    /// The terms about everybody that are about the same traffic for each.
    pub(super) fn terms_about_all(&self) -> &Terms {
        &self.about_all
    }

    /// The terms about peers with these facets and ports, beyond [`Self::terms_about_all`]: those that touch one of
    /// these blocks, of which none encloses another and which are in order.
    pub(super) fn terms_about(&self, facets: &[u32], ports: &NamedPorts, touched: &[TrafficBlock]) -> Terms {
        let mut entries = self.entries_about(facets, ports, touched);
        for (clause, term) in &self.about_ports {
            let blocks = self.clause(*clause).terms[*term as usize].blocks(ports);
            let entry = |block| Entry { block, clause: *clause, term: *term };
            entries.extend(blocks.map(entry).filter(|entry| entry.block.touches(touched)));
        }
        Terms::new(entries)
    }

    /// The terms about peers with these facets alone, as [`Self::terms_about`] has them beside others.
    pub(super) fn terms_beside(&self, facets: &[u32], ports: &NamedPorts, touched: &[TrafficBlock]) -> Terms {
        Terms::new(self.entries_about(facets, ports, touched))
    }

    fn entries_about(&self, facets: &[u32], ports: &NamedPorts, touched: &[TrafficBlock]) -> Vec<Entry> {
        let clauses = facets.iter().flat_map(|facet| self.about(*facet));
        let entries = clauses.flat_map(|clause| self.entries(clause, ports));
        entries.filter(|entry| entry.block.touches(touched)).collect()
    }

    /// The traffic of the clauses that are about one of two sets of facets alone: the broadest blocks of it.
    pub(super) fn traffic_between(
        &self,
        one: &[u32],
        other: &[u32],
        ports: &NamedPorts,
    ) -> Vec<TrafficBlock> {
        let mut entries = Vec::new();
        for (facets, lacking) in [(one, other), (other, one)] {
            for facet in facets.iter().filter(|facet| lacking.binary_search(facet).is_err()) {
                for clause in self.about(*facet).filter(|clause| !self.clause(*clause).is_about(lacking)) {
                    entries.extend(self.entries(clause, ports));
                }
            }
        }
        let mut blocks: Vec<TrafficBlock> = entries.into_iter().map(|entry| entry.block).collect();
        blocks.sort_unstable();
        // Each block stands right before those within it.
        blocks.dedup_by(|inner, outer| outer.encloses(inner));
        blocks
    }

    /// The clauses that are about peers with this facet.
    fn about(&self, facet: u32) -> impl Iterator<Item = u32> {
        let from = self.by_facet.partition_point(|(known, _)| *known < facet);
        let found = self.by_facet[from..].iter().take_while(move |(known, _)| *known == facet);
        found.map(|(_, clause)| *clause)
    }

    /// What a clause is about, term by term.
    fn entries<'a>(&'a self, clause: u32, ports: &'a NamedPorts) -> impl Iterator<Item = Entry> + 'a {
        (0..).zip(&self.clause(clause).terms).flat_map(move |(index, term)| {
            term.blocks(ports).map(move |block| Entry { block, clause, term: index })
        })
    }

    /// Finds clauses by facet and terms by traffic, of which there may be many.
    fn indexed(mut self) -> Self {
        let (mut by_facet, mut about_all, mut about_ports) = (Vec::new(), Vec::new(), Vec::new());
        for (index, clause) in (0..).zip(&self.clauses) {
            if let Some(facets) = &clause.facets {
                by_facet.extend(facets.iter().map(|facet| (*facet, index)));
                continue;
            }
            for (place, term) in (0..).zip(&clause.terms) {
                match &term.what {
                    What::Block(block) => about_all.push(Entry { block: *block, clause: index, term: place }),
                    What::PeerPort(..) => about_ports.push((index, place)),
                }
            }
        }
        by_facet.sort_unstable();
        by_facet.dedup();
        self.by_facet = by_facet.into();
        self.about_all = Terms::new(about_all);
        self.about_ports = about_ports.into();
        self
    }
}

impl Terms {
    fn new(mut entries: Vec<Entry>) -> Self {
        // A clause about two facets of a peer is still one clause.
        entries.sort_unstable();
        entries.dedup();
        let lengths = entries.iter().fold(0, |lengths, entry| lengths | 1 << entry.block.length());
        Self { entries: entries.into(), lengths }
    }

    /// The terms about the block or a broader one.
    pub(super) fn enclosing(&self, block: &TrafficBlock) -> impl Iterator<Item = &Entry> {
        let broader = (0..=block.length()).filter(|length| self.lengths >> length & 1 == 1);
        broader.flat_map(|length| self.about(block.broadened(length)))
    }

    /// The terms about narrower blocks within this one.
    pub(super) fn within(&self, block: &TrafficBlock) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| entry.block <= *block);
        self.entries[from..].iter().take_while(|entry| block.encloses(&entry.block))
    }

    fn about(&self, block: TrafficBlock) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| entry.block < block);
        self.entries[from..].iter().take_while(move |entry| entry.block == block)
    }
}

impl Numbers<'_> {
    /// The facets that select a rule's peers; none where it is about everybody.
    fn facets_of(&mut self, peers: &Peers) -> Option<Box<[u32]>> {
        match peers {
            Peers::Any => None,
            Peers::Of(peers) => peers.iter().map(|peer| self.facets.intern(peer, self.directory)).collect(),
        }
    }
}

impl Clause {
    /// Whether it is about peers with one of these facets, which are in order.
    fn is_about(&self, facets: &[u32]) -> bool {
        self.facets.as_ref().is_none_or(|about| about.iter().any(|facet| facets.binary_search(facet).is_ok()))
    }
}

impl Term {
    /// The blocks of traffic that it is about, for a peer with these named ports.
    fn blocks<'a>(&'a self, ports: &'a NamedPorts) -> impl Iterator<Item = TrafficBlock> + 'a {
        let (block, port) = match &self.what {
            What::Block(block) => (Some(*block), None),
            What::PeerPort(name, protocol) => (None, Some(ports.resolve(name, *protocol))),
        };
        let ports = port.into_iter().flatten().map(|(number, port)| TrafficBlock::port(number, port));
        block.into_iter().chain(ports)
    }
}
