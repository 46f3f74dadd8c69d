//! The string literals of a Rust file, with their escapes resolved.

/// All string literals of a source text, in order. Comments and character literals are skipped, not parsed: what is
/// taken for a string there makes one more seed.
pub fn strings(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find('"') {
        let hashes = rest[..at].bytes().rev().take_while(|byte| *byte == b'#').count();
        let is_raw = rest[..at - hashes].ends_with('r');
        let body = &rest[at + 1..];
        let end = if is_raw { body.find(&format!("\"{}", "#".repeat(hashes))) } else { end_of_escaped(body) };
        let Some(end) = end else { return found };
        found.push(if is_raw { body[..end].to_owned() } else { unescaped(&body[..end]) });
        rest = &body[end + 1..];
    }
    found
}

/// Where the closing quote of a string with escapes stands.
fn end_of_escaped(body: &str) -> Option<usize> {
    let mut is_escaped = false;
    body.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

fn unescaped(body: &str) -> String {
    let mut text = String::new();
    let mut rest = body.chars();
    while let Some(next) = rest.next() {
        if next != '\\' {
            text.push(next);
            continue;
        }
        match rest.next() {
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('0') => text.push('\0'),
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                text.push(u8::from_str_radix(&digits, 16).map_or('?', char::from));
            }
            Some('\n') => rest = rest.as_str().trim_start().chars(),
            Some(other) => text.push(other),
            None => {}
        }
    }
    text
}
