//! From the rows that are there and the rows that should be: the writes between, in a safe order.
//!
//! What is looked up last is written first: policy rows before the endpoint that names their number, backends before
//! the service that names their set. So the write of one endpoint or service row switches it, at once, from a whole
//! old state to a whole new one. What nothing names any more is removed later, when no packet can still be on its way
//! through the old rows.

use abi::config::Config;
use abi::row::{MapOp, Row, RowKey};
use policy::rule::HttpRule;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What to write for one change, and what to clean up after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Layer-7 rule sets that must be readable before `now` is written.
    pub rule_sets: Vec<(u32, Arc<[HttpRule]>)>,
    /// Writes to make at once, in this order.
    pub now: Vec<MapOp>,
    /// Writes to make after every packet that was on its way during `now` has passed (a few milliseconds do).
    pub later: Vec<MapOp>,
    /// Layer-7 rule sets that nothing names any more once `later` is written.
    pub dead_rule_sets: Vec<u32>,
}

/// The rows of the maps, by key.
pub type Rows = BTreeMap<RowKey, Row>;

/// The writes that turn `old` into `new`, the configuration apart.
pub(crate) fn between(old: &Rows, new: &Rows) -> (Vec<MapOp>, Vec<MapOp>) {
    let mut puts: Vec<Row> =
        new.iter().filter(|(key, row)| old.get(key) != Some(row)).map(|(_, row)| *row).collect();
    puts.sort_by_key(order);
    let (switched_off, unnamed): (Vec<RowKey>, Vec<RowKey>) =
        old.keys().filter(|key| !new.contains_key(key)).partition(|key| names_others(key));
    let now = puts.into_iter().map(MapOp::Put).chain(switched_off.into_iter().map(MapOp::Delete)).collect();
    (now, unnamed.into_iter().map(MapOp::Delete).collect())
}

/// The configuration write that makes every flow be checked again.
pub(crate) fn with_epoch(config: Config, epoch: u32) -> MapOp {
    MapOp::Put(Row::Config(Config { epoch, ..config }))
}

/// Whether the packet path starts from the row, so that its removal takes effect at once and alone.
fn names_others(key: &RowKey) -> bool {
    matches!(key, RowKey::Endpoint(_) | RowKey::Service(_) | RowKey::Address(_))
}

fn order(row: &Row) -> u8 {
    match row {
        Row::Verdict(..) | Row::Backend(..) => 0,
        Row::CidrPart(..) | Row::Class(..) => 1,
        Row::Address(..) => 2,
        Row::Service(..) | Row::Endpoint(..) => 3,
        Row::Config(..) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::endpoint::{EndpointInfo, EndpointKey};
    use abi::policy::{ClassKey, VerdictInfo, VerdictKey};

    fn rows(rows: impl IntoIterator<Item = Row>) -> Rows {
        rows.into_iter().map(|row| (row.key().unwrap(), row)).collect()
    }

    fn policy(number: u32) -> [Row; 2] {
        let key =
            VerdictKey { prefix_bits: 72, policy: number, class: 1, direction: 0, protocol: 0, port: [0; 2] };
        [
            Row::Class(ClassKey { policy: number, peer: 256, part: 0 }, 1),
            Row::Verdict(key, VerdictInfo { action: 1, rule: 1, l7: 0 }),
        ]
    }

    fn endpoint(policy: u32) -> Row {
        Row::Endpoint(EndpointKey { interface: 7 }, EndpointInfo { policy, ..EndpointInfo::default() })
    }

    #[test]
    fn a_policy_is_whole_before_the_endpoint_names_it_and_the_old_one_goes_last() {
        let old = rows(policy(1).into_iter().chain([endpoint(1)]));
        let new = rows(policy(2).into_iter().chain([endpoint(2)]));
        let (now, later) = between(&old, &new);
        let [class, verdict] = policy(2);
        assert_eq!(now, [MapOp::Put(verdict), MapOp::Put(class), MapOp::Put(endpoint(2))]);
        let gone: Vec<_> = policy(1).iter().map(|row| MapOp::Delete(row.key().unwrap())).collect();
        assert_eq!(later, gone);
    }

    #[test]
    fn an_endpoint_that_is_gone_is_removed_at_once() {
        let (now, later) = between(&rows([endpoint(1)]), &Rows::new());
        assert_eq!(now, [MapOp::Delete(endpoint(1).key().unwrap())]);
        assert_eq!(later, []);
    }

    #[test]
    fn what_stays_is_not_written() {
        let same = rows(policy(1));
        assert_eq!(between(&same, &same), (vec![], vec![]));
    }
}
