//! Names of fields as servers fold them: two names that differ only in case and punctuation are one to many of them.
//!
//! CGI, WSGI, PHP and others hand fields on as variables, where `X-Role`, `X_Role` and `X.Role` are all `HTTP_X_ROLE`:
//! the second is added to the first or takes its place. So a name that folds to one that decides something, and is
//! not that one, makes a request that is not understood with certainty.

use crate::{Field, Refusal};

/// Names that say where a message ends, how its bytes are to be read, or what becomes of the connection. Names without
/// punctuation are not here: nothing else folds to them.
const FRAMING: [&str; 7] = [
    "content-length",
    "transfer-encoding",
    "content-type",
    "content-encoding",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
];

/// Names that a trailer must not have, since they would tell a reader what to make of bytes it has read already.
const FORBIDDEN_IN_TRAILERS: [&str; 6] =
    ["content-length", "transfer-encoding", "host", "connection", "trailer", "upgrade"];

/// Names whose value some servers take for the method.
const METHOD: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Whether servers may take one name for the other, or both for the same.
pub(crate) fn folds_to(one: &str, other: &str) -> bool {
    let same = |(one, other): (u8, u8)| {
        one.eq_ignore_ascii_case(&other) || !one.is_ascii_alphanumeric() && !other.is_ascii_alphanumeric()
    };
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(same)
}

/// Whether servers may take the name for another one that it is not.
pub(crate) fn is_confusable_with(name: &str, other: &str) -> bool {
    folds_to(name, other) && !name.eq_ignore_ascii_case(other)
}

/// Refuses fields of a request that a server may take for one that frames the message.
pub(crate) fn check_framing(fields: &[Field<'_>]) -> Result<(), Refusal> {
    let is_taken = |field: &Field<'_>| FRAMING.iter().any(|framing| is_confusable_with(field.name, framing));
    if fields.iter().any(is_taken) {
        return Err(Refusal::malformed(
            "a field whose name a server may take for one that frames the message",
        ));
    }
    Ok(())
}

/// Whether a trailer with this name would change what was read before it.
pub(crate) fn is_forbidden_in_trailers(name: &str) -> bool {
    FORBIDDEN_IN_TRAILERS.iter().any(|no| folds_to(name, no))
}

/// Whether servers may take the value of a field with this name for the method.
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
