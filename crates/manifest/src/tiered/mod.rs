//! The policies of a cluster's administrators: ClusterNetworkPolicy, and AdminNetworkPolicy and
//! BaselineAdminNetworkPolicy before it.
//!
//! They order rules where the other kinds only add them up: by tier, by priority, and by their place in the document.
//! None of them closes a direction by itself.

mod peers;
mod ports;
mod rules;

use crate::document::Header;
use crate::item::{Fields, Item, Nulls};
use crate::selector::{Keys, Written};
use identity::{Operator, Selector, Source, key};
use policy::rule::{Action, Direction, Policy, PolicyId, PolicyKind, Spec, Subject, Tier, TrafficMatch};

/// What the kinds say differently.
#[derive(Debug)]
struct Dialect {
    kind: PolicyKind,
    actions: &'static [(&'static str, Action)],
    /// What traffic is listed under, and who reads an entry.
    traffic: (&'static str, fn(&Item<'_>) -> Option<TrafficMatch>),
    /// Most rules in one direction, and most entries in a list of a rule.
    most: usize,
    /// Where its rules are asked, where the document does not say so.
    tier: Option<Tier>,
    /// The order of all of its policies, where the document does not say so.
    order: Option<u16>,
}

const TIERS: &[(&str, Tier)] = &[("Admin", Tier::Admin), ("Baseline", Tier::Baseline)];

const CLUSTER: Dialect = Dialect {
    kind: PolicyKind::ClusterNetworkPolicy,
    actions: &[("Accept", Action::Allow), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    traffic: ("protocols", ports::protocol),
    most: 25,
    tier: None,
    order: None,
};

const ADMIN: Dialect = Dialect {
    kind: PolicyKind::AdminNetworkPolicy,
    actions: &[("Allow", Action::Allow), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    traffic: ("ports", ports::port),
    most: 100,
    tier: Some(Tier::Admin),
    order: None,
};

/// There is one such policy; it is asked after whatever else is of the baseline.
const BASELINE: Dialect = Dialect {
    kind: PolicyKind::BaselineAdminNetworkPolicy,
    actions: &[("Allow", Action::Allow), ("Deny", Action::Deny)],
    tier: Some(Tier::Baseline),
    order: Some(1001),
    ..ADMIN
};

/// Reads what stands beside the header of a ClusterNetworkPolicy.
pub(crate) fn cluster(fields: Fields<'_>, header: Header<'_>) -> Option<Policy> {
    policy(fields, header, &CLUSTER)
}

/// Reads what stands beside the header of an AdminNetworkPolicy.
pub(crate) fn admin(fields: Fields<'_>, header: Header<'_>) -> Option<Policy> {
    policy(fields, header, &ADMIN)
}

/// Reads what stands beside the header of the BaselineAdminNetworkPolicy.
pub(crate) fn baseline(fields: Fields<'_>, header: Header<'_>) -> Option<Policy> {
    if let (Some(name), Some(item)) = (&header.name, &header.name_given)
        && name != "default"
    {
        item.error(format!("{name:?} is no name for it; the one BaselineAdminNetworkPolicy is `default`"));
    }
    policy(fields, header, &BASELINE)
}

fn policy(mut fields: Fields<'_>, header: Header<'_>, dialect: &Dialect) -> Option<Policy> {
    let spec = fields.require("spec");
    fields.ignore(&["status"]);
    fields.finish();
    let spec = spec.and_then(|item| self::spec(&item, dialect))?;
    let id = PolicyId { kind: dialect.kind, namespace: None, name: header.name? };
    Some(Policy { id, specs: vec![spec] })
}

fn spec(item: &Item<'_>, dialect: &Dialect) -> Option<Spec> {
    let mut fields = item.fields(Nulls::Refused)?;
    let tier = match dialect.tier {
        Some(tier) => Some(tier),
        None => fields.require("tier").and_then(|item| item.one_of("tier", TIERS)),
    };
    let order = match dialect.order {
        Some(order) => Some(order),
        None => fields.require("priority").and_then(|item| item.integer(0..=1000)),
    };
    let subject = fields.require("subject");
    let lists = [Direction::Ingress, Direction::Egress]
        .map(|direction| (direction, rules::take(&mut fields, direction)));
    fields.finish();
    let subject = subject.and_then(|item| self::subject(&item));
    let order = order.unwrap_or_default();
    let rules = lists.into_iter().flat_map(|(direction, list)| rules::read(list, direction, order, dialect));
    let rules = rules.collect();
    Some(Spec {
        subject: Subject::Workloads(subject?),
        tier: tier?,
        default_deny_ingress: false,
        default_deny_egress: false,
        log: None,
        rules,
    })
}

/// Reads `{namespaces}` or `{pods}`.
fn subject(item: &Item<'_>) -> Option<Selector> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (namespaces, pods) = (fields.take("namespaces"), fields.take("pods"));
    fields.finish();
    match (namespaces, pods) {
        (Some(namespaces), None) => Some(of_namespaces(&namespaces)),
        (None, Some(pods)) => of_pods(&pods),
        _ => {
            item.error("needs exactly one of `namespaces` and `pods`");
            None
        }
    }
}

/// The workloads of namespaces with such labels.
fn of_namespaces(item: &Item<'_>) -> Selector {
    if refuses_old_form(item, "namespaces") {
        return Selector::default();
    }
    workloads(Written::read(item, Keys::OfNamespace).into_selector())
}

/// Reports a selector of namespaces in the form of 2023, which had it, or the names of labels, one level deeper.
fn refuses_old_form(item: &Item<'_>, name: &str) -> bool {
    let Some(mut fields) = item.is_mapping().then(|| item.fields(Nulls::Absent)).flatten() else {
        return false;
    };
    let old =
        ["namespaceSelector", "sameLabels", "notSameLabels"].into_iter().find_map(|old| fields.take(old));
    old.iter().for_each(|old| {
        old.error(format!(
            "is the form of 2023; the selector itself stands under `{name}` now: `{name}: {{matchLabels: ...}}`, or \
             `{name}: {{}}` for all of them"
        ));
    });
    old.is_some()
}

/// Reads `{namespaceSelector, podSelector}`.
fn of_pods(item: &Item<'_>) -> Option<Selector> {
    let mut fields = item.fields(Nulls::Refused)?;
    if let Some(old) = fields.take("namespaces") {
        old.error(
            "is the form of 2023; name the namespaces in `namespaceSelector`, where the selector itself stands now: \
             `namespaceSelector: {matchLabels: ...}`",
        );
        return None;
    }
    let (namespaces, pods) = (fields.take("namespaceSelector"), fields.require("podSelector"));
    fields.finish();
    let namespaces =
        namespaces.map(|item| Written::read(&item, Keys::OfNamespace).into_selector()).unwrap_or_default();
    let pods = Written::read(&pods?, Keys::Plain).into_selector();
    Some(workloads(namespaces.and(&pods)))
}

/// The selector for workloads only: what has no namespace would otherwise meet NotIn and DoesNotExist.
fn workloads(selector: Selector) -> Selector {
    selector.with(Some(Source::K8s), key::NAMESPACE, Operator::Exists)
}
