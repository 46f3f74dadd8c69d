//! The rules that apply to one subject, indexed by peer facet and by traffic.

use super::ranked_rule::RankedRule;
use crate::book::RuleId;
use crate::compiled_rule::{CompiledRule, PortMatch, Term};
use crate::directory::{Directory, FacetId};
use crate::endpoint_view::NamedPorts;
use crate::grouping::Demand;
use crate::rule::{Action, Direction, Tier};
use crate::set::{Selection, SpecRef};
use crate::traffic::TrafficBlock;

/// The rules of one subject, by direction.
#[derive(Debug)]
pub(super) struct RulesByDirection<'a> {
    ingress: DirectionRules<'a>,
    egress: DirectionRules<'a>,
}

/// The rules of one direction.
#[derive(Debug)]
pub(super) struct DirectionRules<'a> {
    rules: Vec<RankedRule<'a>>,
    /// The subject's named ports.
    ports: &'a NamedPorts,
    /// Rules by the facet that selects their peers, in order.
    by_facet: Vec<(FacetId, u32)>,
    /// The terms of rules that match every peer, except those that depend on named ports of the peer.
    for_all_peers: TermIndex,
    /// The terms of rules that match every peer and that depend on named ports of the peer: rule, and index of the
    /// term.
    by_peer_port: Vec<(u32, u32)>,
}

/// What holds for one direction of a selection beside its rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DirectionDefaults {
    /// The tier after which default deny applies, if it does.
    isolation: Option<Tier>,
    /// Whether the direction has rows. Without rows every packet is allowed.
    pub(super) enforced: bool,
    /// Whether the local node is allowed to connect where no rule denies it.
    allows_host: bool,
}

/// Terms by the blocks of traffic that they match.
#[derive(Clone, Debug, Default)]
pub(super) struct TermIndex {
    entries: Vec<TermEntry>,
    /// A bit for each prefix length that one of the blocks has.
    lengths: u32,
}

/// A block of traffic that a term of a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TermEntry {
    pub(super) block: TrafficBlock,
    pub(super) rule: u32,
    pub(super) term: u32,
}

impl Selection {
    /// What its rules match of peers and of addresses.
    pub fn demand(&self, directory: &Directory) -> Demand {
        let mut demand = Demand::default();
        let is_of_peers = |facet: &FacetId| !directory.facet(*facet).is_of_addresses();
        for direction in [Direction::Ingress, Direction::Egress] {
            let defaults = DirectionDefaults::of(self, direction);
            demand.facets.extend(defaults.allows_host.then_some(FacetId::HOST));
            for (_, rule) in defaults.rules(self, direction).filter(|_| defaults.enforced) {
                demand.facets.extend(rule.facets.iter().flatten());
                for name in rule.terms().iter().filter_map(Term::peer_port) {
                    // A facet of addresses may select any peer, so such a rule's port names count for all peers.
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

impl DirectionDefaults {
    pub(super) fn of(selection: &Selection, direction: Direction) -> Self {
        let isolation = selection.isolation(direction);
        let defaults = Self { isolation, ..Self::default() };
        let mut rules = defaults.rules(selection, direction);
        let enforced = isolation.is_some() || rules.any(|(_, rule)| rule.action == Action::Deny);
        let allows_host = enforced && direction == Direction::Ingress && !selection.subject_is_host();
        Self { enforced, allows_host, ..defaults }
    }

    /// Whether traffic that no rule allows is denied. Where rules are enforced without default deny, they only deny.
    pub(super) fn has_default_deny(self) -> bool {
        self.isolation.is_some()
    }

    /// The rules of a direction that can decide, each with its tier.
    fn rules(
        self,
        selection: &Selection,
        direction: Direction,
    ) -> impl Iterator<Item = (Tier, &CompiledRule)> {
        // Default deny of the normal tier decides before any rule of the baseline.
        let is_asked = move |tier| tier != Tier::Baseline || self.isolation != Some(Tier::Normal);
        let specs = selection.specs().iter().map(|one| (one.spec().tier, SpecRef::rules(one)));
        let rules = specs.filter(move |(tier, _)| is_asked(*tier));
        let rules = rules.flat_map(|(tier, rules)| rules.iter().map(move |rule| (tier, rule)));
        rules.filter(move |(_, rule)| rule.direction == direction)
    }
}

impl<'a> RulesByDirection<'a> {
    pub(super) fn new(selection: &'a Selection, [ingress, egress]: [DirectionDefaults; 2]) -> Self {
        let rules = |direction, defaults| DirectionRules::new(selection, direction, defaults);
        Self { ingress: rules(Direction::Ingress, ingress), egress: rules(Direction::Egress, egress) }
    }

    pub(super) fn in_direction(&self, direction: Direction) -> &DirectionRules<'a> {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Calls `ask` with the rules of each direction.
    pub(super) fn each<T>(&self, ask: impl Fn(&DirectionRules<'a>, Direction) -> T) -> [(Direction, T); 2] {
        let of = |direction| (direction, ask(self.in_direction(direction), direction));
        [Direction::Ingress, Direction::Egress].map(of)
    }
}

impl<'a> DirectionRules<'a> {
    fn new(selection: &'a Selection, direction: Direction, defaults: DirectionDefaults) -> Self {
        static HOST: [FacetId; 1] = [FacetId::HOST];
        let default_deny = defaults.has_default_deny();
        let mut rules = Vec::new();
        if defaults.enforced {
            for (position, (tier, rule)) in defaults.rules(selection, direction).enumerate() {
                rules.extend(RankedRule::of(rule, tier, position, default_deny));
            }
            if defaults.allows_host {
                rules.push(RankedRule::default_allow(0, RuleId::LOCAL_HOST, Some(&HOST)));
            }
            if !default_deny {
                rules.push(RankedRule::default_allow(1, RuleId::DEFAULT, None));
            }
        }
        Self::indexed(rules, selection.ports())
    }

    pub(super) fn rule(&self, index: u32) -> &RankedRule<'a> {
        &self.rules[index as usize]
    }

    /// The terms of rules that match every peer, as far as they match the same traffic for each peer.
    pub(super) fn terms_for_all_peers(&self) -> &TermIndex {
        &self.for_all_peers
    }

    /// The terms that match peers with these facets and ports, without [`Self::terms_for_all_peers`]. Only terms that
    /// touch one of the blocks are returned; the blocks are in order, and none encloses another.
    pub(super) fn terms_for(
        &self,
        facets: &[FacetId],
        ports: &NamedPorts,
        touched: &[TrafficBlock],
    ) -> TermIndex {
        let mut entries = self.entries_for(facets, ports, touched);
        for (rule, term) in &self.by_peer_port {
            let blocks = self.rule(*rule).terms[*term as usize].blocks(self.ports, ports);
            let entry = |block| TermEntry { block, rule: *rule, term: *term };
            entries.extend(blocks.map(entry).filter(|entry| entry.block.touches(touched)));
        }
        TermIndex::new(entries)
    }

    /// The terms that these facets add for a peer that has further facets; see [`Self::terms_for`].
    pub(super) fn terms_for_added(
        &self,
        facets: &[FacetId],
        ports: &NamedPorts,
        touched: &[TrafficBlock],
    ) -> TermIndex {
        TermIndex::new(self.entries_for(facets, ports, touched))
    }

    fn entries_for(
        &self,
        facets: &[FacetId],
        ports: &NamedPorts,
        touched: &[TrafficBlock],
    ) -> Vec<TermEntry> {
        let mut entries = Vec::new();
        for rule in facets.iter().flat_map(|facet| self.ranked_rules(*facet)) {
            entries.extend(self.entries(rule, ports).filter(|entry| entry.block.touches(touched)));
        }
        entries
    }

    /// The traffic of rules that select exactly one of two peers with these facets: the broadest blocks of it.
    pub(super) fn traffic_between(
        &self,
        one: &[FacetId],
        other: &[FacetId],
        ports: &NamedPorts,
    ) -> Vec<TrafficBlock> {
        let mut blocks = Vec::new();
        for (facets, lacking) in [(one, other), (other, one)] {
            for facet in facets.iter().filter(|facet| lacking.binary_search(facet).is_err()) {
                for rule in self.ranked_rules(*facet).filter(|rule| !self.rule(*rule).matches_any(lacking)) {
                    blocks.extend(self.entries(rule, ports).map(|entry| entry.block));
                }
            }
        }
        blocks.sort_unstable();
        // Each block comes right before the blocks within it.
        blocks.dedup_by(|inner, outer| outer.encloses(inner));
        blocks
    }

    /// The rules whose peers this facet selects.
    fn ranked_rules(&self, facet: FacetId) -> impl Iterator<Item = u32> {
        let from = self.by_facet.partition_point(|(known, _)| *known < facet);
        let found = self.by_facet[from..].iter().take_while(move |(known, _)| *known == facet);
        found.map(|(_, rule)| *rule)
    }

    /// The traffic that a rule matches, term by term.
    fn entries<'b>(&'b self, rule: u32, ports: &'b NamedPorts) -> impl Iterator<Item = TermEntry> + 'b {
        (0..).zip(self.rule(rule).terms).flat_map(move |(index, term)| {
            term.blocks(self.ports, ports).map(move |block| TermEntry { block, rule, term: index })
        })
    }

    /// Indexes rules by facet and their terms by traffic; there may be thousands.
    fn indexed(rules: Vec<RankedRule<'a>>, ports: &'a NamedPorts) -> Self {
        let (mut by_facet, mut for_all_peers, mut by_peer_port) = (Vec::new(), Vec::new(), Vec::new());
        for (index, rule) in (0..).zip(&rules) {
            if let Some(facets) = rule.facets {
                by_facet.extend(facets.iter().map(|facet| (*facet, index)));
                continue;
            }
            for (place, term) in (0..).zip(rule.terms) {
                if let PortMatch::PeerPort(..) = &term.ports {
                    by_peer_port.push((index, place));
                }
                let blocks = term.blocks(ports, NamedPorts::NONE);
                for_all_peers.extend(blocks.map(|block| TermEntry { block, rule: index, term: place }));
            }
        }
        by_facet.sort_unstable();
        Self { rules, ports, by_facet, for_all_peers: TermIndex::new(for_all_peers), by_peer_port }
    }
}

impl TermIndex {
    fn new(mut entries: Vec<TermEntry>) -> Self {
        // A rule may select a peer by two facets; its terms count once.
        entries.sort_unstable();
        entries.dedup();
        let lengths = entries.iter().fold(0, |lengths, entry| lengths | 1 << entry.block.length());
        Self { entries, lengths }
    }

    /// The terms that match the whole block.
    pub(super) fn enclosing(&self, block: &TrafficBlock) -> impl Iterator<Item = &TermEntry> {
        let broader = (0..=block.length()).filter(|length| self.lengths >> length & 1 == 1);
        broader.flat_map(|length| self.terms_of(block.broadened(length)))
    }

    /// The terms that match a narrower block within this one.
    pub(super) fn within(&self, block: &TrafficBlock) -> impl Iterator<Item = &TermEntry> {
        let from = self.entries.partition_point(|entry| entry.block <= *block);
        self.entries[from..].iter().take_while(|entry| block.encloses(&entry.block))
    }

    fn terms_of(&self, block: TrafficBlock) -> impl Iterator<Item = &TermEntry> {
        let from = self.entries.partition_point(|entry| entry.block < block);
        self.entries[from..].iter().take_while(move |entry| entry.block == block)
    }
}
