//! An upper bound on the cost of matching, computed from the rules: how many positions of their expressions can be active
//! at the same time.
//!
//! The automaton of all rules keeps the set of active positions of every expression; computing the next set takes time
//! in proportion to its size. `/public/.*` has one or two active positions. `/.*a.{200}x` has up to two hundred, because
//! each `a` starts another count.

use crate::expression;
use crate::rule::HttpRule;
use crate::rule_error::{RuleError, RuleField};
use regex_syntax::hir::{Hir, HirKind, Repetition};
use std::borrow::Cow;
use std::collections::HashSet;

/// Limit on the positions of all rules of a set that one request can activate at the same time.
pub const MAX_POSITIONS: u64 = 4096;

/// The positions of one rule, and the paths for which they are active.
struct RuleCost<'a> {
    rule: usize,
    field: RuleField,
    positions: u64,
    /// The literal that every matching path starts with. Rules whose prefixes differ are never active together.
    prefix: Cow<'a, [u8]>,
}

/// Checks that the rules of a set stay within [`MAX_POSITIONS`]. An invalid expression costs nothing here; the compiler
/// reports it.
///
/// # Errors
/// The first rule that exceeds the limit.
pub fn check(rules: &[HttpRule]) -> Result<(), RuleError> {
    let costs = rules.iter().enumerate().map(|(index, rule)| cost(index, rule));
    let mut costs: Vec<RuleCost<'_>> = costs.collect();
    costs.sort_by(|one, other| one.prefix.cmp(&other.prefix));
    // The rules whose prefix is a prefix of the current one: all of them are active together.
    let mut concurrent: Vec<&RuleCost<'_>> = Vec::new();
    let mut total = 0u64;
    for same in costs.chunk_by(|one, other| one.prefix == other.prefix) {
        while let Some(last) = concurrent.pop_if(|last| !same[0].prefix.starts_with(&last.prefix)) {
            total -= last.positions;
        }
        // The automaton merges equal rules.
        let mut seen = HashSet::new();
        for cost in same.iter().filter(|cost| same.len() == 1 || seen.insert(&rules[cost.rule])) {
            concurrent.push(cost);
            total = total.saturating_add(cost.positions);
            if total > MAX_POSITIONS {
                return Err(first_over_limit(concurrent));
            }
        }
    }
    Ok(())
}

/// Of rules that exceed the limit together, the first that does so in the order of the policy.
fn first_over_limit(mut concurrent: Vec<&RuleCost<'_>>) -> RuleError {
    concurrent.sort_by_key(|cost| cost.rule);
    let mut total = 0u64;
    let breaks = |cost: &&&RuleCost<'_>| {
        total = total.saturating_add(cost.positions);
        total > MAX_POSITIONS
    };
    let cost = concurrent.iter().find(breaks).expect("their sum exceeds the limit");
    RuleError {
        rule: cost.rule,
        field: cost.field,
        position: 0,
        message: "these HTTP rules can have more than 4096 active positions at the same time, which takes too long to \
                  match; a repetition such as .{100} after .* costs most",
    }
}

/// The positions of a rule that can be active at the same time.
pub(crate) fn positions_of(rule: &HttpRule) -> u64 {
    cost(0, rule).positions
}

fn cost(index: usize, rule: &HttpRule) -> RuleCost<'_> {
    let fields =
        [(RuleField::Path, &rule.path), (RuleField::Host, &rule.host), (RuleField::Method, &rule.method)];
    let mut cost = RuleCost { rule: index, field: RuleField::Path, positions: 1, prefix: Cow::default() };
    for (field, text) in fields.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?))) {
        if expression::is_literal(text) {
            // One position is active at a time.
            if field == RuleField::Path {
                cost.prefix = text.as_bytes().into();
            }
            continue;
        }
        let Ok(hir) = expression::hir(text) else { continue };
        // The automaton reads the fields one after the other, so the largest of them counts.
        let positions = positions(&hir, &mut 0);
        if positions > cost.positions {
            (cost.field, cost.positions) = (field, positions);
        }
        if field == RuleField::Path {
            cost.prefix = expression::prefix_of(&hir).into();
        }
    }
    cost
}

/// The number of positions of an expression that can be active at the same time. `uncertainty_before` is the number of
/// offsets at which the expression may have started, less one; on return, at which it may have ended.
fn positions(hir: &Hir, uncertainty_before: &mut u64) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Class(_) => 1,
        HirKind::Literal(_) if *uncertainty_before == 0 => 1,
        HirKind::Literal(literal) => overlaps(&literal.0).min(uncertainty_before.saturating_add(1)),
        HirKind::Capture(capture) => positions(&capture.sub, uncertainty_before),
        HirKind::Repetition(repetition) => of_repetition(repetition, uncertainty_before),
        HirKind::Concat(parts) => of_sequence(parts, uncertainty_before),
        HirKind::Alternation(parts) => {
            let sum = parts.iter().map(|part| positions(part, &mut uncertainty_before.clone()));
            let sum = sum.fold(0u64, u64::saturating_add);
            *uncertainty_before = uncertainty_before.saturating_add(uncertainty(hir));
            sum
        }
    }
}

/// As long as the length of the parts is fixed, one part is active at a time; after a part of variable length, all may be.
fn of_sequence(parts: &[Hir], uncertainty_before: &mut u64) -> u64 {
    let (mut certain, mut uncertain) = (0, 0u64);
    for part in parts {
        let before = *uncertainty_before;
        let positions = positions(part, uncertainty_before);
        if before == 0 && *uncertainty_before == 0 {
            certain = positions.max(certain);
        } else {
            uncertain = uncertain.saturating_add(positions);
        }
    }
    uncertain.max(certain)
}

fn of_repetition(repetition: &Repetition, uncertainty_before: &mut u64) -> u64 {
    let copies = u64::from(repetition.max.unwrap_or(repetition.min).max(1));
    let within = uncertainty_before.saturating_add(uncertainty(&repetition.sub).saturating_mul(copies));
    let each = positions(&repetition.sub, &mut within.clone());
    *uncertainty_before = match (repetition.max, repetition.sub.properties().maximum_len()) {
        (Some(max), Some(longest)) => {
            let counts = u64::from(max - repetition.min).saturating_mul(longest as u64);
            within.saturating_add(counts)
        }
        _ => u64::MAX,
    };
    each.saturating_mul(copies.min(within.saturating_add(1)))
}

/// The difference between the longest and the shortest text that an expression matches.
fn uncertainty(hir: &Hir) -> u64 {
    let properties = hir.properties();
    match (properties.minimum_len(), properties.maximum_len()) {
        (Some(shortest), Some(longest)) => (longest - shortest) as u64,
        _ => u64::MAX,
    }
}

/// The number of positions of a literal that can be active at the same time: how many prefixes of the literal are also
/// suffixes of one of its prefixes (borders, as in Knuth-Morris-Pratt).
fn overlaps(literal: &[u8]) -> u64 {
    // For each prefix, the length of its longest border, and the number of its borders.
    let (mut borders, mut counts) = (vec![0usize; literal.len()], vec![1u64; literal.len()]);
    for at in 1..literal.len() {
        let mut length = borders[at - 1];
        while length > 0 && literal[length] != literal[at] {
            length = borders[length - 1];
        }
        if literal[length] == literal[at] {
            length += 1;
        }
        borders[at] = length;
        counts[at] = if length == 0 { 1 } else { counts[length - 1] + 1 };
    }
    counts.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> u64 {
        positions(&expression::hir(text).unwrap(), &mut 0)
    }

    #[test]
    fn positions_grow_with_the_parts_after_one_of_variable_length() {
        for (text, expected) in [
            ("", 0),
            ("/public", 1),
            ("/[a-z]{1000}[0-9]{1000}", 1),
            ("/.{0,1000}", 1),
            ("/public/.*", 1),
            ("/.*/s7/.*/x", 1 + 2 + 1 + 1),
            ("/.*a.{200}x", 1 + 1 + 200 + 1),
            ("/[^/]*a[a-z]{50}x", 1 + 1 + 50 + 1),
            ("/.{0,100}a.{200}x", 1 + 1 + 101 + 1),
            ("/a?[0-9]{500}", 1 + 2),
            ("(.*a){50}", 100),
            ("/(a|bb)[0-9]{500}", 2 + 2),
            ("/.*aaaa", 1 + 4),
            ("/.*abcd", 1 + 1),
            ("/a|/b|/c", 3),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }
}
