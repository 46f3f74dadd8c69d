//! The rules that apply to one subject, found by whom and what they are about.

use super::clause::Clause;
use crate::book::RuleId;
use crate::compiled_rule::{CompiledRule, PortMatch, Term};
use crate::directory::{Directory, FacetId};
use crate::endpoint_view::NamedPorts;
use crate::grouping::Demand;
use crate::rule::{Action, Direction, Tier};
use crate::set::{Selection, SpecRef};
use crate::traffic::TrafficBlock;

/// The rules of both directions.
#[derive(Debug)]
pub(super) struct BothWays<'a> {
    ingress: Rules<'a>,
    egress: Rules<'a>,
}

/// The rules of one direction.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    clauses: Vec<Clause<'a>>,
    /// The subject's named ports.
    ports: &'a NamedPorts,
    /// Clauses by the facet they are about, in order.
    by_facet: Vec<(FacetId, u32)>,
    /// The terms of clauses about everybody, but those that the peer's ports decide on.
    about_all: Terms,
    /// The terms about everybody that the peer's ports decide on, by clause and place there.
    about_ports: Vec<(u32, u32)>,
}

/// Which rules of one direction count, and what becomes of the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stance {
    /// At the end of which tier what no rule allowed is refused, if anywhere.
    isolation: Option<Tier>,
    /// Without it everything goes, and there is no row for the direction.
    pub(super) enforced: bool,
    /// Whether the node may always come in where no rule denies it.
    lets_host_in: bool,
}

/// Terms by the blocks of traffic that they are about.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    entries: Vec<Entry>,
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

impl Selection {
    /// PortMatch its rules ask of peers and of addresses.
    pub fn demand(&self, directory: &Directory) -> Demand {
        let mut demand = Demand::default();
        let is_of_peers = |facet: &FacetId| !directory.facet(*facet).is_of_addresses();
        for direction in [Direction::Ingress, Direction::Egress] {
            let stance = Stance::of(self, direction);
            demand.facets.extend(stance.lets_host_in.then_some(FacetId::HOST));
            for (_, rule) in stance.considered(self, direction).filter(|_| stance.enforced) {
                demand.facets.extend(rule.facets.iter().flatten());
                for name in rule.terms().iter().filter_map(Term::peer_port) {
                    // Whoever it is may have an address with a facet.
                    let facets = rule.facets.iter().flatten().map(|facet| Some(*facet).filter(is_of_peers));
                    let everybody = rule.facets.is_none().then_some(None);
                    demand.names.extend(facets.chain(everybody).map(|facet| (facet, name.clone())));
                }
            }
        }
        demand.facets.sort_unstable();
        demand.facets.dedup();
        demand.of_addresses = demand.facets.extract_if(.., |facet| !is_of_peers(facet)).collect();
        demand
    }
}

impl Stance {
    pub(super) fn of(selection: &Selection, direction: Direction) -> Self {
        let isolation = selection.isolation(direction);
        let stance = Self { isolation, ..Self::default() };
        let mut considered = stance.considered(selection, direction);
        let enforced = isolation.is_some() || considered.any(|(_, rule)| rule.action == Action::Deny);
        let lets_host_in = enforced && direction == Direction::Ingress && !selection.is_about_host();
        Self { enforced, lets_host_in, ..stance }
    }

    /// Whether what no rule allows is refused; where rules are enforced without it, they only deny.
    pub(super) fn default_denies(self) -> bool {
        self.isolation.is_some()
    }

    /// The rules of a direction that are asked, each with its tier.
    fn considered(
        self,
        selection: &Selection,
        direction: Direction,
    ) -> impl Iterator<Item = (Tier, &CompiledRule)> {
        // Isolation decides before the baseline is asked.
        let is_asked = move |tier| tier != Tier::Baseline || self.isolation != Some(Tier::Normal);
        let specs = selection.specs().iter().map(|one| (one.spec().tier, SpecRef::rules(one)));
        let rules = specs.filter(move |(tier, _)| is_asked(*tier));
        let rules = rules.flat_map(|(tier, rules)| rules.iter().map(move |rule| (tier, rule)));
        rules.filter(move |(_, rule)| rule.direction == direction)
    }
}

impl<'a> BothWays<'a> {
    pub(super) fn new(selection: &'a Selection, [ingress, egress]: [Stance; 2]) -> Self {
        let rules = |direction, stance| Rules::new(selection, direction, stance);
        Self { ingress: rules(Direction::Ingress, ingress), egress: rules(Direction::Egress, egress) }
    }

    pub(super) fn of(&self, direction: Direction) -> &Rules<'a> {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// PortMatch is asked of the rules of each direction.
    pub(super) fn each<T>(&self, ask: impl Fn(&Rules<'a>, Direction) -> T) -> [(Direction, T); 2] {
        let of = |direction| (direction, ask(self.of(direction), direction));
        [Direction::Ingress, Direction::Egress].map(of)
    }
}

impl<'a> Rules<'a> {
    fn new(selection: &'a Selection, direction: Direction, stance: Stance) -> Self {
        static HOST: [FacetId; 1] = [FacetId::HOST];
        let default_deny = stance.default_denies();
        let mut clauses = Vec::new();
        if stance.enforced {
            for (position, (tier, rule)) in stance.considered(selection, direction).enumerate() {
                clauses.extend(Clause::of(rule, tier, position, default_deny));
            }
            if stance.lets_host_in {
                clauses.push(Clause::otherwise(0, RuleId::LOCAL_HOST, Some(&HOST)));
            }
            if !default_deny {
                clauses.push(Clause::otherwise(1, RuleId::DEFAULT, None));
            }
        }
        Self::indexed(clauses, selection.ports())
    }

    pub(super) fn clause(&self, index: u32) -> &Clause<'a> {
        &self.clauses[index as usize]
    }

    /// The terms about everybody that are about the same traffic for each.
    pub(super) fn terms_about_all(&self) -> &Terms {
        &self.about_all
    }

    /// The terms about peers with these facets and ports, beyond [`Self::terms_about_all`]: those that touch one of
    /// these blocks, of which none encloses another and which are in order.
    pub(super) fn terms_about(
        &self,
        facets: &[FacetId],
        ports: &NamedPorts,
        touched: &[TrafficBlock],
    ) -> Terms {
        let mut entries = self.entries_about(facets, ports, touched);
        for (clause, term) in &self.about_ports {
            let blocks = self.clause(*clause).terms[*term as usize].blocks(self.ports, ports);
            let entry = |block| Entry { block, clause: *clause, term: *term };
            entries.extend(blocks.map(entry).filter(|entry| entry.block.touches(touched)));
        }
        Terms::new(entries)
    }

    /// The terms about peers with these facets alone, as [`Self::terms_about`] has them beside others.
    pub(super) fn terms_beside(
        &self,
        facets: &[FacetId],
        ports: &NamedPorts,
        touched: &[TrafficBlock],
    ) -> Terms {
        Terms::new(self.entries_about(facets, ports, touched))
    }

    fn entries_about(&self, facets: &[FacetId], ports: &NamedPorts, touched: &[TrafficBlock]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for clause in facets.iter().flat_map(|facet| self.about(*facet)) {
            entries.extend(self.entries(clause, ports).filter(|entry| entry.block.touches(touched)));
        }
        entries
    }

    /// The traffic of the clauses that are about one of two sets of facets alone: the broadest blocks of it.
    pub(super) fn traffic_between(
        &self,
        one: &[FacetId],
        other: &[FacetId],
        ports: &NamedPorts,
    ) -> Vec<TrafficBlock> {
        let mut blocks = Vec::new();
        for (facets, lacking) in [(one, other), (other, one)] {
            for facet in facets.iter().filter(|facet| lacking.binary_search(facet).is_err()) {
                for clause in self.about(*facet).filter(|clause| !self.clause(*clause).is_about(lacking)) {
                    blocks.extend(self.entries(clause, ports).map(|entry| entry.block));
                }
            }
        }
        blocks.sort_unstable();
        // Each block stands right before those within it.
        blocks.dedup_by(|inner, outer| outer.encloses(inner));
        blocks
    }

    /// The clauses that are about peers with this facet.
    fn about(&self, facet: FacetId) -> impl Iterator<Item = u32> {
        let from = self.by_facet.partition_point(|(known, _)| *known < facet);
        let found = self.by_facet[from..].iter().take_while(move |(known, _)| *known == facet);
        found.map(|(_, clause)| *clause)
    }

    /// PortMatch a clause is about, term by term.
    fn entries<'b>(&'b self, clause: u32, ports: &'b NamedPorts) -> impl Iterator<Item = Entry> + 'b {
        (0..).zip(self.clause(clause).terms).flat_map(move |(index, term)| {
            term.blocks(self.ports, ports).map(move |block| Entry { block, clause, term: index })
        })
    }

    /// Finds clauses by facet and terms by traffic, of which there may be many.
    fn indexed(clauses: Vec<Clause<'a>>, ports: &'a NamedPorts) -> Self {
        let (mut by_facet, mut about_all, mut about_ports) = (Vec::new(), Vec::new(), Vec::new());
        for (index, clause) in (0..).zip(&clauses) {
            if let Some(facets) = clause.facets {
                by_facet.extend(facets.iter().map(|facet| (*facet, index)));
                continue;
            }
            for (place, term) in (0..).zip(clause.terms) {
                if let PortMatch::PeerPort(..) = &term.ports {
                    about_ports.push((index, place));
                }
                let blocks = term.blocks(ports, NamedPorts::NONE);
                about_all.extend(blocks.map(|block| Entry { block, clause: index, term: place }));
            }
        }
        by_facet.sort_unstable();
        Self { clauses, ports, by_facet, about_all: Terms::new(about_all), about_ports }
    }
}

impl Terms {
    fn new(mut entries: Vec<Entry>) -> Self {
        // A clause about two facets of a peer is still one clause.
        entries.sort_unstable();
        entries.dedup();
        let lengths = entries.iter().fold(0, |lengths, entry| lengths | 1 << entry.block.length());
        Self { entries, lengths }
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
