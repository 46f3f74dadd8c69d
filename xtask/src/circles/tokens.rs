//! Rust code as words and punctuation, without comments and literals.

use crate::source::{Kind, pieces};

/// A word, `::`, or one character of punctuation. A literal is `""`.
pub(super) type Token<'a> = &'a str;

const TEST_ONLY: &[&str] = &["#", "[", "cfg", "(", "test", ")", "]"];

/// The tokens of a file.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for piece in pieces(text) {
        match piece.kind {
            Kind::Comment => {}
            Kind::Literal => tokens.push("\"\""),
            Kind::Code => split(piece.text, &mut tokens),
        }
    }
    tokens
}

/// Whether a token is a name or a keyword.
pub(super) fn is_word(token: &str) -> bool {
    token.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

fn split<'a>(mut code: &'a str, tokens: &mut Vec<Token<'a>>) {
    while let Some(first) = code.chars().next() {
        let is_in_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let length = if code.starts_with("::") {
            2
        } else if is_in_word(first) {
            code.find(|letter| !is_in_word(letter)).unwrap_or(code.len())
        } else {
            first.len_utf8()
        };
        let (token, rest) = code.split_at(length);
        code = rest;
        // `r#type` is the name `type`; `$crate` is `crate`.
        if token == "r" && code.starts_with('#') {
            code = &code[1..];
        } else if !first.is_whitespace() && first != '$' {
            tokens.push(token);
        }
    }
}

/// The index after the item that starts at `at`, attributes included.
pub(super) fn after_item(tokens: &[Token<'_>], mut at: usize) -> usize {
    while tokens[at..].starts_with(&["#", "["]) {
        at = after_group(tokens, at + 1);
    }
    let is_use = tokens[at..].iter().take(6).take_while(|token| **token != "{").any(|token| *token == "use");
    while at < tokens.len() {
        match tokens[at] {
            ";" => return at + 1,
            "{" if !is_use => return after_group(tokens, at),
            "(" | "[" | "{" => at = after_group(tokens, at),
            // The item is the last of a list that this brace closes: a field or a variant.
            ")" | "]" | "}" => return at,
            _ => at += 1,
        }
    }
    at
}

/// The index after the bracket that closes the one at `at`.
pub(super) fn after_group(tokens: &[Token<'_>], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < tokens.len() {
        match tokens[at] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Whether an item that is compiled for tests only starts at `at`.
pub(super) fn is_test_only(tokens: &[Token<'_>], at: usize) -> bool {
    tokens[at..].starts_with(TEST_ONLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_words_and_marks() {
        let text = "// x\nlet a: r#b = $crate::c::d(\"e\", 'f');";
        let expected =
            ["let", "a", ":", "b", "=", "crate", "::", "c", "::", "d", "(", "\"\"", ",", "\"\"", ")", ";"];
        assert_eq!(tokens(text), expected);
    }

    #[test]
    fn an_item_ends_at_its_brace_or_semicolon() {
        for (item, rest) in [
            ("#[a(b)] fn c(d: [u8; 2]) { { } }", "x"),
            ("pub(crate) use a::{b, c};", "x"),
            ("const A: [u8; 2] = [1; 2];", "x"),
            ("mod tests;", "fn x"),
        ] {
            let text = format!("{item} {rest}");
            let tokens = tokens(&text);
            assert_eq!(tokens[after_item(&tokens, 0)..].join(" "), rest, "{item}");
        }
    }
}
