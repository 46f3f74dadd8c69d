//! Tier and order of policies whose API has neither: two annotations on NetworkPolicy and the Cilium kinds.
//!
//! - `policy.nexin.io/tier`: `admin`, `normal` (the default) or `baseline`. Tiers are evaluated in this order, and the
//!   first one with a decision wins; admin and baseline are the tiers of ClusterNetworkPolicy.
//! - `policy.nexin.io/order`: `"0"` to `"65535"`, by default `"1000"`. Within a tier, policies of a lower order are
//!   evaluated first; at equal order a deny wins over an allow.

use crate::header::Header;
use crate::item::Item;
use crate::nearest::hint;
use policy::rule::{Rule, Tier, priority};

/// The prefix of the annotations.
const PREFIX: &str = "policy.nexin.io/";
const TIER: &str = "policy.nexin.io/tier";
const ORDER: &str = "policy.nexin.io/order";

/// The kinds that may have the annotations.
const KINDS: &[&str] = &["NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"];

const TIERS: &[(&str, Tier)] =
    &[("admin", Tier::Admin), ("normal", Tier::Normal), ("baseline", Tier::Baseline)];

/// The tier and priority of a policy's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) tier: Tier,
    pub(crate) priority: u32,
}

impl Order {
    /// Reads the annotations of a policy.
    pub(crate) fn of(header: &Header<'_>) -> Self {
        let mut order = Self { tier: Tier::Normal, priority: Rule::USUAL_PRIORITY };
        for (key, item) in ours(header) {
            match key {
                TIER => order.tier = item.one_of("tier", TIERS).unwrap_or(order.tier),
                ORDER => order.priority = number(&item).map_or(order.priority, |number| priority(number, 0)),
                other => {
                    let hint = hint(other, [TIER, ORDER]);
                    item.error(format!("unknown annotation `{other}`{hint} (known: {TIER}, {ORDER})"));
                }
            }
        }
        order
    }
}

/// Reports the annotations on kinds that do not support them.
pub(crate) fn refuse_elsewhere(header: &Header<'_>) {
    if KINDS.contains(&header.kind) {
        return;
    }
    for (key, item) in ours(header) {
        item.error(format!("`{key}` has no meaning on {}; it orders {} only", header.kind, KINDS.join(", ")));
    }
}

fn ours<'a>(header: &Header<'a>) -> impl Iterator<Item = (&'a str, Item<'a>)> {
    let entries = header.annotations.as_ref().map(Item::entries).unwrap_or_default();
    entries.into_iter().filter(|(key, _)| key.starts_with(PREFIX))
}

fn number(item: &Item<'_>) -> Option<u16> {
    let text = item.text()?;
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    if number.is_none() {
        item.error(format!("{text:?} is not a valid order; write a number from \"0\" to \"65535\""));
    }
    number
}
