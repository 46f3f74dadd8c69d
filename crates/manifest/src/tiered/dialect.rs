//! What the three kinds write differently.

use super::ports;
use crate::item::Item;
use policy::rule::{Action, PolicyKind, Tier, TrafficMatch};

/// What the kinds say differently.
#[derive(Debug)]
pub(super) struct Dialect {
    pub(super) kind: PolicyKind,
    pub(super) actions: &'static [(&'static str, Action)],
    /// What traffic is listed under, and who reads an entry.
    pub(super) traffic: (&'static str, fn(&Item<'_>) -> Option<TrafficMatch>),
    /// Most rules in one direction, and most entries in a list of a rule.
    pub(super) most: usize,
    /// Where its rules are asked, where the document does not say so.
    pub(super) tier: Option<Tier>,
    /// The order of all of its policies, where the document does not say so.
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

/// There is one such policy; it is asked after whatever else is of the baseline.
pub(super) const BASELINE: Dialect = Dialect {
    kind: PolicyKind::BaselineAdminNetworkPolicy,
    actions: &[("Allow", Action::Allow), ("Deny", Action::Deny)],
    tier: Some(Tier::Baseline),
    order: Some(1001),
    ..ADMIN
};
