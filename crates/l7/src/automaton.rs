//! Rules compiled into one automaton, so that a request costs one walk over its bytes.
//!
//! The automaton reads method, path and host, separated by a byte that no field contains. Each rule is a pattern of the
//! automaton, and the final state lists every rule that matched. The automaton is a lazy DFA: its states are built when
//! requests need them, so hostile expressions cost time only where they are used, and memory only up to the limits below.

use crate::expression::{self, SEPARATOR};
use crate::head::is_token;
use crate::rule::{HttpRule, RequestView};
use crate::rule_error::{RuleError, RuleField};
use regex_automata::hybrid::{LazyStateID, dfa};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::look::LookMatcher;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// Limit on the size of all expressions of a set together, in the unit of [`expression::MAX_SIZE`].
pub(crate) const MAX_TOTAL_SIZE: u32 = 250_000;
/// Limit in bytes on the NFA from which the DFA is built. Rules usually exceed `MAX_TOTAL_SIZE` first.
pub(crate) const MAX_AUTOMATON: usize = 32 << 20;
/// Target size in bytes of the cache of lazily built states, one for each thread that matches.
const CACHE: usize = 1 << 20;
/// Bytes of states that one request may build.
const BUDGET: usize = CACHE / 2;

type Caches = Pool<dfa::Cache, Box<dyn Fn() -> dfa::Cache + Send + Sync + UnwindSafe + RefUnwindSafe>>;

/// The automaton of some rules.
#[derive(Debug)]
pub(crate) struct Automaton {
    dfa: Arc<dfa::DFA>,
    caches: Caches,
    /// The rule of each pattern.
    rules: Box<[HttpRule]>,
    /// The size of each rule.
    sizes: Box<[u32]>,
}

impl Automaton {
    /// Compiles the rules. Without any rule, no request matches.
    pub(crate) fn new(rules: &[HttpRule]) -> Result<Self, RuleError> {
        let mut patterns = Vec::with_capacity(rules.len());
        let mut sizes = Vec::with_capacity(rules.len());
        let mut total = 0u32;
        for (index, rule) in rules.iter().enumerate() {
            let (pattern, size) = pattern(rule).map_err(|error| RuleError { rule: index, ..error })?;
            total = total.saturating_add(size);
            if total > MAX_TOTAL_SIZE {
                return Err(too_large(index));
            }
            patterns.push(pattern);
            sizes.push(size);
        }
        let dfa = Arc::new(compile(&patterns).ok_or_else(|| too_large(rules.len().saturating_sub(1)))?);
        let source = Arc::clone(&dfa);
        let caches = Pool::new(Box::new(move || source.create_cache()) as _);
        Ok(Self { dfa, caches, rules: rules.into(), sizes: sizes.into() })
    }

    /// The rules, in the order of the patterns.
    pub(crate) fn rules(&self) -> &[HttpRule] {
        &self.rules
    }

    /// The size of the rule of a pattern.
    pub(crate) fn size(&self, pattern: usize) -> u32 {
        self.sizes[pattern]
    }

    /// The bytes of its NFA.
    pub(crate) fn memory(&self) -> usize {
        self.dfa.get_nfa().memory_usage()
    }

    /// The least index of a rule that the request matches. `index` returns the index of a pattern's rule; none where the rule
    /// is not in force.
    pub(crate) fn first_match(
        &self,
        request: &RequestView<'_>,
        budget: &mut Budget,
        index: impl Fn(usize) -> Option<u32>,
    ) -> Result<Option<u32>, TooCostly> {
        let mut cache = self.caches.get();
        let Some(end) = self.walk(&mut cache, request, budget)? else { return Ok(None) };
        let matched = (0..self.dfa.match_len(&cache, end)).filter_map(|at| {
            let pattern = self.dfa.match_pattern(&cache, end, at).as_usize();
            let rule = &self.rules[pattern];
            // An expression may match the empty text, but a request without a host matches no host at all.
            let matches = (!request.host.is_empty() || rule.host.is_none())
                && rule.headers.iter().all(|header| header.matches(request.headers));
            index(pattern).filter(|_| matches)
        });
        Ok(matched.min())
    }

    /// Returns the final state where it matches. A walk that the automaton gives up counts as no match.
    fn walk(
        &self,
        cache: &mut dfa::Cache,
        request: &RequestView<'_>,
        budget: &mut Budget,
    ) -> Result<Option<LazyStateID>, TooCostly> {
        let start = Input::new("").anchored(Anchored::Yes);
        let Ok(mut state) = self.dfa.start_state_forward(cache, &start) else { return Ok(None) };
        for (index, part) in [request.method, request.path, request.host].into_iter().enumerate() {
            let separator = if index == 0 { &[][..] } else { &[SEPARATOR] };
            for &byte in separator.iter().chain(part.as_bytes()) {
                if let Some(next) = self.known_state(cache, state, byte) {
                    state = next;
                    continue;
                }
                let next = budget.spend(cache, |cache| self.dfa.next_state(cache, state, byte))?;
                match next.filter(|next| !next.is_dead()) {
                    Some(next) => state = next,
                    None => return Ok(None),
                }
            }
            if part.as_bytes().contains(&SEPARATOR) {
                return Ok(None);
            }
        }
        let end = budget.spend(cache, |cache| self.dfa.next_eoi_state(cache, state))?;
        Ok(end.filter(|end| end.is_match()))
    }

    /// The next state, where the cache has it and it can still lead to a match.
    fn known_state(&self, cache: &dfa::Cache, state: LazyStateID, byte: u8) -> Option<LazyStateID> {
        if state.is_tagged() {
            return None;
        }
        let next = self.dfa.next_state_untagged(cache, state, byte);
        (!next.is_unknown() && !next.is_dead()).then_some(next)
    }
}

/// The bytes of new states that one request may still build.
///
/// The size of a new state grows with the number of active positions, and so with the time to compute it. A request without
/// a limit would delay all other requests, and evict the states that they use from the cache.
pub(crate) struct Budget {
    left: usize,
    /// The cost of a step that computes a state which the cache has already: the time was spent, but no memory. The size of
    /// the last new state is the estimate.
    usual: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: BUDGET, usual: 1024 }
    }
}

impl Budget {
    /// Takes a step that may build a state; none where the automaton gives up.
    fn spend<E>(
        &mut self,
        cache: &mut dfa::Cache,
        step: impl FnOnce(&mut dfa::Cache) -> Result<LazyStateID, E>,
    ) -> Result<Option<LazyStateID>, TooCostly> {
        let before = cache.memory_usage();
        let next = step(cache).ok();
        let grown = cache.memory_usage().saturating_sub(before);
        if grown > 0 {
            self.usual = grown;
        }
        self.left = self.left.checked_sub(self.usual).ok_or(TooCostly)?;
        Ok(next)
    }
}

/// The request needs more new states of the automaton than one request may build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooCostly;

impl fmt::Display for TooCostly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("matching the HTTP rules against this request takes too long")
    }
}

impl std::error::Error for TooCostly {}

/// A rule as one expression over all fields, and its size. The caller sets the rule index of an error.
pub(crate) fn pattern(rule: &HttpRule) -> Result<(Hir, u32), RuleError> {
    let mut parts = Vec::with_capacity(5);
    let mut total = 0u32;
    let fields =
        [(RuleField::Method, &rule.method), (RuleField::Path, &rule.path), (RuleField::Host, &rule.host)];
    for (field, text) in fields {
        if !parts.is_empty() {
            parts.push(Hir::literal([SEPARATOR]));
        }
        let Some(text) = text else {
            parts.push(expression::anything());
            total += 3;
            continue;
        };
        let part = expression::parse(text).map_err(|error| RuleError {
            rule: 0,
            field,
            position: error.position,
            message: error.message,
        })?;
        parts.push(part.hir);
        total += part.size + 1;
    }
    for (index, header) in rule.headers.iter().enumerate() {
        if let Some(position) = not_a_name(&header.name) {
            let message = "a header's name is made of letters, digits and !#$%&'*+-.^_`|~";
            return Err(RuleError { rule: 0, field: RuleField::Header(index), position, message });
        }
    }
    Ok((Hir::concat(parts), total))
}

/// The offset of the first byte that a field name cannot have.
fn not_a_name(text: &str) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    text.bytes().position(|byte| !is_token(byte))
}

/// The automaton of some patterns; none where they are too large. States that its cache evicts are built again.
pub(crate) fn compile(patterns: &[Hir]) -> Option<dfa::DFA> {
    let config = dfa::Config::new()
        .cache_capacity(CACHE)
        // A large set of rules has large states, so the cache may exceed its target to hold a few of them.
        .skip_cache_capacity_check(true);
    automaton(patterns, config)
}

/// An automaton that tells for each pattern whether it matches.
pub(crate) fn automaton(patterns: &[Hir], config: dfa::Config) -> Option<dfa::DFA> {
    let mut looks = LookMatcher::new();
    // The anchors are compiled as line anchors with the separator as the end of a line, so that they match at the ends of a
    // field.
    looks.set_line_terminator(SEPARATOR);
    let nfa = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(MAX_AUTOMATON))
                .look_matcher(looks),
        )
        .build_many_from_hir(patterns)
        .ok()?;
    dfa::Builder::new().configure(config.match_kind(MatchKind::All)).build_from_nfa(nfa).ok()
}

fn too_large(rule: usize) -> RuleError {
    let message = "the HTTP rules that apply here together are too large";
    RuleError { rule, field: RuleField::Path, position: 0, message }
}
