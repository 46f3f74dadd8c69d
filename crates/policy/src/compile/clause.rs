//! What rules do for one subject, and how they rank.

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

/// When a rule is asked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// With the rules of its tier.
    Tier(Tier),
    /// After every policy.
    Otherwise,
}

/// What a rule does to the traffic that it matches; at one level and priority the greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Leaves it to the next level.
    Pass,
    /// Lets connections through, and of requests those that an HTTP rule allows.
    AllowRequests,
    /// Lets everything through: a rule that names no requests makes those that do without effect.
    Allow,
    /// Refuses.
    Deny,
}

/// What one rule does with one effect. A rule that allows some ports whole and others by request makes two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clause<'a> {
    pub(super) id: RuleId,
    pub(super) precedence: Precedence,
    /// Which facets select its peers, in order; none: everybody.
    pub(super) facets: Option<&'a [FacetId]>,
    pub(super) terms: &'a [Term],
}

impl Precedence {
    /// Whether both are asked at once: rules about requests then add up.
    pub(super) fn ties_with(&self, other: &Self) -> bool {
        (self.level, self.priority, self.effect) == (other.level, other.priority, other.effect)
    }
}

impl<'a> Clause<'a> {
    /// Lets through what no rule decides on; the one of lower position is named.
    pub(super) fn otherwise(position: usize, id: RuleId, facets: Option<&'a [FacetId]>) -> Self {
        static EVERYTHING: [Term; 1] = [Term::EVERYTHING];
        let precedence = Precedence {
            level: Reverse(Level::Otherwise),
            priority: Reverse(0),
            effect: Effect::Allow,
            position: Reverse(position),
        };
        Self { id, precedence, facets, terms: &EVERYTHING }
    }

    /// What a rule does: nothing, or one thing, or two. Without default deny, rules about requests refuse none: they
    /// allow the connection and that is all.
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
        let clause = move |(effect, terms)| {
            let level = Reverse(Level::Tier(tier));
            let precedence =
                Precedence { level, priority: Reverse(rule.priority), effect, position: Reverse(position) };
            Self { id: rule.id, precedence, facets: rule.facets.as_deref(), terms }
        };
        let clauses = [(effect, whole), (Effect::AllowRequests, by_request)];
        clauses.into_iter().filter(|(_, terms)| !terms.is_empty()).map(clause)
    }

    /// Whether it is about peers with one of these facets: few, where it may name thousands.
    pub(super) fn is_about(&self, facets: &[FacetId]) -> bool {
        self.facets.is_none_or(|about| facets.iter().any(|facet| about.binary_search(facet).is_ok()))
    }
}
