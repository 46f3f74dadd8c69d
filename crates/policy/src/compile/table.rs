//! The verdicts of one class of peers: a final answer for every block of traffic that a rule tells apart.

use super::block::TrafficBlock;
use super::clause::{Clause, Effect, Term, What};
use crate::book::{HttpRules, RuleId};
use crate::party::NamedPorts;
use crate::rule::Action;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What becomes of a block of traffic, with the rule that says so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Answer {
    pub(super) action: Action,
    pub(super) rule: RuleId,
    /// The requests that are let through; none: all.
    pub(super) http: Option<Arc<HttpRules>>,
}

/// A clause that applies to some block, and the requests it lets through.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    clause: &'a Clause,
    http: Option<&'a Arc<HttpRules>>,
}

/// A block, what applies to it, and its answer.
struct Frame<'a> {
    block: TrafficBlock,
    candidates: Vec<Candidate<'a>>,
    answer: Answer,
}

impl Answer {
    /// No rule allows it.
    const DEFAULT_DENY: Self = Self { action: Action::Deny, rule: RuleId::DEFAULT, http: None };
}

/// The answers for a peer that these clauses apply to, as rows for longest-prefix lookup: each holds what every
/// broader rule says too, and a row that would repeat the next broader one is left out.
pub(super) fn answers<'a>(
    clauses: impl Iterator<Item = &'a Clause>,
    peer_ports: &NamedPorts,
) -> Vec<(TrafficBlock, Answer)> {
    let mut by_block: BTreeMap<TrafficBlock, Vec<Candidate<'a>>> = BTreeMap::new();
    for clause in clauses {
        for term in &clause.terms {
            for block in blocks(term, peer_ports) {
                by_block.entry(block).or_default().push(Candidate { clause, http: term.http.as_ref() });
            }
        }
    }
    let mut rows = Vec::new();
    // Blocks come with those that hold them right before, so the open ones form a stack.
    let mut open: Vec<Frame<'a>> = Vec::new();
    for (block, mut candidates) in by_block {
        while open.pop_if(|frame| !frame.block.encloses(&block)).is_some() {}
        if let Some(outer) = open.last() {
            candidates.extend(&outer.candidates);
        }
        let answer = decide(&mut candidates);
        if answer != *open.last().map_or(&Answer::DEFAULT_DENY, |outer| &outer.answer) {
            rows.push((block, answer.clone()));
        }
        open.push(Frame { block, candidates, answer });
    }
    rows
}

/// The one place where precedence turns rules into an answer.
fn decide(candidates: &mut [Candidate<'_>]) -> Answer {
    candidates.sort_by_key(|candidate| Reverse(candidate.clause.precedence));
    let mut rest = &candidates[..];
    while let Some(first) = rest.first() {
        let (rule, precedence) = (first.clause.id, &first.clause.precedence);
        match precedence.effect {
            Effect::Pass => {
                rest = &rest[rest.partition_point(|c| c.clause.precedence.level == precedence.level)..]
            }
            Effect::Deny => return Answer { action: Action::Deny, rule, http: None },
            Effect::Allow => return Answer { action: Action::Allow, rule, http: None },
            Effect::AllowRequests => {
                let tied =
                    rest.iter().take_while(|candidate| candidate.clause.precedence.ties_with(precedence));
                let rules =
                    tied.filter_map(|candidate| candidate.http).flat_map(|rules| rules.iter().cloned());
                return Answer { action: Action::Allow, rule, http: Some(Arc::new(rules.collect())) };
            }
        }
    }
    Answer::DEFAULT_DENY
}

/// The blocks of a term for a peer with these named ports.
fn blocks(term: &Term, peer_ports: &NamedPorts) -> Vec<TrafficBlock> {
    match &term.what {
        What::Block(block) => vec![*block],
        What::PeerPort(name, protocol) => peer_ports
            .resolve(name, *protocol)
            .map(|(number, port)| TrafficBlock::port(number, port))
            .collect(),
    }
}
