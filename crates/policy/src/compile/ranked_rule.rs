//! The effect of rules on one subject, and how rules rank.

use crate::book::RuleId;
use crate::compiled_rule::{CompiledRule, Term};
use crate::directory::FacetId;
use crate::rule::{Action, Tier};
use std::cmp::Reverse;

/// Which of two rules decides: the greater; fields are compared top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    pub(super) level: Reverse<Level>,
    pub(super) priority: Reverse<u32>,
    pub(super) effect: Effect,
    /// Only decides which of two rules with the same effect is named.
    pub(super) position: Reverse<usize>,
}

/// When a rule can decide, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Together with the rules of its tier.
    Tier(Tier),
    /// After the rules of every tier.
    Default,
}

/// What a rule does to the traffic that it matches. Of two rules of one level and priority the greater effect wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Leaves the decision to the next level.
    Pass,
    /// Allows connections, and the requests that an HTTP rule matches.
    AllowRequests,
    /// Allows connections with all their requests: an HTTP rule of the same level and priority has no effect.
    Allow,
    /// Denies connections.
    Deny,
}

/// One effect of a rule, with its precedence. A rule that allows some ports whole and others by request has two.
#[derive(Clone, Copy, Debug)]
pub(super) struct RankedRule<'a> {
    pub(super) id: RuleId,
    pub(super) precedence: Precedence,
    /// The facets that select its peers, in order. None: the rule matches every peer.
    pub(super) facets: Option<&'a [FacetId]>,
    pub(super) terms: &'a [Term],
}

impl Precedence {
    /// Whether both rules rank equally, but for their position. HTTP rules of such rules add up.
    pub(super) fn ties_with(&self, other: &Self) -> bool {
        (self.level, self.priority, self.effect) == (other.level, other.priority, other.effect)
    }
}

impl<'a> RankedRule<'a> {
    /// The allow that decides after all tiers; of two such rules the one of lower position is named.
    pub(super) fn default_allow(position: usize, id: RuleId, facets: Option<&'a [FacetId]>) -> Self {
        static EVERYTHING: [Term; 1] = [Term::EVERYTHING];
        let precedence = Precedence {
            level: Reverse(Level::Default),
            priority: Reverse(0),
            effect: Effect::Allow,
            position: Reverse(position),
        };
        Self { id, precedence, facets, terms: &EVERYTHING }
    }

    /// The effects of a rule: none, one or two. Without default deny an HTTP rule denies no request, so such a rule
    /// allows the connection.
    pub(super) fn of(
        rule: &'a CompiledRule,
        tier: Tier,
        position: usize,
        default_deny: bool,
    ) -> impl Iterator<Item = Self> {
        let effect = match rule.action {
            Action::Allow => Effect::Allow,
            Action::Deny => Effect::Deny,
            Action::Pass => Effect::Pass,
        };
        let (whole, by_request) = match default_deny {
            true => rule.terms_by_request(),
            false => (rule.terms(), &[][..]),
        };
        let rank = move |(effect, terms)| {
            let level = Reverse(Level::Tier(tier));
            let precedence =
                Precedence { level, priority: Reverse(rule.priority), effect, position: Reverse(position) };
            Self { id: rule.id, precedence, facets: rule.facets.as_deref(), terms }
        };
        let ranked = [(effect, whole), (Effect::AllowRequests, by_request)];
        ranked.into_iter().filter(|(_, terms)| !terms.is_empty()).map(rank)
    }

    /// Whether one of these facets selects its peers. `facets` are the few of one peer; the rule may have thousands.
    pub(super) fn matches_any(&self, facets: &[FacetId]) -> bool {
        self.facets.is_none_or(|about| facets.iter().any(|facet| about.binary_search(facet).is_ok()))
    }
}
