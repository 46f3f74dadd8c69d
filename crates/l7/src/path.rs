//! The canonical form of a path, made once and in place: the server gets the path that rules matched.
//!
//! The steps, in Envoy's order: decode escapes of unreserved characters once, remove dot segments, merge slashes. The query
//! is not changed. Paths that servers are known to parse differently are refused: those with escaped slashes or
//! backslashes, with backslashes, with escaped control characters, or with `..;`.

use crate::Refusal;

/// Makes the path canonical and returns its new length, which is at most the old one.
///
/// # Errors
/// The path does not start with a slash, or servers may parse it differently.
pub fn canonicalise(target: &mut [u8]) -> Result<usize, Refusal> {
    let end = target.iter().position(|&byte| byte == b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    check(path, b"\\", "a backslash in the path")?;
    check(query, b"", "a character in the query that must be escaped")?;
    if path.first() != Some(&b'/') {
        return Err(Refusal::malformed("the path does not begin with a slash"));
    }
    let plain = !path.contains(&b'%') && !path.windows(2).any(|pair| pair == b"//" || pair == b"/.");
    if plain {
        return Ok(target.len());
    }
    let decoded = decode(&mut target[..end])?;
    let without_dots = remove_dot_segments(&mut target[..decoded])?;
    let length = merge_slashes(&mut target[..without_dots]);
    target.copy_within(end.., length);
    Ok(length + target.len() - end)
}

/// Refuses characters that a target cannot have, and those of `also`.
fn check(part: &[u8], also: &[u8], reason: &'static str) -> Result<(), Refusal> {
    for &byte in part {
        match byte {
            b'#' => return Err(Refusal::malformed("a fragment in the target")),
            b'!'..=b'~' if !also.contains(&byte) => {}
            b'!'..=b'~' => return Err(Refusal::malformed(reason)),
            _ => {
                return Err(Refusal::malformed(
                    "white space, a control character or non-ASCII in the target",
                ));
            }
        }
    }
    Ok(())
}

/// Decodes escapes of unreserved characters; other escapes are not changed.
fn decode(path: &mut [u8]) -> Result<usize, Refusal> {
    let (mut read, mut write) = (0, 0);
    while read < path.len() {
        let mut length = 1;
        if path[read] == b'%' {
            let digits =
                (path.get(read + 1).copied().and_then(digit), path.get(read + 2).copied().and_then(digit));
            let (Some(high), Some(low)) = digits else {
                return Err(Refusal::malformed("a percent sign without two hexadecimal digits"));
            };
            match high << 4 | low {
                b'/' | b'\\' => return Err(Refusal::malformed("an escaped slash or backslash in the path")),
                0..0x20 | 0x7f => return Err(Refusal::malformed("an escaped control character in the path")),
                byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                    path[write] = byte;
                    read += 3;
                    write += 1;
                    continue;
                }
                _ => length = 3,
            }
        }
        path.copy_within(read..read + length, write);
        read += length;
        write += length;
    }
    Ok(write)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// RFC 3986, section 5.2.4: removes `.`, and `..` together with the segment before it; `..` at the root is removed.
fn remove_dot_segments(path: &mut [u8]) -> Result<usize, Refusal> {
    let (mut read, mut write) = (0, 0);
    while read < path.len() {
        // `read` is at a slash; the segment lies between this slash and the next.
        let end =
            path[read + 1..].iter().position(|&byte| byte == b'/').map_or(path.len(), |next| read + 1 + next);
        let segment = &path[read + 1..end];
        let is_last = end == path.len();
        match segment {
            b"." | b".." => {
                if segment.len() == 2 {
                    write = path[..write].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                }
                if is_last {
                    path[write] = b'/';
                    write += 1;
                }
            }
            _ if hides_dots(segment) => return Err(Refusal::malformed("a dot segment with parameters")),
            _ => {
                path.copy_within(read..end, write);
                write += end - read;
            }
        }
        read = end;
    }
    Ok(write)
}

/// True where a server that removes parameters (`;x`) from the segment gets a dot segment.
fn hides_dots(segment: &[u8]) -> bool {
    let rest = segment.strip_prefix(b"..").or_else(|| segment.strip_prefix(b"."));
    rest.is_some_and(|rest| rest.starts_with(b";") || rest.starts_with(b"%3b") || rest.starts_with(b"%3B"))
}

fn merge_slashes(path: &mut [u8]) -> usize {
    let mut write = 0;
    for read in 0..path.len() {
        if path[read] != b'/' || write == 0 || path[write - 1] != b'/' {
            path[write] = path[read];
            write += 1;
        }
    }
    write
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(path: &str) -> Option<String> {
        let mut bytes = path.as_bytes().to_vec();
        let length = canonicalise(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).expect("ASCII was checked"))
    }

    #[test]
    fn paths_become_canonical() {
        for (sent, expected) in [
            ("/", "/"),
            ("/public", "/public"),
            ("/public/../private", "/private"),
            ("/public/%2e%2e/private", "/private"),
            ("/public/.%2E/private", "/private"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/..", "/"),
            ("/../../x", "/x"),
            ("/.", "/"),
            ("//", "/"),
            ("//a///b//", "/a/b/"),
            // Dots first, then slashes: the empty segment is what `..` removes.
            ("/public//../private", "/public/private"),
            ("/%70ublic", "/public"),
            ("/public/%252e%252e/private", "/public/%252e%252e/private"),
            ("/a%3Fb%23c%20d", "/a%3Fb%23c%20d"),
            ("/caf%c3%A9", "/caf%c3%A9"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a;x=1", "/a;x=1"),
            ("/a/../b?x=/../%2e%zz//", "/b?x=/../%2e%zz//"),
            ("/?/../", "/?/../"),
        ] {
            assert_eq!(canonical(sent).as_deref(), Some(expected), "{sent}");
        }
    }

    #[test]
    fn a_path_that_servers_parse_differently_is_refused() {
        for sent in [
            "",
            "public",
            "?",
            "/a%2Fb",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/%00",
            "/%0a",
            "/%7F",
            "/%u002e",
            "/%",
            "/%4",
            "/%zz",
            "/a#b",
            "/?a#b",
            "/a b",
            "/a\tb",
            "/?a b",
            "/caf\u{e9}",
            "/..;/x",
            "/a/.;x",
            "/a/..%3bx",
            "/%2e%2e;/x",
        ] {
            assert_eq!(canonical(sent), None, "{sent}");
        }
    }

    #[test]
    fn canonical_paths_stay_as_they_are() {
        let alphabet = ["/", ".", "..", "%2e", "a", "%61", "%41", "?", "%25", ";", "b.", "//"];
        let mut state = 1u64;
        let mut seen = 0;
        for _ in 0..50_000 {
            let mut path = String::from("/");
            for _ in 0..8 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                path.push_str(alphabet[(state >> 33) as usize % alphabet.len()]);
            }
            let Some(once) = canonical(&path) else { continue };
            seen += 1;
            assert_eq!(canonical(&once).as_ref(), Some(&once), "{path}");
            let bare = once.split('?').next().unwrap_or("");
            assert!(!bare.contains("//") && !bare.split('/').any(|segment| segment == ".."), "{path} {once}");
        }
        assert!(seen > 10_000, "only {seen} were accepted");
    }
}
