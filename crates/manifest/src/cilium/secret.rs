//! References to a secret of Kubernetes.

use crate::item::{Item, Nulls};

/// Checks the fields of `{namespace, name}`.
pub(super) fn check(item: &Item<'_>) {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return };
    let (namespace, name) = (fields.take("namespace"), fields.require("name"));
    fields.finish();
    namespace.iter().for_each(Item::check_text);
    if let Some(name) = name
        && name.text() == Some("")
    {
        name.error("must not be empty; name the secret");
    }
}
