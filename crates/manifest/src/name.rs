//! The syntax of names: of objects, label keys and values, ports, and header fields.

use crate::item::Item;

/// A part of a label key or value, or a whole value: letters, digits, `-`, `_` and `.`, beginning and ending with a
/// letter or digit, at most 63.
fn is_label_part(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else { return false };
    text.len() <= 63
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && text.bytes().all(inner)
}

/// One label of a domain name: lower-case letters, digits and `-`, at most 63.
fn is_domain_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A domain name, the form of object names.
fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_domain_label)
}

/// A label key of Kubernetes: a name, with or without a domain before it (`example.com/tier`).
pub(crate) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((domain, name)) => is_domain(domain) && is_label_part(name),
        None => is_label_part(text),
    }
}

/// A label value of Kubernetes; may be empty.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_part(text)
}

/// A service name as of RFC 6335: letters, digits and single `-` between them, with a letter, at most 15.
pub(crate) fn is_port_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.len() <= 15
        && text.bytes().all(inner)
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}

/// The name of a header field (RFC 9110, section 5.1).
pub(crate) fn is_header_name(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

/// The name of an object.
pub(crate) fn object(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if !is_domain(text) {
        item.error(format!(
            "{text:?} is not a valid name; write lower-case letters, digits, `-` and `.`, at most 253, \
             each part beginning and ending with a letter or digit"
        ));
        return None;
    }
    Some(text.to_owned())
}

/// The name of a namespace.
pub(crate) fn namespace(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if !is_domain_label(text) {
        item.error(format!(
            "{text:?} is not a valid namespace; write lower-case letters, digits and `-`, at most 63, \
             beginning and ending with a letter or digit"
        ));
        return None;
    }
    Some(text.to_owned())
}

/// The name of a port, in lower case.
pub(crate) fn port(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if !is_port_name(text) {
        item.error(format!(
            "{text:?} is not a valid port name; write at most 15 letters, digits and single `-`, at least one a letter"
        ));
        return None;
    }
    Some(text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_names_are_distinguished_from_invalid_ones() {
        let check = |is: fn(&str) -> bool, good: &[&str], bad: &[&str]| {
            good.iter().for_each(|text| assert!(is(text), "{text:?}"));
            bad.iter().for_each(|text| assert!(!is(text), "{text:?}"));
        };
        let long = "x".repeat(64);
        check(
            is_label_key,
            &["app", "example.com/tier", "A.b_c-d"],
            &["", "/x", "a/b/c", "-a", "a b", "k8s:a", &long],
        );
        check(is_label_value, &["", "v1.2", "A"], &["-", "a b", "a/b", &long]);
        check(is_domain, &["a", "a.b-c"], &["", "A", "a..b", "-a", "a.", "a_b"]);
        check(
            is_port_name,
            &["http", "HTTP", "serve-80-tcp", "80a"],
            &["80", "", "a--b", "-a", "a_b", "sixteen-letters-"],
        );
        check(is_header_name, &["X-Token"], &["", "X:", "a b"]);
    }
}
