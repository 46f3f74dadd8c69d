//! Splits the text of a Rust file into code, comments and literals.

/// What a stretch of a Rust file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Code,
    Comment,
    Literal,
}

/// A stretch of one kind, with the line that it starts on, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
    pub(crate) text: &'a str,
}

/// Splits a Rust file. The pieces joined are the text again.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut start, mut at, mut line) = (0, 0, 1);
    let mut push = |kind, text: &str, line: &mut usize, piece: std::ops::Range<usize>| {
        if !piece.is_empty() {
            pieces.push((kind, *line, piece.clone()));
            *line += text[piece].matches('\n').count();
        }
    };
    while at < text.len() {
        let rest = &text[at..];
        let Some((kind, length)) = piece_at(rest, text[..at].chars().next_back()) else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        push(Kind::Code, text, &mut line, start..at);
        push(kind, text, &mut line, at..at + length);
        at += length;
        start = at;
    }
    push(Kind::Code, text, &mut line, start..text.len());
    pieces.into_iter().map(|(kind, line, range)| Piece { kind, line, text: &text[range] }).collect()
}

/// The kind and length of the comment or literal that `rest` starts with, where it starts with one.
fn piece_at(rest: &str, before: Option<char>) -> Option<(Kind, usize)> {
    if rest.starts_with("//") {
        return Some((Kind::Comment, rest.find('\n').unwrap_or(rest.len())));
    }
    if rest.starts_with("/*") {
        return Some((Kind::Comment, block_comment(rest)));
    }
    let is_in_word = before.is_some_and(|before| before.is_alphanumeric() || before == '_');
    let prefix = if is_in_word { 0 } else { prefix_length(rest) };
    let quoted = &rest[prefix..];
    let hashes = quoted.len() - quoted.trim_start_matches('#').len();
    let is_raw = rest[..prefix].ends_with('r');
    if quoted[hashes..].starts_with('"') && (is_raw || hashes == 0) {
        let length = if is_raw { raw_string(quoted, hashes) } else { string(quoted) };
        return Some((Kind::Literal, prefix + length));
    }
    let is_byte = rest[..prefix].ends_with('b');
    if quoted.starts_with('\'') && (prefix == 0 || is_byte) {
        return Some((Kind::Literal, prefix + character(quoted)?));
    }
    None
}

/// The length of the letters before the quote of a literal: `b`, `c`, `r`, `br` and `cr`.
fn prefix_length(rest: &str) -> usize {
    let letters = rest.find(|letter| !matches!(letter, 'b' | 'c' | 'r')).unwrap_or(rest.len());
    let is_prefix = matches!(&rest[..letters], "b" | "c" | "r" | "br" | "cr");
    if is_prefix && rest[letters..].starts_with(['"', '#', '\'']) { letters } else { 0 }
}

/// The length of a block comment; comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let (step, change) = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth = depth.saturating_add_signed(change);
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length of a string whose quote is the first character.
fn string(rest: &str) -> usize {
    let mut is_escaped = true;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a raw string after its letters.
fn raw_string(rest: &str, hashes: usize) -> usize {
    let end = format!("\"{}", &rest[..hashes]);
    let body = hashes + 1;
    rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len())
}

/// The length of a character literal; none where the quote starts a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        characters.next();
        return characters.find(|(_, letter)| *letter == '\'').map(|(at, _)| at + 1);
    }
    characters.next().filter(|(_, letter)| *letter == '\'').map(|(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_kind(kind: Kind, text: &str) -> Vec<&str> {
        pieces(text).into_iter().filter(|piece| piece.kind == kind).map(|piece| piece.text).collect()
    }

    #[test]
    fn the_pieces_joined_are_the_text() {
        let text = "//! One.\nfn a<'a>(b: &'a str) -> char { 'x' /* é /* y */ */ }\n\"é\\\"\";r#\"a\"b\"#";
        assert_eq!(pieces(text).iter().map(|piece| piece.text).collect::<String>(), text);
    }

    #[test]
    fn comments_nest_and_quotes_in_them_are_no_strings() {
        assert_eq!(
            of_kind(Kind::Comment, "a // \"b\nc /* d /* e */ f */ g"),
            ["// \"b", "/* d /* e */ f */"]
        );
    }

    #[test]
    fn strings_hold_escaped_quotes_and_slashes() {
        let text = r###"f("a\"//b", b"c", r"\", br#"d"e"#, c"f", '"', '\'', b'x', bar"g")"###;
        let literals =
            [r#""a\"//b""#, "b\"c\"", "r\"\\\"", "br#\"d\"e\"#", "c\"f\"", "'\"'", r"'\''", "b'x'", "\"g\""];
        assert_eq!(of_kind(Kind::Literal, text), literals);
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        assert_eq!(of_kind(Kind::Literal, "fn a<'a, 'b>(r#type: &'a u8) -> &'static str"), [""; 0]);
    }

    #[test]
    fn lines_count_from_one() {
        let lines: Vec<_> = pieces("a\n// b\n\"c\nd\" // e").iter().map(|piece| piece.line).collect();
        assert_eq!(lines, [1, 2, 2, 3, 4, 4]);
    }
}
