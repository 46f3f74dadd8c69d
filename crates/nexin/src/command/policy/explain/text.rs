//! An explanation as lines of text.

use crate::command::policy::scenario::Scenario;
use crate::session::Session;
use crate::verdict;
use api::view::{Considered, Explanation, SideVerdict};
use std::collections::BTreeMap;

/// Adds to each rule its place in the files.
pub(super) fn place(explanation: &mut Explanation, scenario: &Scenario) {
    let mut places = BTreeMap::new();
    for policy in scenario.registry.policies.iter() {
        for rule in policy.specs.iter().flat_map(|spec| &spec.rules) {
            if let Some(position) = scenario.positions.position_of(&policy.id, &rule.place) {
                let place = format!("{}:{}", position.file, position.line);
                places.insert(format!("{} {}", policy.id, rule.place), place);
            }
        }
    }
    let branches = explanation.branches.iter_mut().flat_map(|branch| &mut branch.sides);
    for side in explanation.sides.iter_mut().chain(branches) {
        side.considered.iter_mut().for_each(|one| one.at = places.get(&one.rule).cloned());
    }
}

/// The lines of an explanation, verdict first; at most as wide as the terminal.
pub(super) fn lines(session: &Session, explanation: &Explanation) -> Vec<String> {
    let Explanation { verdict, requests, notes, sides, branches } = explanation;
    let width = session.width().unwrap_or(usize::MAX);
    let mut lines = vec![format!("{}{}", verdict::painted(session, verdict), only(requests.as_deref()))];
    if !branches.is_empty() {
        lines = vec![format!("{} for some backends", lines[0])];
    }
    notes.iter().for_each(|note| lines.extend(wrapped(&format!("  {note}"), 4, width)));
    if sides.is_empty() && branches.is_empty() && notes.is_empty() {
        lines.push("  no policy applies: neither end is a workload, or a node that a policy selects".into());
    }
    sides.iter().for_each(|side| lines.extend(of_side(session, side, width)));
    for branch in branches {
        lines.push(format!("  to {}: {}", branch.to, verdict::painted(session, &branch.verdict)));
        let sides = branch.sides.iter().flat_map(|side| of_side(session, side, width.saturating_sub(2)));
        lines.extend(sides.map(|line| format!("  {line}")));
    }
    lines
}

fn of_side(session: &Session, side: &SideVerdict, width: usize) -> Vec<String> {
    let mut lines = wrapped(&heading(session, side), 4, width);
    for one in &side.considered {
        let sign = match one {
            Considered { applies: true, .. } => '+',
            Considered { nearest: true, .. } => '~',
            _ => '-',
        };
        let tier = match one.tier.as_str() {
            "" | "normal" => String::new(),
            tier => format!(" of tier {tier}"),
        };
        let at = one.at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
        lines.extend(wrapped(&format!("    {sign} {}{tier}: {}{at}", one.rule, one.why), 8, width));
    }
    lines
}

fn heading(session: &Session, side: &SideVerdict) -> String {
    let SideVerdict { direction, subject, verdict, requests, reason, .. } = side;
    let painted = verdict::painted(session, verdict);
    // The nearest rule is marked in the list, so the reason need not repeat it.
    let is_listed = side.considered.iter().any(|one| one.nearest);
    let reason = if is_listed { reason.split("; nearest: ").next().unwrap_or(reason) } else { reason };
    let reason = verdict::reason(verdict, reason);
    format!("  {direction} of {subject}: {painted}{}: {reason}", only(requests.as_deref()))
}

/// The allowed requests, as a suffix of a verdict.
fn only(requests: Option<&[String]>) -> String {
    match requests {
        None => String::new(),
        Some([]) => ", but no request".to_owned(),
        Some(requests) => format!(", only {}", requests.join(" or ")),
    }
}

/// Wraps a text at spaces; all lines but the first are indented.
fn wrapped(text: &str, indent: usize, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for (index, word) in text.split(' ').enumerate() {
        if line.chars().count() + 1 + word.chars().count() > width && !line.trim().is_empty() {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            line.push_str(word);
        } else {
            line.push_str(if index > 0 { " " } else { "" });
            line.push_str(word);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped_at_the_width_of_the_terminal() {
        assert_eq!(wrapped("  a bc de", 4, 6), ["  a bc", "    de"]);
        assert_eq!(wrapped("  a bc de", 4, usize::MAX), ["  a bc de"]);
    }

    #[test]
    fn allowed_requests_follow_the_verdict() {
        assert_eq!(only(None), "");
        assert_eq!(only(Some(&[])), ", but no request");
        assert_eq!(only(Some(&["GET /a".to_owned(), "HEAD /a".to_owned()])), ", only GET /a or HEAD /a");
    }
}
