//! Field names that servers confuse: to many servers, two names that differ only in case and punctuation are the same.
//!
//! CGI, WSGI, PHP and others pass fields to applications as variables. There `X-Role`, `X_Role` and `X.Role` all become
//! `HTTP_X_ROLE`, and the second field is appended to the first or replaces it. So a request is ambiguous where a field's
//! name folds to the name of a field that matters, and is not that name.

use crate::{Field, Refusal};

/// Names of the fields that define the end of a message, its coding, or the fate of the connection. A name without
/// punctuation is not in this list, because no other name folds to it.
const FRAMING: [&str; 7] = [
    "content-length",
    "transfer-encoding",
    "content-type",
    "content-encoding",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
];

/// Names that a trailer must not have: such a field changes the meaning of bytes that were read before it.
const FORBIDDEN_IN_TRAILERS: [&str; 6] =
    ["content-length", "transfer-encoding", "host", "connection", "trailer", "upgrade"];

/// Names of fields whose value some servers use as the method.
const METHOD: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// True where servers may treat both names as the same.
pub(crate) fn folds_to(one: &str, other: &str) -> bool {
    let same = |(one, other): (u8, u8)| {
        one.eq_ignore_ascii_case(&other) || !one.is_ascii_alphanumeric() && !other.is_ascii_alphanumeric()
    };
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(same)
}

/// True where servers may treat the name as another one.
pub(crate) fn is_confusable_with(name: &str, other: &str) -> bool {
    folds_to(name, other) && !name.eq_ignore_ascii_case(other)
}

/// Refuses a request with a field that a server may confuse with a framing field.
pub(crate) fn check_framing(fields: &[Field<'_>]) -> Result<(), Refusal> {
    let is_taken = |field: &Field<'_>| FRAMING.iter().any(|framing| is_confusable_with(field.name, framing));
    if fields.iter().any(is_taken) {
        return Err(Refusal::malformed("a field whose name a server may confuse with a framing field"));
    }
    Ok(())
}

/// True where a trailer with this name changes the meaning of bytes that were read before it.
pub(crate) fn is_forbidden_in_trailers(name: &str) -> bool {
    FORBIDDEN_IN_TRAILERS.iter().any(|no| folds_to(name, no))
}

/// True where servers may use the value of a field with this name as the method.
pub(crate) fn overrides_method(name: &str) -> bool {
    METHOD.iter().any(|known| folds_to(name, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_by_case_and_punctuation() {
        for name in ["X-Role", "x_role", "X.ROLE", "x~Role", "X!role"] {
            assert!(folds_to(name, "x-role") && folds_to("X_Role", name), "{name}");
        }
        for name in ["X-Rol", "X-Roles", "XxRole", "X--ole", "1-Role", ""] {
            assert!(!folds_to(name, "x-role"), "{name}");
        }
        assert!(!is_confusable_with("X-ROLE", "x-role") && is_confusable_with("X_ROLE", "x-role"));
    }
}
