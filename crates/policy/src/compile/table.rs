//! The verdicts of one class of peers: a final answer for every block of traffic that rules distinguish.

use super::ranked_rule::{Effect, Level, RankedRule};
use super::rules::{DirectionRules, RulesByDirection, TermEntry, TermIndex};
use crate::book::{HttpRules, RuleBook, RuleId};
use crate::class::ClassId;
use crate::directory::FacetId;
use crate::endpoint_view::NamedPorts;
use crate::rule::{Action, Direction};
use crate::traffic::TrafficBlock;
use abi::policy::{VerdictInfo, action};
use std::cmp::Reverse;
use std::sync::Arc;

/// The verdict for a block of traffic, with the rule that decides it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Answer {
    pub(super) action: Action,
    pub(super) rule: RuleId,
    /// The requests that are allowed; without this, all are.
    pub(super) http: Option<Arc<HttpRules>>,
}

/// Answers as rows for longest-prefix lookup. Each answer also covers the rules of all broader blocks; a row that would
/// repeat the next broader row is left out.
pub(super) type Answers = Vec<(TrafficBlock, Answer)>;

/// A rule that applies to some block, and the requests that it allows.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    rule: &'a RankedRule<'a>,
    http: Option<&'a Arc<HttpRules>>,
}

/// A block, the candidates that can also decide narrower blocks, and the answer of the block.
struct Frame<'a> {
    block: TrafficBlock,
    candidates: Vec<Candidate<'a>>,
    answer: Answer,
}

impl Answer {
    /// No rule allows it.
    const DEFAULT_DENY: Self = Self { action: Action::Deny, rule: RuleId::DEFAULT, http: None };

    /// The answer as it stands in rows. A set of HTTP rules gets one more holder.
    fn verdict(self, book: &mut RuleBook) -> VerdictInfo {
        let rule = self.rule.0;
        match (self.action, self.http) {
            (Action::Allow, Some(http)) => {
                VerdictInfo { action: action::REDIRECT, rule, l7: book.acquire_set(http).0 }
            }
            (Action::Allow, None) => VerdictInfo { action: action::ALLOW, rule, l7: 0 },
            (Action::Deny | Action::Pass, _) => VerdictInfo { action: action::DENY, rule, l7: 0 },
        }
    }
}

/// The answers for a root part. Traffic without an answer is denied.
pub(super) fn answers(rules: &DirectionRules<'_>, direction: Direction, about: &Around) -> Answers {
    let terms = [rules.terms_for_all_peers(), about.terms(direction)];
    answers_in(rules, TrafficBlock::EVERYTHING, &terms, Some(Answer::DEFAULT_DENY))
}

/// The class of these answers, held once more.
pub(super) fn class(answers: impl IntoIterator<Item = (Direction, Answers)>, book: &mut RuleBook) -> ClassId {
    let mut table = Vec::new();
    for (direction, answers) in answers {
        table.extend(answers.into_iter().map(|(block, answer)| (direction, block, answer.verdict(book))));
    }
    book.acquire_class(&table)
}

/// The terms that match peers with certain facets and ports, for all traffic in both directions.
///
/// Many parts lie in the same part; the terms of that part are computed once for all of them.
#[derive(Debug, Default)]
pub(super) struct Around {
    facets: Vec<FacetId>,
    terms: Option<[TermIndex; 2]>,
}

impl Around {
    /// Computes the terms for peers with these facets, unless they are the current ones.
    pub(super) fn enter(&mut self, facets: Vec<FacetId>, ports: &NamedPorts, rules: &RulesByDirection<'_>) {
        if self.terms.is_none() || self.facets != facets {
            let all = &[TrafficBlock::EVERYTHING];
            self.terms =
                Some(rules.each(|rules, _| rules.terms_for(&facets, ports, all)).map(|(_, terms)| terms));
            self.facets = facets;
        }
    }

    fn terms(&self, direction: Direction) -> &TermIndex {
        let [ingress, egress] = self.terms.as_ref().expect("it was entered");
        if direction == Direction::Ingress { ingress } else { egress }
    }
}

/// The answers that change if a peer's facets are `after` instead of the facets in `around`. Other traffic keeps its answer.
pub(super) fn changes(
    (rules, direction): (&DirectionRules<'_>, Direction),
    around: &Around,
    after: &[FacetId],
    ports: &NamedPorts,
) -> Answers {
    let mut changes = Answers::new();
    let before = &around.facets;
    let touched = rules.traffic_between(before, after, ports);
    if touched.is_empty() {
        return changes;
    }
    let old = [rules.terms_for_all_peers(), around.terms(direction)];
    let is_more = before.iter().all(|facet| after.binary_search(facet).is_ok());
    let beside = match is_more {
        true => {
            let added = after.iter().filter(|facet| before.binary_search(facet).is_err()).copied();
            rules.terms_for_added(&added.collect::<Vec<FacetId>>(), ports, &touched)
        }
        false => rules.terms_for(after, ports, &touched),
    };
    // Added facets add terms to the old ones; other facets replace them.
    let (more, instead) = ([old[0], old[1], &beside], [old[0], &beside]);
    let new: &[&TermIndex] = if is_more { &more } else { &instead };
    for &block in &touched {
        // Within the block a lookup reads only rows of this class, so they must hold all answers.
        let new = answers_in(rules, block, new, None);
        if new != answers_in(rules, block, &old, None) {
            changes.extend(new);
        }
    }
    changes
}

/// The answers in one block of traffic. Traffic without a row has the outer answer; without an outer answer, the first
/// row is for the whole block.
fn answers_in(
    rules: &DirectionRules<'_>,
    block: TrafficBlock,
    terms: &[&TermIndex],
    outer: Option<Answer>,
) -> Answers {
    let candidate = |entry: &TermEntry| Candidate::new(rules, entry);
    let broader = terms.iter().flat_map(|terms| terms.enclosing(&block)).map(candidate).collect();
    let (candidates, answer) = decide(broader);
    let mut rows = Vec::new();
    if outer.as_ref() != Some(&answer) {
        rows.push((block, answer.clone()));
    }
    let mut within: Vec<&TermEntry> = terms.iter().flat_map(|terms| terms.within(&block)).collect();
    within.sort_by_key(|entry| entry.block);
    // Each block comes right after the blocks that enclose it, so the open blocks form a stack.
    let mut open = vec![Frame { block, candidates, answer }];
    for same in within.chunk_by(|one, other| one.block == other.block) {
        let block = same[0].block;
        while open.pop_if(|frame| !frame.block.encloses(&block)).is_some() {}
        let around = open.last().expect("the whole block encloses all that is within it");
        let own = same.iter().copied().map(candidate);
        let (candidates, answer) = decide(own.chain(around.candidates.iter().copied()).collect());
        if answer != around.answer {
            rows.push((block, answer.clone()));
        }
        open.push(Frame { block, candidates, answer });
    }
    rows
}

impl<'a> Candidate<'a> {
    fn new(rules: &'a DirectionRules<'_>, entry: &TermEntry) -> Self {
        let rule = rules.rule(entry.rule);
        Self { rule, http: rule.terms[entry.term as usize].http.as_ref() }
    }

    fn level(&self) -> Level {
        self.rule.precedence.level.0
    }
}

/// The one place where precedence turns rules into an answer. The rules of a block also apply to narrower blocks, so the
/// candidates that can decide there are returned: of each level the candidates that would decide at that level, since a
/// rule of a narrower block may pass traffic on to it.
fn decide(mut candidates: Vec<Candidate<'_>>) -> (Vec<Candidate<'_>>, Answer) {
    candidates.sort_by_key(|candidate| Reverse(candidate.rule.precedence));
    // HTTP rules restrict no connection of the node itself, as default deny does not.
    let allows_every_request = candidates.iter().any(|candidate| candidate.rule.id == RuleId::LOCAL_HOST);
    let (mut kept, mut decided) = (Vec::new(), None);
    for level in candidates.chunk_by(|one, other| one.level() == other.level()) {
        let first = level[0].rule;
        let ties = match first.precedence.effect {
            Effect::AllowRequests => {
                level.partition_point(|c| c.rule.precedence.ties_with(&first.precedence))
            }
            Effect::Pass | Effect::Allow | Effect::Deny => 1,
        };
        kept.extend(&level[..ties]);
        if decided.is_some() {
            continue;
        }
        let answer = |action, http| Some(Answer { action, rule: first.id, http });
        decided = match first.precedence.effect {
            Effect::Pass => None,
            Effect::Deny => answer(Action::Deny, None),
            Effect::AllowRequests if !allows_every_request => answer(
                Action::Allow,
                Some(union(level[..ties].iter().filter_map(|candidate| candidate.http))),
            ),
            Effect::Allow | Effect::AllowRequests => answer(Action::Allow, None),
        };
    }
    (kept, decided.unwrap_or(Answer::DEFAULT_DENY))
}

/// The rules of all these sets; a single set is returned as it is.
fn union<'a>(sets: impl Iterator<Item = &'a Arc<HttpRules>>) -> Arc<HttpRules> {
    let sets: Vec<&Arc<HttpRules>> = sets.collect();
    match sets[..] {
        [one] => one.clone(),
        _ => Arc::new(sets.into_iter().flat_map(|rules| rules.iter().cloned()).collect()),
    }
}
