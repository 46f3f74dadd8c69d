//! Domain names and patterns, with messages for invalid ones.

use crate::item::{Item, Nulls};
use policy::domain::{DomainError, DomainPattern};

/// The parsed pattern; reports the error if parsing failed.
pub(crate) fn checked(item: &Item<'_>, read: Result<DomainPattern, DomainError>) -> Option<DomainPattern> {
    read.inspect_err(|error| {
        let text = item.text().unwrap_or_default();
        let name = if text.chars().count() > 60 { "the name".to_owned() } else { format!("{text:?}") };
        item.error(format!("{name} {error}"));
    })
    .ok()
}

/// Reads `{matchName}` or `{matchPattern}`.
pub(crate) fn selector(item: &Item<'_>) -> Option<DomainPattern> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (name, pattern) = (fields.take("matchName"), fields.take("matchPattern"));
    fields.finish();
    match (name, pattern) {
        (Some(name), None) => checked(&name, DomainPattern::name(name.text()?)),
        (None, Some(pattern)) => checked(&pattern, DomainPattern::pattern(pattern.text()?)),
        _ => {
            item.error("needs exactly one of `matchName` and `matchPattern`");
            None
        }
    }
}
