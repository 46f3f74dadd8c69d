//! Finds the rule that a request matches.
//!
//! The rules of a set are patterns of one automaton. A set that differs from an earlier set in a few rules shares the
//! automaton of that set: removed rules are skipped among its matches, and added rules are a second, small automaton
//! ([`Matcher::updated`]). So a change costs what changed, and requests find the states that earlier requests built.

use crate::automaton::{Automaton, Budget, MAX_AUTOMATON, MAX_TOTAL_SIZE, TooCostly};
use crate::cost;
use crate::name;
use crate::rule::{Field, HttpRule, RequestView};
use crate::rule_error::RuleError;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many rules may always differ from the rules of the shared automaton.
const MIN_DIFFERENCES: usize = 16;
/// The share of rules that may differ from the rules of the shared automaton: one in so many.
const MAX_SHARE: usize = 16;
/// Limit on the positions of all rules that differ, in the unit of [`cost::MAX_POSITIONS`].
const MAX_POSITIONS: u64 = cost::MAX_POSITIONS / 8;

/// Finds the rule that a request matches.
#[derive(Debug)]
pub struct Matcher {
    /// The automaton of most of the rules.
    base: Layer,
    /// The automaton of the rules that the other one lacks; none where it has all.
    added: Option<Layer>,
    /// The names in all header rules, in lower case.
    names: BTreeSet<String>,
    /// True where some rule has a method.
    decides_on_method: bool,
    rule_count: usize,
}

/// An automaton, and the rules of the set among its rules.
#[derive(Debug)]
struct Layer {
    automaton: Arc<Automaton>,
    /// For each pattern the index of its rule in the set; none where the rule is not in the set.
    indexes: Box<[Option<u32>]>,
}

impl Matcher {
    /// Compiles the rules. Without any rule, no request matches.
    pub fn new(rules: &[HttpRule]) -> Result<Self, RuleError> {
        let indexes = (0..rules.len() as u32).map(Some).collect();
        Ok(Self::of(Layer { automaton: Arc::new(Automaton::new(rules)?), indexes }, None, rules))
    }

    /// The matcher of other rules, which shares the automaton of this one. Both lists must be sorted, without equal rules.
    ///
    /// None where the rules differ in too much, or where their limits must be checked anew: then the caller compiles them
    /// with [`Self::new`].
    pub fn updated(&self, rules: &[HttpRule]) -> Option<Self> {
        let automaton = &self.base.automaton;
        let Difference { indexes, added } = Difference::between(automaton.rules(), rules)?;
        let removed = automaton.rules().iter().zip(&indexes).filter(|(_, index)| index.is_none());
        let differing = removed.map(|(rule, _)| rule).chain(added.iter().map(|at| &rules[*at as usize]));
        if differing.map(cost::positions_of).sum::<u64>() > MAX_POSITIONS {
            return None;
        }
        let kept = indexes.iter().enumerate().filter(|(_, index)| index.is_some());
        let size: u32 = kept.map(|(pattern, _)| automaton.size(pattern)).sum();
        let base = Layer { automaton: Arc::clone(automaton), indexes: indexes.into() };
        if added.is_empty() {
            return Some(Self::of(base, None, rules));
        }
        let more = self.automaton_of(added.iter().map(|at| rules[*at as usize].clone()).collect())?;
        let more_size: u32 = (0..added.len()).map(|pattern| more.size(pattern)).sum();
        // The limits are those of one automaton for all rules.
        let fits = size.saturating_add(more_size) <= MAX_TOTAL_SIZE
            && automaton.memory() + more.memory() <= MAX_AUTOMATON / 2;
        let added = Layer { automaton: more, indexes: added.into_iter().map(Some).collect() };
        fits.then(|| Self::of(base, Some(added), rules))
    }

    /// True where half of the differences that [`Self::updated`] allows are used up, so that a matcher of [`Self::new`] should
    /// replace this one.
    pub fn is_worn(&self) -> bool {
        let removed = self.base.indexes.iter().filter(|index| index.is_none()).count();
        let added = self.added.as_ref().map_or(0, |added| added.indexes.len());
        removed + added > max_differences(self.base.indexes.len()) / 2
    }

    /// The number of rules.
    pub fn rule_count(&self) -> usize {
        self.rule_count
    }

    fn of(base: Layer, added: Option<Layer>, rules: &[HttpRule]) -> Self {
        let headers = rules.iter().flat_map(|rule| &rule.headers);
        let names = headers.map(|header| header.name.to_ascii_lowercase()).collect();
        let decides_on_method = rules.iter().any(|rule| rule.method.is_some());
        Self { base, added, names, decides_on_method, rule_count: rules.len() }
    }

    /// The automaton of these rules; the present one of the added rules where they are the same.
    fn automaton_of(&self, rules: Vec<HttpRule>) -> Option<Arc<Automaton>> {
        let known = self.added.as_ref().map(|added| &added.automaton);
        match known.filter(|known| known.rules() == rules) {
            Some(known) => Some(Arc::clone(known)),
            None => Some(Arc::new(Automaton::new(&rules).ok()?)),
        }
    }

    /// Returns the first rule that the request matches; none where matching costs too much.
    pub fn matches(&self, request: &RequestView<'_>) -> Option<usize> {
        self.decide(request).ok().flatten()
    }

    /// Returns the first rule that the request matches.
    ///
    /// # Errors
    /// The request needs more new states of the automaton than one request may build.
    pub fn decide(&self, request: &RequestView<'_>) -> Result<Option<usize>, TooCostly> {
        let mut budget = Budget::default();
        let mut first: Option<u32> = None;
        for Layer { automaton, indexes } in std::iter::once(&self.base).chain(&self.added) {
            let found = automaton.first_match(request, &mut budget, |pattern| indexes[pattern])?;
            first = first.into_iter().chain(found).min();
        }
        Ok(first.map(|first| first as usize))
    }

    /// Returns why a server may understand the request differently from the rules. Such a request must be refused, even
    /// where a rule matches.
    pub fn ambiguity(&self, request: &RequestView<'_>) -> Option<&'static str> {
        let is_named =
            |field: &&Field<'_>| self.names.iter().any(|asked| field.name.eq_ignore_ascii_case(asked));
        for field in request.headers {
            if self.names.iter().any(|asked| name::is_confusable_with(field.name, asked)) {
                return Some("a field whose name a server may take for one that rules decide on");
            }
            let overrides = self.decides_on_method && name::overrides_method(field.name);
            let says_the_same = field.value.eq_ignore_ascii_case(request.method.as_bytes());
            if overrides && !says_the_same && !is_named(&field) {
                return Some("a field that a server may take for the method, which rules decide on");
            }
        }
        None
    }
}

/// How a sorted list of rules differs from the rules of an automaton.
struct Difference {
    /// For each rule of the automaton its index in the list; none where the list lacks it.
    indexes: Vec<Option<u32>>,
    /// The indexes of the rules that the automaton lacks.
    added: Vec<u32>,
}

impl Difference {
    /// None where the differences are too many, or where one of the lists is not sorted.
    fn between(known: &[HttpRule], rules: &[HttpRule]) -> Option<Self> {
        let limit = max_differences(known.len());
        if known.len().abs_diff(rules.len()) > limit {
            return None;
        }
        let is_sorted = |rules: &[HttpRule], at: usize| at == 0 || rules[at - 1] < rules[at];
        let (mut indexes, mut added, mut removed) = (Vec::with_capacity(known.len()), Vec::new(), 0);
        let mut at = 0;
        while indexes.len() < known.len() || at < rules.len() {
            let pattern = indexes.len();
            let order = match (known.get(pattern), rules.get(at)) {
                (Some(known), Some(rule)) => known.cmp(rule),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            if order != Ordering::Greater {
                is_sorted(known, pattern).then_some(())?;
                indexes.push((order == Ordering::Equal).then_some(at as u32));
                removed += usize::from(order == Ordering::Less);
            }
            if order != Ordering::Less {
                is_sorted(rules, at).then_some(())?;
                if order == Ordering::Greater {
                    added.push(at as u32);
                }
                at += 1;
            }
            if removed + added.len() > limit {
                return None;
            }
        }
        Some(Self { indexes, added })
    }
}

/// How many rules may differ from the rules of an automaton.
fn max_differences(known: usize) -> usize {
    (known / MAX_SHARE).max(MIN_DIFFERENCES)
}
