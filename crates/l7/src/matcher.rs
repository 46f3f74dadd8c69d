//! All rules of a set compiled into one automaton, so that a request costs one walk over its bytes.
//!
//! The automaton reads method, path and host, separated by a byte that no field contains. Each rule is a pattern of the
//! automaton, and the final state lists every rule that matched. The automaton is a lazy DFA: its states are built when
//! requests need them, so hostile expressions cost time only where they are used, and memory only up to the limits below.

use crate::expression::{self, SEPARATOR};
use crate::head::is_token;
use crate::name;
use crate::rule::{Field, HeaderRule, HttpRule, RequestView};
use regex_automata::hybrid::{LazyStateID, dfa};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::look::LookMatcher;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// Limit on the size of all expressions of a matcher together, in the unit of [`expression::MAX_SIZE`].
const MAX_TOTAL_SIZE: u32 = 250_000;
/// Limit in bytes on the NFA from which the DFA is built. Rules usually exceed `MAX_TOTAL_SIZE` first.
const MAX_AUTOMATON: usize = 32 << 20;
/// Target size in bytes of the cache of lazily built states, one for each thread that matches.
const CACHE: usize = 1 << 20;
/// Bytes of states that one request may build.
const BUDGET: usize = CACHE / 2;

type Caches = Pool<dfa::Cache, Box<dyn Fn() -> dfa::Cache + Send + Sync + UnwindSafe + RefUnwindSafe>>;

/// Finds the rule that a request matches.
#[derive(Debug)]
pub struct Matcher {
    automaton: Arc<dfa::DFA>,
    caches: Caches,
    /// The header rules of each rule.
    headers: Vec<Vec<HeaderRule>>,
    /// For each rule, true where it has a host.
    has_host: Vec<bool>,
    /// The names in all header rules, in lower case.
    names: BTreeSet<String>,
    /// True where some rule has a method.
    decides_on_method: bool,
}

/// Which rule was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Index of the rule.
    pub rule: usize,
    /// The part of the rule.
    pub field: RuleField,
    /// Offset in bytes into that part.
    pub position: usize,
    /// The error, for people.
    pub message: &'static str,
}

/// Parts of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleField {
    /// [`HttpRule::method`].
    Method,
    /// [`HttpRule::path`].
    Path,
    /// [`HttpRule::host`].
    Host,
    /// The name of the entry with this index in [`HttpRule::headers`].
    Header(usize),
}

impl Matcher {
    /// Compiles the rules. Without any rule, no request matches.
    pub fn new(rules: &[HttpRule]) -> Result<Self, RuleError> {
        let mut patterns = Vec::with_capacity(rules.len());
        let mut total = 0u32;
        for (index, rule) in rules.iter().enumerate() {
            let (pattern, size) = pattern(rule).map_err(|error| RuleError { rule: index, ..error })?;
            total = total.saturating_add(size);
            if total > MAX_TOTAL_SIZE {
                return Err(too_large(index));
            }
            patterns.push(pattern);
        }
        let automaton = Arc::new(compile(&patterns).ok_or_else(|| too_large(rules.len().saturating_sub(1)))?);
        let source = Arc::clone(&automaton);
        let caches = Pool::new(Box::new(move || source.create_cache()) as _);
        let headers: Vec<_> = rules.iter().map(|rule| rule.headers.clone()).collect();
        let names = headers.iter().flatten().map(|header| header.name.to_ascii_lowercase()).collect();
        let decides_on_method = rules.iter().any(|rule| rule.method.is_some());
        let has_host = rules.iter().map(|rule| rule.host.is_some()).collect();
        Ok(Self { automaton, caches, headers, has_host, names, decides_on_method })
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
        let mut cache = self.caches.get();
        let Some(end) = self.walk(&mut cache, request)? else { return Ok(None) };
        let matched = (0..self.automaton.match_len(&cache, end))
            .map(|index| self.automaton.match_pattern(&cache, end, index).as_usize())
            // An expression may match the empty text, but a request without a host matches no host at all.
            .filter(|&rule| !request.host.is_empty() || !self.has_host[rule])
            .filter(|&rule| self.headers[rule].iter().all(|header| header.matches(request.headers)));
        Ok(matched.min())
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

    /// Returns the final state where it matches. A walk that the automaton gives up counts as no match.
    fn walk(
        &self,
        cache: &mut dfa::Cache,
        request: &RequestView<'_>,
    ) -> Result<Option<LazyStateID>, TooCostly> {
        let start = Input::new("").anchored(Anchored::Yes);
        let Ok(mut state) = self.automaton.start_state_forward(cache, &start) else { return Ok(None) };
        let mut budget = Budget::default();
        for (index, part) in [request.method, request.path, request.host].into_iter().enumerate() {
            let separator = if index == 0 { &[][..] } else { &[SEPARATOR] };
            for &byte in separator.iter().chain(part.as_bytes()) {
                if let Some(next) = self.known_state(cache, state, byte) {
                    state = next;
                    continue;
                }
                let next = budget.spend(cache, |cache| self.automaton.next_state(cache, state, byte))?;
                match next.filter(|next| !next.is_dead()) {
                    Some(next) => state = next,
                    None => return Ok(None),
                }
            }
            if part.as_bytes().contains(&SEPARATOR) {
                return Ok(None);
            }
        }
        let end = budget.spend(cache, |cache| self.automaton.next_eoi_state(cache, state))?;
        Ok(end.filter(|end| end.is_match()))
    }

    /// The next state, where the cache has it and it can still lead to a match.
    fn known_state(&self, cache: &dfa::Cache, state: LazyStateID, byte: u8) -> Option<LazyStateID> {
        if state.is_tagged() {
            return None;
        }
        let next = self.automaton.next_state_untagged(cache, state, byte);
        (!next.is_unknown() && !next.is_dead()).then_some(next)
    }
}

/// The bytes of new states that one request may still build.
///
/// The size of a new state grows with the number of active positions, and so with the time to compute it. A request without
/// a limit would delay all other requests, and evict the states that they use from the cache.
struct Budget {
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

impl fmt::Display for RuleField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("method"),
            Self::Path => f.write_str("path"),
            Self::Host => f.write_str("host"),
            Self::Header(index) => write!(f, "headers[{index}]"),
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http[{}].{}: {} (at offset {})", self.rule, self.field, self.message, self.position)
    }
}

impl std::error::Error for RuleError {}
