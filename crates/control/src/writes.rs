//! From the rows that were there and the rows that come to be: the writes between, in a safe order.
//!
//! What is looked up last is written first: policy rows before the endpoint that names their number, backends before
//! the service that names their set. So the write of one endpoint or service row switches it, at once, from a whole
//! old state to a whole new one. What nothing names any more is removed later, when no packet can still be on its way
//! through the old rows.

use crate::change::Change;
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
    /// The changes that lead back to where the world was before.
    pub undo: Vec<Change>,
}

/// The rows of the maps, by key.
pub type Rows = BTreeMap<RowKey, Row>;

/// The part of the rows that changes touch, as it was and as it comes to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    /// Rows of before; nothing where only the key is known.
    was: BTreeMap<RowKey, Option<Row>>,
    is: Rows,
    /// All rows are compared anyway, so that none needs to be noted.
    is_moot: bool,
}

impl Draft {
    /// A draft that takes nothing down.
    pub(crate) fn moot() -> Self {
        Self { is_moot: true, ..Self::default() }
    }

    /// Takes rows away.
    pub(crate) fn drop(&mut self, rows: impl IntoIterator<Item = Row>) {
        if !self.is_moot {
            rows.into_iter()
                .for_each(|row| row.key().into_iter().for_each(|key| self.forget(key, Some(row))));
        }
    }

    /// Takes rows away of which only the keys are known.
    pub(crate) fn drop_keys(&mut self, keys: impl IntoIterator<Item = RowKey>) {
        if !self.is_moot {
            keys.into_iter().for_each(|key| self.forget(key, None));
        }
    }

    /// Adds rows, or replaces those with their keys.
    pub(crate) fn put(&mut self, rows: impl IntoIterator<Item = Row>) {
        if !self.is_moot {
            self.is.extend(rows.into_iter().filter_map(|row| Some((row.key()?, row))));
        }
    }

    /// What to write at once and what later, each in a safe order; the configuration apart.
    pub(crate) fn writes(self) -> (Vec<MapOp>, Vec<MapOp>) {
        let Self { was, is, .. } = self;
        let is_new = |(key, row): &(&RowKey, &Row)| was.get(key) != Some(&Some(**row));
        let puts = is.iter().filter(is_new).map(|(_, row)| MapOp::Put(*row)).collect();
        ordered(puts, was.into_keys().filter(|key| !is.contains_key(key)))
    }

    fn forget(&mut self, key: RowKey, row: Option<Row>) {
        // What these changes themselves have added was not there before.
        if self.is.remove(&key).is_none() {
            self.was.entry(key).or_insert(row);
        }
    }
}

/// The writes that turn rows that were found into those that should be.
pub(crate) fn from_found(mut found: Rows, rows: impl Iterator<Item = Row>) -> (Vec<MapOp>, Vec<MapOp>) {
    let is_new = |row: &Row| row.key().is_some_and(|key| found.remove(&key) != Some(*row));
    let puts = rows.filter(is_new).map(MapOp::Put).collect();
    ordered(puts, found.into_keys())
}

/// Writes in a safe order.
fn ordered(mut now: Vec<MapOp>, gone: impl Iterator<Item = RowKey>) -> (Vec<MapOp>, Vec<MapOp>) {
    let parents: BTreeMap<u32, u32> = now.iter().filter_map(parent).collect();
    let (switched_off, unnamed): (Vec<RowKey>, Vec<RowKey>) = gone.partition(names_others);
    now.extend(switched_off.into_iter().map(MapOp::Delete));
    // Not the stable sort, which needs as much room again; one row of a kind may come before another.
    now.sort_unstable_by_key(|write| (order(write), nesting(write, &parents)));
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

/// Whether a write can change what is allowed on a flow that is remembered.
pub(crate) fn concerns_flows(write: &MapOp) -> bool {
    let key = match write {
        MapOp::Put(row) => row.key(),
        MapOp::Delete(key) => Some(*key),
    };
    !matches!(key, Some(RowKey::Service(_) | RowKey::Backend(_)))
}

fn order(write: &MapOp) -> u8 {
    match write {
        MapOp::Put(Row::Verdict(..) | Row::Backend(..)) => 0,
        MapOp::Put(Row::CidrPart(..) | Row::CidrParent(..) | Row::Class(..)) => 1,
        MapOp::Put(Row::Group(..)) => 2,
        MapOp::Put(Row::Address(..)) => 3,
        MapOp::Put(Row::Service(..) | Row::Endpoint(..)) => 4,
        MapOp::Put(Row::Config(..)) => 5,
        MapOp::Delete(_) => 6,
    }
}

/// How many of the blocks around the one whose parent the row tells are written too: from the outermost on, so that
/// no way outwards is ever cut short.
fn nesting(write: &MapOp, parents: &BTreeMap<u32, u32>) -> usize {
    let around = parent(write).map(|(_, around)| around);
    std::iter::successors(around, |class| parents.get(class).copied()).count()
}

fn parent(write: &MapOp) -> Option<(u32, u32)> {
    match write {
        MapOp::Put(Row::CidrParent(class, parent)) => Some((*class, *parent)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::endpoint::{EndpointInfo, EndpointKey};
    use abi::policy::{ClassKey, VerdictInfo};
    use policy::traffic::TrafficBlock;

    fn between(
        was: impl IntoIterator<Item = Row>,
        is: impl IntoIterator<Item = Row>,
    ) -> (Vec<MapOp>, Vec<MapOp>) {
        let mut draft = Draft::default();
        draft.drop(was);
        draft.put(is);
        draft.writes()
    }

    fn policy(number: u32) -> [Row; 2] {
        let key = TrafficBlock::EVERYTHING.key(number, 0);
        [
            Row::Class(ClassKey { policy: number, group: 7, part: 0 }, number),
            Row::Verdict(key, VerdictInfo { action: 1, rule: 1, l7: 0 }),
        ]
    }

    fn endpoint(policy: u32) -> Row {
        Row::Endpoint(EndpointKey { interface: 7 }, EndpointInfo { policy, ..EndpointInfo::default() })
    }

    #[test]
    fn a_policy_is_whole_before_the_endpoint_names_it_and_the_old_one_goes_last() {
        let (now, later) =
            between(policy(1).into_iter().chain([endpoint(1)]), policy(2).into_iter().chain([endpoint(2)]));
        let [class, verdict] = policy(2);
        assert_eq!(now, [MapOp::Put(verdict), MapOp::Put(class), MapOp::Put(endpoint(2))]);
        let gone: Vec<_> = policy(1).iter().map(|row| MapOp::Delete(row.key().unwrap())).collect();
        assert_eq!(later, gone);
    }

    #[test]
    fn an_endpoint_that_is_gone_is_removed_at_once() {
        let (now, later) = between([endpoint(1)], []);
        assert_eq!(now, [MapOp::Delete(endpoint(1).key().unwrap())]);
        assert_eq!(later, []);
    }

    #[test]
    fn what_stays_is_not_written() {
        assert_eq!(between(policy(1), policy(1)), (vec![], vec![]));
    }

    #[test]
    fn a_row_of_which_only_the_key_is_known_is_written_or_removed() {
        let [class, _] = policy(1);
        let mut draft = Draft::default();
        draft.drop_keys(class.key());
        assert_eq!(draft.clone().writes(), (vec![], vec![MapOp::Delete(class.key().unwrap())]));
        draft.put([class]);
        assert_eq!(draft.writes(), (vec![MapOp::Put(class)], vec![]));
    }

    #[test]
    fn outer_blocks_come_before_those_within() {
        let parents = [(1, 2), (2, 9), (9, 4)].map(|(class, parent)| Row::CidrParent(class, parent));
        let (now, _) = from_found(Rows::new(), parents.into_iter());
        let outermost_first = [(9, 4), (2, 9), (1, 2)];
        assert_eq!(now, outermost_first.map(|(class, parent)| MapOp::Put(Row::CidrParent(class, parent))));
    }
}
