//! The differences between the three kinds.

use super::ports;
use crate::item::Item;
use policy::rule::{Action, PolicyKind, Tier, TrafficMatch};

/// The syntax of one kind.
#[derive(Debug)]
pub(super) struct Dialect {
    pub(super) kind: PolicyKind,
    pub(super) actions: &'static [(&'static str, Action)],
    /// The field that lists traffic, and the reader of its entries.
    pub(super) traffic: (&'static str, fn(&Item<'_>) -> Option<TrafficMatch>),
    /// The most rules in one direction, and the most entries in a list of a rule.
    pub(super) most: usize,
    /// The tier, if the document does not specify it.
    pub(super) tier: Option<Tier>,
    /// The order, if the document does not specify it.
    pub(super) order: Option<u16>,
}

pub(super) const TIERS: &[(&str, Tier)] = &[("Admin", Tier::Admin), ("Baseline", Tier::Baseline)];

pub(super) const CLUSTER: Dialect = Dialect {
    kind: PolicyKind::ClusterNetworkPolicy,
    actions: &[("Accept", Action::Allow), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    traffic: ("protocols", ports::protocol),
    most: 25,
    tier: None,
    order: None,
};

pub(super) const ADMIN: Dialect = Dialect {
    kind: PolicyKind::AdminNetworkPolicy,
    actions: &[("Allow", Action::Allow), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    traffic: ("ports", ports::port),
    most: 100,
    tier: Some(Tier::Admin),
    order: None,
};

/// Only one such policy exists; it is evaluated after all other baseline policies.
pub(super) const BASELINE: Dialect = Dialect {
    kind: PolicyKind::BaselineAdminNetworkPolicy,
    actions: &[("Allow", Action::Allow), ("Deny", Action::Deny)],
    tier: Some(Tier::Baseline),
    order: Some(1001),
    ..ADMIN
};
