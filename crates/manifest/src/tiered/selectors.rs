//! Selectors of workloads by namespace, and by namespace and pod.

use crate::item::{Item, Nulls};
use crate::selector::{Keys, ParsedSelector};
use identity::{Operator, Selector, Source, key};

/// The workloads of namespaces with such labels.
pub(super) fn of_namespaces(item: &Item<'_>) -> Selector {
    if refuses_old_form(item, "namespaces") {
        return Selector::default();
    }
    workloads(ParsedSelector::read(item, Keys::OfNamespace).into_selector())
}

/// Reports a selector of namespaces in the form of 2023, which had an additional level.
fn refuses_old_form(item: &Item<'_>, name: &str) -> bool {
    let Some(mut fields) = item.is_mapping().then(|| item.fields(Nulls::Absent)).flatten() else {
        return false;
    };
    let old =
        ["namespaceSelector", "sameLabels", "notSameLabels"].into_iter().find_map(|old| fields.take(old));
    old.iter().for_each(|old| {
        old.error(format!(
            "is the form of 2023; the selector itself is written under `{name}` now: `{name}: {{matchLabels: ...}}`, or \
             `{name}: {{}}` for all of them"
        ));
    });
    old.is_some()
}

/// Reads `{namespaceSelector, podSelector}`.
pub(super) fn of_pods(item: &Item<'_>) -> Option<Selector> {
    let mut fields = item.fields(Nulls::Refused)?;
    if let Some(old) = fields.take("namespaces") {
        old.error(
            "is the form of 2023; name the namespaces in `namespaceSelector`, where the selector itself is written now: \
             `namespaceSelector: {matchLabels: ...}`",
        );
        return None;
    }
    let (namespaces, pods) = (fields.take("namespaceSelector"), fields.require("podSelector"));
    fields.finish();
    let namespaces = namespaces
        .map(|item| ParsedSelector::read(&item, Keys::OfNamespace).into_selector())
        .unwrap_or_default();
    let pods = ParsedSelector::read(&pods?, Keys::Plain).into_selector();
    Some(workloads(namespaces.and(&pods)))
}

/// The selector restricted to workloads. Peers without a namespace would match NotIn and DoesNotExist.
fn workloads(selector: Selector) -> Selector {
    selector.with(Some(Source::K8s), key::NAMESPACE, Operator::Exists)
}
