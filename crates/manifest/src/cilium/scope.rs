//! The namespaces that selectors apply to: of subjects, and of peers without a namespace.

use super::reserved;
use crate::item::Item;
use crate::selector::{Keys, ParsedSelector, RESERVED};
use identity::{Operator, Requirement, Selector, Source, key};
use policy::rule::Peer;

/// The scope of peers that mention no namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// This namespace.
    Namespace(String),
    /// Workloads of any namespace, and no other kind of peer.
    Workloads,
    /// Every peer: workloads whose labels are not known yet have no namespace.
    Unbounded,
}

/// Reads the selector of a policy's subject, and adds the policy's namespace.
pub(super) fn subject(item: &Item<'_>, namespace: Option<&str>) -> (Selector, Scope) {
    let mut written = ParsedSelector::read(item, Keys::Sourced);
    let is_init = |one: &Requirement| is_reserved(one) && one.name == "init";
    let init = written.requirements().any(is_init);
    let Some(namespace) = namespace else {
        let scope = if init { Scope::Unbounded } else { Scope::Workloads };
        return (written.into_selector(), scope);
    };
    let own = Operator::equals(namespace);
    if written.requirements().any(|one| names_namespace(one) && one.operator != own) {
        item.warn(format!("the policy selects workloads of its own namespace, {namespace}, only"));
    }
    written.labels.retain(|one| one.source != Some(Source::K8s) || one.name != key::NAMESPACE);
    let selector = written.into_selector().with(Some(Source::K8s), key::NAMESPACE, own);
    (selector, Scope::Namespace(namespace.to_owned()))
}

/// Reads the selector of a host policy; nodes have no namespace.
pub(super) fn nodes(item: &Item<'_>) -> Selector {
    ParsedSelector::read(item, Keys::Sourced).into_selector()
}

/// Reads the selector of peers; it may stand for several.
pub(super) fn peers(item: &Item<'_>, scope: &Scope) -> Vec<Peer> {
    let selector = ParsedSelector::read(item, Keys::Sourced).into_selector();
    if selector.requirements().iter().any(is_reserved) {
        refute_reserved(item, &selector);
    }
    reserved::peers(scoped(selector, scope))
}

/// The selector restricted to its scope.
fn scoped(selector: Selector, scope: &Scope) -> Selector {
    let requirements = || selector.requirements().iter();
    let of_namespaces = || requirements().filter(|one| names_namespace(one) || is_namespace_label(one));
    let names_reserved = requirements().any(|one| is_reserved(one) && one.requires_label());
    let only_excludes = of_namespaces().next().is_some() && !of_namespaces().any(Requirement::requires_label);
    if only_excludes && !names_reserved {
        // Peers without a namespace would match NotIn and DoesNotExist.
        return selector.with(Some(Source::K8s), key::NAMESPACE, Operator::Exists);
    }
    if requirements().any(|one| is_reserved(one) || names_namespace(one)) {
        return selector;
    }
    match scope {
        Scope::Namespace(_) if of_namespaces().next().is_some() => selector,
        Scope::Namespace(own) => selector.with(Some(Source::K8s), key::NAMESPACE, Operator::equals(own)),
        Scope::Workloads => selector.with(Some(Source::K8s), key::NAMESPACE, Operator::Exists),
        Scope::Unbounded => selector,
    }
}

/// Warns about a selector that requires a reserved label and another label; probably two peers were meant. Such a
/// selector matches no peer, or a node that has the label.
fn refute_reserved(item: &Item<'_>, selector: &Selector) {
    let asked = || {
        let is_asked = |one: &&Requirement| matches!(one.operator, Operator::In(_) | Operator::Exists);
        selector.requirements().iter().filter(is_asked)
    };
    let reserved = asked().find(|one| is_reserved(one));
    let other = asked()
        .find(|one| matches!(one.source, None | Some(Source::K8s)) && !RESERVED.contains(&one.name.as_str()));
    if let (Some(reserved), Some(other)) = (reserved, other) {
        item.warn(format!(
            "selects no workload: none with the label `{}` is `reserved:{}`; write two peers to select both",
            other.name, reserved.name
        ));
    }
}

/// Whether the requirement is on the label of a reserved kind of peer.
fn is_reserved(one: &Requirement) -> bool {
    one.source == Some(Source::Reserved)
}

/// Whether the requirement is on the name of the namespace, in one of its two forms.
fn names_namespace(one: &Requirement) -> bool {
    one.name == key::NAMESPACE && matches!(one.source, None | Some(Source::K8s))
}

/// Whether the requirement is on a label of the namespace.
fn is_namespace_label(one: &Requirement) -> bool {
    one.name.starts_with(key::NAMESPACE_LABELS) && matches!(one.source, None | Some(Source::K8s))
}
