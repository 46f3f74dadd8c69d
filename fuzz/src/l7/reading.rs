//! A simple matcher of expressions: it computes the set of offsets up to which a text can have been matched.

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

/// Whether an expression matches a whole text.
pub fn matches(expression: &Hir, text: &[u8]) -> bool {
    let mut start = vec![false; text.len() + 1];
    start[0] = true;
    read(expression, text, &start)[text.len()]
}

/// The offsets at which a match can end that starts at one of the given offsets.
fn read(expression: &Hir, text: &[u8], from: &[bool]) -> Vec<bool> {
    let places = || from.iter().enumerate().filter(|(_, is_here)| **is_here).map(|(at, _)| at);
    let mut ends = vec![false; from.len()];
    match expression.kind() {
        HirKind::Empty => return from.to_vec(),
        HirKind::Literal(literal) => places()
            .filter(|at| text[*at..].starts_with(&literal.0))
            .for_each(|at| ends[at + literal.0.len()] = true),
        HirKind::Class(class) => places()
            .filter(|at| text.get(*at).is_some_and(|byte| has(class, *byte)))
            .for_each(|at| ends[at + 1] = true),
        HirKind::Look(look) => places().filter(|at| looks(*look, text, *at)).for_each(|at| ends[at] = true),
        HirKind::Capture(capture) => return read(&capture.sub, text, from),
        HirKind::Repetition(repetition) => return repeat(repetition, text, from),
        HirKind::Concat(parts) => {
            return parts.iter().fold(from.to_vec(), |from, part| read(part, text, &from));
        }
        HirKind::Alternation(parts) => parts.iter().for_each(|part| add(&mut ends, &read(part, text, from))),
    }
    ends
}

fn repeat(repetition: &Repetition, text: &[u8], from: &[bool]) -> Vec<bool> {
    let (mut ends, mut here) = (vec![false; from.len()], from.to_vec());
    let mut round = 0;
    loop {
        if round >= repetition.min {
            add(&mut ends, &here);
        }
        if repetition.max == Some(round) {
            return ends;
        }
        let next = read(&repetition.sub, text, &here);
        let adds = next.iter().zip(&ends).any(|(next, end)| *next && !*end);
        if !next.contains(&true) || (round >= repetition.min && !adds) {
            return ends;
        }
        here = next;
        round += 1;
    }
}

fn add(ends: &mut [bool], more: &[bool]) {
    ends.iter_mut().zip(more).for_each(|(end, more)| *end |= more);
}

fn has(class: &Class, byte: u8) -> bool {
    match class {
        Class::Bytes(class) => {
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&byte))
        }
        Class::Unicode(class) => {
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&char::from(byte)))
        }
    }
}

fn looks(look: Look, text: &[u8], at: usize) -> bool {
    let is_word = |at: Option<usize>| {
        at.and_then(|at| text.get(at)).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    let is_boundary = is_word(at.checked_sub(1)) != is_word(Some(at));
    match look {
        Look::Start | Look::StartLF => at == 0,
        Look::End | Look::EndLF => at == text.len(),
        Look::WordAscii => is_boundary,
        Look::WordAsciiNegate => !is_boundary,
        other => panic!("no expression of a policy looks for {other:?}"),
    }
}
