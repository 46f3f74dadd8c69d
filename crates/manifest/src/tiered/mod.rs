//! The policies of cluster administrators: ClusterNetworkPolicy, and its predecessors AdminNetworkPolicy and
//! BaselineAdminNetworkPolicy.
//!
//! Their rules are ordered by tier, by priority, and by position in the document; rules of the other kinds only add up.
//! None of these kinds has a default deny.

mod dialect;
mod list;
mod peers;
mod ports;
mod rules;
mod selectors;

use crate::header::Header;
use crate::item::{Fields, Item, Nulls};
use dialect::{ADMIN, BASELINE, CLUSTER, Dialect, TIERS};
use identity::Selector;
use policy::rule::{Direction, Policy, PolicyId, Spec, Subject};
use selectors::{of_namespaces, of_pods};

/// Reads the fields beside the header of a ClusterNetworkPolicy.
pub(crate) fn cluster(fields: Fields<'_>, header: Header<'_>) -> Option<Policy> {
    policy(fields, header, &CLUSTER)
}

/// Reads the fields beside the header of an AdminNetworkPolicy.
pub(crate) fn admin(fields: Fields<'_>, header: Header<'_>) -> Option<Policy> {
    policy(fields, header, &ADMIN)
}

/// Reads the fields beside the header of the BaselineAdminNetworkPolicy.
pub(crate) fn baseline(fields: Fields<'_>, header: Header<'_>) -> Option<Policy> {
    if let (Some(name), Some(item)) = (&header.name, &header.name_given)
        && name != "default"
    {
        item.error(format!("{name:?} is not a valid name; the only BaselineAdminNetworkPolicy is `default`"));
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
