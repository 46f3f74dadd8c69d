//! From the rows that were there and the rows that come to be: the writes between, in a safe order.
//!
//! What is looked up last is written first: policy rows before the endpoint that names their number, backends before
//! the service that names their set. So the write of one endpoint or service row switches it, at once, from a whole
//! old state to a whole new one. What nothing names any more is removed later, when no packet can still be on its way
//! through the old rows.

use crate::change::Change;
use abi::batch::{Batch, Run};
use abi::identity::FIRST_NAMESPACE;
use abi::map::MapId;
use abi::row::{Row, RowKey};
use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};
use policy::rule::{HttpRule, PolicyId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What to write for one change, and what to clean up after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Layer-7 rule sets that must be readable before `now` is written.
    pub rule_sets: Vec<(u32, Arc<[HttpRule]>)>,
    /// Writes to make at once, in this order.
    pub now: Batch,
    /// Writes to make after every packet that was on its way during `now` has passed (a few milliseconds do).
    pub later: Batch,
    /// Layer-7 rule sets that nothing names any more once `later` is written.
    pub dead_rule_sets: Vec<u32>,
    /// The changes that lead back to where the world was before.
    pub undo: Vec<Change>,
    /// Who and what has other names.
    pub renamed: Renamed,
}

/// Who and what came, or has other names or labels than before; what is gone may be told too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renamed {
    /// Workloads, by number.
    pub endpoints: BTreeSet<u32>,
    /// Policies.
    pub policies: BTreeSet<PolicyId>,
    /// Services, by namespace and name.
    pub services: BTreeSet<(String, String)>,
}

/// The rows of the maps, by key.
pub type Rows = BTreeMap<RowKey, Row>;

/// The part of the rows that changes touch, as it was and as it comes to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    /// What was noted, in order: there are many of them, and few of one key.
    notes: Vec<Note>,
    /// All rows are compared anyway, so that none needs to be noted.
    is_moot: bool,
}

/// Room that notes were in; others will have place there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Vec<Note>);

impl Room {
    /// The room, which is given away.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// For how many notes room is kept between changes.
const MOST_ROOM: usize = 4096;

/// What a change does to a row.
#[derive(Clone, Copy, Debug)]
enum Note {
    /// It is put, or replaced.
    Is(Row),
    /// The same, and packets are judged by it even if it is taken away again before the change is over.
    IsAtOnce(Row),
    /// It is taken away, and was this.
    Was(Row),
    /// The same, and its removal changes what packets meet: it must not wait until nothing names it.
    Lost(Row),
}

impl Draft {
    /// A draft that takes nothing down.
    pub(crate) fn moot() -> Self {
        Self { is_moot: true, ..Self::default() }
    }

    /// A draft whose notes have room already.
    pub(crate) fn in_room(Room(notes): Room) -> Self {
        Self { notes, ..Self::default() }
    }

    /// The room that its notes take.
    pub(crate) fn into_room(self) -> Room {
        let mut notes = self.notes;
        notes.clear();
        notes.shrink_to(MOST_ROOM);
        Room(notes)
    }

    /// Takes rows away.
    pub(crate) fn drop(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.note(rows.into_iter().map(Note::Was));
    }

    /// Takes rows away by whose absence packets are judged from now on.
    pub(crate) fn lose(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.note(rows.into_iter().map(Note::Lost));
    }

    /// Adds rows, or replaces those with their keys.
    pub(crate) fn put(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.note(rows.into_iter().map(Note::Is));
    }

    /// Adds rows by which packets are judged while the change is being made: if it takes them away again itself, then only
    /// with what nothing names any more.
    pub(crate) fn put_at_once(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.note(rows.into_iter().map(Note::IsAtOnce));
    }

    /// What to write at once and what later, each in a safe order; the configuration apart.
    pub(crate) fn writes(&self) -> (Batch, Batch) {
        // In the order in which keys were noted first.
        let mut rows: Vec<(RowKey, Ends<'_>)> = Vec::with_capacity(self.notes.len());
        let mut places: HashMap<RowKey, u32> =
            HashMap::with_capacity_and_hasher(self.notes.len(), RandomState::default());
        for (key, note) in self.notes.iter().filter_map(|note| Some((note.key()?, note))) {
            let place = *places.entry(key).or_insert_with(|| {
                rows.push((key, Ends::default()));
                rows.len() as u32 - 1
            });
            rows[place as usize].1.follow(note);
        }
        let mut ordered = Ordered::default();
        for (key, Ends { was, meanwhile, is, is_lost }) in rows {
            match is {
                Some(row) if was != Some(row) => ordered.put(row),
                None if was.is_some() && is_lost => ordered.lose(&key),
                None if was.is_some() => ordered.delete(&key),
                None if let Some(row) = meanwhile => {
                    ordered.put(row);
                    ordered.delete(&key);
                }
                _ => {}
            }
        }
        ordered.batches()
    }

    fn note(&mut self, notes: impl Iterator<Item = Note>) {
        if !self.is_moot {
            self.notes.extend(notes);
        }
    }
}

impl Note {
    fn key(&self) -> Option<RowKey> {
        let (Self::Is(row) | Self::IsAtOnce(row) | Self::Was(row) | Self::Lost(row)) = self;
        row.key()
    }
}

/// What a row was before its notes, and what it is after them.
#[derive(Clone, Copy, Debug, Default)]
struct Ends<'a> {
    was: Option<&'a Row>,
    /// What it must be while the change is being made, where it was not there before.
    meanwhile: Option<&'a Row>,
    is: Option<&'a Row>,
    /// Whether its absence counts at once.
    is_lost: bool,
}

impl<'a> Ends<'a> {
    fn follow(&mut self, note: &'a Note) {
        let row = match note {
            Note::Is(row) => {
                self.is = Some(row);
                return;
            }
            Note::IsAtOnce(row) => {
                (self.is, self.meanwhile) = (Some(row), Some(row));
                return;
            }
            Note::Was(row) | Note::Lost(row) => row,
        };
        // What these changes themselves have added was not there before.
        let is_own = self.is.take().is_some();
        self.was = self.was.or((!is_own).then_some(row));
        self.is_lost = matches!(note, Note::Lost(_));
    }
}

/// The writes that turn rows that were found into those that should be.
pub(crate) fn from_found(mut found: Rows, rows: impl Iterator<Item = Row>) -> (Batch, Batch) {
    let mut ordered = Ordered::default();
    let mut asked = Asked::default();
    for row in rows {
        asked.note(&row);
        if row.key().is_some_and(|key| found.remove(&key) != Some(row)) {
            ordered.put(&row);
        }
    }
    for key in found.keys() {
        if asked.finds(key) { ordered.lose(key) } else { ordered.delete(key) }
    }
    ordered.batches()
}

/// The numbers that rows in force name: endpoints, and the policies of those.
#[derive(Debug, Default)]
struct Asked {
    policies: HashSet<u32>,
    groupings: HashSet<u32>,
    columns: HashSet<u32>,
}

impl Asked {
    fn note(&mut self, row: &Row) {
        match row {
            Row::Endpoint(_, info) => {
                self.policies.insert(info.policy);
                self.groupings.insert(info.grouping.number());
            }
            Row::Column(_, column) => _ = self.columns.insert(*column),
            _ => {}
        }
    }

    /// Whether packets are judged by the row, so that its removal changes what they meet.
    fn finds(&self, key: &RowKey) -> bool {
        match key {
            RowKey::Group(key) => self.groupings.contains(&key.grouping),
            RowKey::Class(key) => self.columns.contains(&key.column),
            RowKey::Column(key) => self.policies.contains(&key.policy),
            _ => false,
        }
    }
}

/// Writes in a safe order: each is appended to those of its place, so that none is moved again.
#[derive(Debug, Default)]
struct Ordered {
    puts: [Batch; PLACES],
    /// The classes of blocks, each with that of the block around its own.
    parents: Vec<(u32, u32)>,
    /// What to remove: at once what the packet path starts from, and the rest later.
    deletes: [Batch; PLACES],
    /// What else to remove at once.
    lost: [Batch; PLACES],
}

/// How many places [`place`] tells apart.
const PLACES: usize = 10;
/// Where the groups of namespaces are put.
const OF_NAMESPACES: usize = 4;
/// Where the rows of [`Ordered::parents`] are put.
const PARENTS: usize = 6;

/// The rows from this place on are those that the packet path starts from, so that their removal takes effect at once
/// and alone.
const FIRST: usize = 7;

/// When a row is put: what names others comes after them.
fn place(key: &RowKey) -> usize {
    match key {
        RowKey::Verdict(_) => 0,
        RowKey::Backend(_) => 1,
        RowKey::Class(_) => 2,
        // A peer's own row comes before its namespace's, by which it is known until then.
        RowKey::Group(key) if key.peer < FIRST_NAMESPACE => 3,
        RowKey::Group(_) => OF_NAMESPACES,
        RowKey::Column(_) => 5,
        RowKey::CidrParent(_) => PARENTS,
        RowKey::Address(_) => FIRST,
        RowKey::Service(_) => 8,
        RowKey::Endpoint(_) => 9,
    }
}

impl Ordered {
    fn put(&mut self, row: &Row) {
        match (row, row.key()) {
            (Row::CidrParent(class, around), _) => self.parents.push((*class, *around)),
            (row, Some(key)) => self.puts[place(&key)].put(row),
            // The configuration is written apart.
            (_, None) => {}
        }
    }

    fn delete(&mut self, key: &RowKey) {
        self.deletes[place(key)].delete(key);
    }

    fn lose(&mut self, key: &RowKey) {
        self.lost[place(key)].delete(key);
    }

    /// What to write at once, and what later.
    fn batches(mut self) -> (Batch, Batch) {
        self.put_parents();
        let (mut now, mut later) = (Batch::new(), Batch::new());
        for (place, batch) in self.puts.into_iter().enumerate() {
            now.append(batch);
            if place == OF_NAMESPACES {
                // Before anybody has the address of a peer that is known by its namespace.
                now.append(std::mem::take(&mut self.lost[OF_NAMESPACES]));
            }
        }
        // What names others goes before them.
        for (place, batch) in self.deletes.into_iter().enumerate().rev() {
            if place < FIRST { later.append(batch) } else { now.append(batch) }
        }
        // A peer is known by its own row until others have its address, and its namespace's row has changed.
        self.lost.into_iter().rev().for_each(|batch| now.append(batch));
        (now, later)
    }

    /// Puts the blocks' parents from the outermost on, so that no way outwards is ever cut short.
    fn put_parents(&mut self) {
        let mut parents = std::mem::take(&mut self.parents);
        parents.sort_unstable();
        let around = |class: &u32| {
            let at = parents.binary_search_by_key(class, |(class, _)| *class).ok()?;
            Some(parents[at].1)
        };
        let mut by_nesting: Vec<Batch> = Vec::new();
        for (class, parent) in &parents {
            let nesting = std::iter::successors(Some(*parent), around).count();
            by_nesting.resize_with(by_nesting.len().max(nesting), Batch::new);
            by_nesting[nesting - 1].put(&Row::CidrParent(*class, *parent));
        }
        by_nesting.into_iter().for_each(|batch| self.puts[PARENTS].append(batch));
    }
}

/// Whether one of the writes can change what is allowed on a flow that is remembered.
pub(crate) fn concern_flows(writes: &Batch) -> bool {
    let concerns = |run: &Run| !matches!(run.map(), MapId::Services | MapId::Backends);
    writes.runs().iter().any(concerns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::endpoint::{EndpointInfo, EndpointKey};
    use abi::policy::{ClassKey, ColumnKey, VerdictInfo};
    use abi::row::MapOp;
    use policy::traffic::TrafficBlock;

    fn between(
        was: impl IntoIterator<Item = Row>,
        is: impl IntoIterator<Item = Row>,
    ) -> (Vec<MapOp>, Vec<MapOp>) {
        let mut draft = Draft::default();
        draft.drop(was);
        draft.put(is);
        operations(draft)
    }

    fn operations(draft: Draft) -> (Vec<MapOp>, Vec<MapOp>) {
        let (now, later) = draft.writes();
        (now.iter().collect(), later.iter().collect())
    }

    fn policy(number: u32) -> [Row; 2] {
        let key = TrafficBlock::EVERYTHING.key(number, 0);
        [
            Row::Class(ClassKey { column: number, group: 7 }, number),
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
    fn a_row_by_whose_absence_packets_are_judged_is_removed_at_once() {
        let [class, verdict] = policy(1);
        let mut draft = Draft::default();
        draft.lose([class]);
        draft.drop([verdict]);
        let delete = |row: Row| vec![MapOp::Delete(row.key().unwrap())];
        assert_eq!(operations(draft.clone()), (delete(class), delete(verdict)));
        draft.put([class]);
        assert_eq!(operations(draft), (vec![], delete(verdict)));
    }

    #[test]
    fn what_stays_is_not_written() {
        assert_eq!(between(policy(1), policy(1)), (vec![], vec![]));
    }

    #[test]
    fn a_row_by_which_packets_are_judged_meanwhile_is_written_and_goes_later() {
        let [class, verdict] = policy(1);
        let mut draft = Draft::default();
        draft.put_at_once([class, verdict]);
        draft.drop([class]);
        let delete = MapOp::Delete(class.key().unwrap());
        assert_eq!(operations(draft), (vec![MapOp::Put(verdict), MapOp::Put(class)], vec![delete]));
    }

    #[test]
    fn what_a_change_takes_back_itself_is_not_written() {
        let [class, verdict] = policy(1);
        let mut draft = Draft::default();
        draft.put([class]);
        draft.drop([class]);
        draft.drop([verdict]);
        draft.put([endpoint(1)]);
        draft.drop([endpoint(1)]);
        draft.put([verdict, endpoint(2)]);
        assert_eq!(operations(draft), (vec![MapOp::Put(endpoint(2))], vec![]));
    }

    #[test]
    fn a_found_row_stays_or_is_replaced_or_goes() {
        let [class, verdict] = policy(1);
        let part = Row::Column(ColumnKey { policy: 1, cidr: 3 }, 4);
        let found = [class, verdict, endpoint(1)].into_iter().map(|row| (row.key().unwrap(), row)).collect();
        let (now, later) = from_found(found, [endpoint(2), part, class].into_iter());
        assert_eq!(now, Batch::from([part, endpoint(2)].map(MapOp::Put)));
        assert_eq!(later, Batch::from([MapOp::Delete(verdict.key().unwrap())]));
    }

    #[test]
    fn outer_blocks_come_before_those_within() {
        let parents = [(1, 2), (2, 9), (9, 4)].map(|(class, parent)| Row::CidrParent(class, parent));
        let (now, _) = from_found(Rows::new(), parents.into_iter());
        let outermost_first = [(9, 4), (2, 9), (1, 2)];
        let puts = outermost_first.map(|(class, parent)| MapOp::Put(Row::CidrParent(class, parent)));
        assert_eq!(now, Batch::from(puts));
    }
}
