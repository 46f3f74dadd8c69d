//! Orders the writes of one step so that every packet gets its old or its new verdict, and never a third.
//!
//! A lookup starts at the root rows: addresses, endpoints, services. Their values name numbers ([`Name`]), and a number
//! is part of the key of the rows that the lookup reads next. So a packet can read a row only while other rows name all
//! numbers of its key: the row is *reachable*. Each write of a step is one of these:
//!
//! | the row | is reachable before | is reachable after | when |
//! |---|---|---|---|
//! | put or removed | no | yes | first: no packet reads it yet |
//! | put | yes | | then, in the order of [`rank`]: a row comes before the rows that name it |
//! | removed | yes | yes | then, in the reverse order: its absence is what packets shall read |
//! | removed | | no | after the grace time: packets that started before may still read it |
//!
//! Root rows are always reachable. Their switches come last: each leads packets from old rows to new ones.
//!
//! A change of the world, a restart and a repair are planned alike. They differ in where the old rows come from.

use crate::footprint::{Footprint, note_switch};
use crate::row_names::{KINDS, Name, names, names_in_places, numbers};
use abi::address::AddressKey;
use abi::batch::Batch;
use abi::identity::FIRST_NAMESPACE;
use abi::row::{Row, RowKey};
use enforcement::RowChange;
use enforcement::Rows;
use foldhash::HashMap;
use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

/// The numbers that rows name, before the step and after it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    /// How many rows name each number, by kind ([`Name::place`]). Most lookups are in the small tables of the kinds with few
    /// numbers, which stay in the cache of the processor.
    rows: [HashMap<u32, u32>; KINDS],
    /// Of the numbers whose first name the step added or whose last name it removed: whether a reachable row named them before
    /// the step.
    before: HashMap<Name, bool>,
    /// Whether `before` has all numbers that were named, as after a start.
    is_complete: bool,
}

/// The ranks of classes and columns.
const CLASSES: u32 = 2;
const COLUMNS: u32 = 5;
/// The first rank of root rows.
const ROOT: u32 = 7;

/// Rows come after the rows that they name. Where a lookup takes the most special row that there is, that one is put
/// first and removed last: the row of a peer before that of its namespace, a block before those around it.
fn rank(key: &RowKey) -> u32 {
    match key {
        RowKey::Verdict(_) => 0,
        RowKey::Backend(_) => 1,
        RowKey::Class(_) => CLASSES,
        RowKey::Group(key) if key.peer < FIRST_NAMESPACE => 3,
        RowKey::Group(_) => 4,
        RowKey::Column(_) => COLUMNS,
        RowKey::CidrParent(_) => 6,
        RowKey::Address(key) => ROOT + AddressKey::host(key.address).prefix_bits - key.prefix_bits,
        RowKey::Service(_) => 200,
        RowKey::Endpoint(_) => 201,
        RowKey::Unmasqueraded(_) => 202,
    }
}

impl Named {
    /// The numbers that found rows name. What only unreachable rows name is not reachable.
    pub(crate) fn found(found: &Rows) -> Self {
        let before = found.values().flat_map(names).map(|name| (name, false)).collect();
        let mut named = Self { before, is_complete: true, ..Self::default() };
        found.values().flat_map(names).for_each(|name| named.add(name));
        named.mark(found, |rank| rank >= ROOT);
        named.mark_blocks(found);
        // What names comes before what it names.
        named.mark(found, |rank| rank == COLUMNS);
        named.mark(found, |rank| rank == CLASSES);
        named
    }

    /// Marks what reachable rows of some ranks name.
    fn mark(&mut self, found: &Rows, is_marked: impl Fn(u32) -> bool) {
        for (key, row) in found.iter().filter(|(key, _)| is_marked(rank(key))) {
            if self.was_reachable(key) {
                names(row).for_each(|name| _ = self.before.insert(name, true));
            }
        }
    }

    /// Marks the classes of the blocks around those that addresses name.
    fn mark_blocks(&mut self, found: &Rows) {
        let marked = self.before.iter().filter(|(_, is_named)| **is_named);
        let mut inner: Vec<u32> = marked.filter_map(|(name, _)| name.block()).collect();
        while let Some(class) = inner.pop() {
            if let Some(Row::CidrParent(_, around)) = found.get(&RowKey::CidrParent(class))
                && self.before.insert(Name::Block(*around), true) == Some(false)
            {
                inner.push(*around);
            }
        }
    }

    /// Whether packets could read a row with this key before the step.
    fn was_reachable(&self, key: &RowKey) -> bool {
        numbers(key).all(|name| self.was_named(name))
    }

    /// Whether packets can read a row with this key after the step.
    fn is_reachable(&self, key: &RowKey) -> bool {
        numbers(key).all(|name| self.is_named(name))
    }

    /// Whether packets read a row that the step puts and removes again. Without it, rows that go would not give their old
    /// verdicts once the first switches are made.
    fn is_read_meanwhile(&self, key: &RowKey) -> bool {
        match key {
            // A new group in a column that goes: peers move to the group before endpoints switch.
            RowKey::Class(_) => self.was_reachable(key) && !self.is_reachable(key),
            // A new peer in a grouping that goes: addresses are put before endpoints switch.
            RowKey::Group(group) => {
                let (peer, grouping) = (Name::Peer(group.peer), Name::Grouping(group.grouping));
                let (goes, comes) = (
                    |name| self.was_named(name) && !self.is_named(name),
                    |name| !self.was_named(name) && self.is_named(name),
                );
                goes(grouping) && comes(peer)
            }
            _ => false,
        }
    }

    /// The numbers that rows name now and did not name before the step.
    fn new_names(&self) -> impl Iterator<Item = Name> {
        let new = self.before.iter().filter(|(_, was_named)| !**was_named).map(|(name, _)| *name);
        new.filter(|name| self.is_named(*name))
    }

    fn was_named(&self, name: Name) -> bool {
        self.before.get(&name).copied().unwrap_or_else(|| !self.is_complete && self.is_named(name))
    }

    fn is_named(&self, name: Name) -> bool {
        let (kind, number) = name.place();
        self.rows[kind].contains_key(&number)
    }

    /// Follows the change of one row. A name that stays in its place is not looked up.
    fn follow(&mut self, change: &RowChange) {
        let rows = [change.old.as_ref(), change.new_row()];
        let [old, new] = rows.map(|row| row.map_or([None; 3], names_in_places));
        for (old, new) in old.into_iter().zip(new).filter(|(old, new)| old != new) {
            old.into_iter().for_each(|name| self.remove(name));
            new.into_iter().for_each(|name| self.add(name));
        }
    }

    fn add(&mut self, name: Name) {
        let (kind, number) = name.place();
        let rows = self.rows[kind].entry(number).or_default();
        *rows += 1;
        if *rows == 1 {
            self.note(name, false);
        }
    }

    fn remove(&mut self, name: Name) {
        let (kind, number) = name.place();
        if let Entry::Occupied(mut rows) = self.rows[kind].entry(number) {
            *rows.get_mut() -= 1;
            if *rows.get() == 0 {
                rows.remove();
                self.note(name, true);
            }
        }
    }

    /// Records whether a number was named before the step; its first change in the step counts.
    fn note(&mut self, name: Name, was_named: bool) {
        if !self.is_complete {
            self.before.entry(name).or_insert(was_named);
        }
    }
}

/// The writes of a step by kind and rank.
#[derive(Debug, Default)]
struct Plan {
    prepare: Ranked,
    switch: Ranked,
    remove_now: Ranked,
    remove_later: Ranked,
    /// Rows that go; when, is decided once all changes are known.
    removals: Vec<(RowKey, Option<Row>)>,
    footprint: Footprint,
    /// Rows that the step itself put and removed again.
    transients: Vec<(RowKey, Row)>,
}

/// Writes by rank.
#[derive(Debug, Default)]
struct Ranked(BTreeMap<u32, Batch>);

impl Ranked {
    fn put(&mut self, key: &RowKey, row: &Row) {
        self.0.entry(rank(key)).or_default().put(row);
    }

    fn delete(&mut self, key: &RowKey) {
        self.0.entry(rank(key)).or_default().delete(key);
    }
}

/// The writes of a step: those to make at once, and those to make after the grace time, each in order. `named` follows.
/// The configuration is written apart.
pub(crate) fn plan(changes: &[RowChange], named: &mut Named) -> (Batch, Batch, Footprint) {
    // Each lookup waits for memory. In a loop of its own the processor waits for several at once.
    let is_switch = |change: &RowChange| change.new_row().is_some() && named.was_reachable(&change.key);
    let switches: Vec<bool> = changes.iter().map(is_switch).collect();
    changes.iter().for_each(|change| named.follow(change));
    let mut plan = Plan::default();
    changes.iter().zip(switches).for_each(|(change, is_switch)| {
        note_switch(&mut plan.footprint, change, is_switch);
        plan.add(change, is_switch);
    });
    plan.batches(named)
}

/// The writes that lead from rows that were found in the maps to these, and the numbers that these name.
pub(crate) fn plan_all(mut found: Rows, rows: impl Iterator<Item = Row>) -> (Batch, Batch, Named) {
    let (mut plan, mut named) = (Plan::default(), Named::found(&found));
    for (key, row) in rows.filter_map(|row| Some((row.key()?, row))) {
        let change = RowChange::new(key, found.remove(&key), Some(row));
        plan.add(&change, named.was_reachable(&key));
        named.follow(&change);
    }
    for (key, row) in found {
        let change = RowChange::new(key, Some(row), None);
        plan.add(&change, false);
        named.follow(&change);
    }
    let (now, later, _) = plan.batches(&mut named);
    (now, later, named)
}

impl Plan {
    /// Adds the change of a row. A row that is put is a switch if packets could read its key before the step.
    fn add(&mut self, change: &RowChange, is_switch: bool) {
        let key = &change.key;
        match (change.old.as_ref(), change.new_row()) {
            (None, None) => self.transients.extend(change.transient().map(|row| (*key, *row))),
            (old, new) if old == new => {}
            (_, Some(new)) if is_switch => self.switch.put(key, new),
            (_, Some(new)) => self.prepare.put(key, new),
            (old, None) => self.removals.push((*key, old.copied())),
        }
    }

    fn remove(&mut self, (key, old): &(RowKey, Option<Row>), named: &Named) {
        let removals = match named.is_reachable(key) {
            false => &mut self.remove_later,
            true if named.was_reachable(key) => {
                self.footprint.note(key, old.as_ref());
                &mut self.remove_now
            }
            true => &mut self.prepare,
        };
        removals.delete(key);
    }

    /// Writes those rows which packets read meanwhile, though the step itself put and removed them.
    fn put_transients(&mut self, named: &Named) {
        let transients = std::mem::take(&mut self.transients);
        let mut classes: Vec<Name> = Vec::new();
        for (key, row) in transients.iter().filter(|(key, _)| named.is_read_meanwhile(key)) {
            self.put_meanwhile(key, row);
            classes.extend(names(row));
        }
        for (key, row) in &transients {
            if matches!(key, RowKey::Verdict(key) if classes.contains(&Name::Class(key.class))) {
                self.put_meanwhile(key, row);
            }
        }
    }

    fn put_meanwhile(&mut self, key: &RowKey, row: &Row) {
        self.switch.put(key, row);
        self.remove_later.delete(key);
    }

    fn batches(mut self, named: &mut Named) -> (Batch, Batch, Footprint) {
        std::mem::take(&mut self.removals).iter().for_each(|removal| self.remove(removal, named));
        self.put_transients(named);
        named.new_names().for_each(|name| self.footprint.note_named(name));
        // The room that a start took is given back: it would be cleared at each step.
        (named.before, named.is_complete) = (HashMap::default(), false);
        let Self {
            prepare,
            switch: Ranked(mut inner),
            remove_now: Ranked(mut gone),
            remove_later,
            footprint,
            ..
        } = self;
        // A switch of a root row leads packets to other rows, so those are switched before.
        let (roots, gone_roots) = (inner.split_off(&ROOT), gone.split_off(&ROOT));
        let descending = |batches: BTreeMap<u32, Batch>| batches.into_values().rev();
        let (mut now, mut later) = (Batch::new(), Batch::new());
        let puts = prepare.0.into_values().chain(inner.into_values());
        let all = puts.chain(descending(gone)).chain(roots.into_values()).chain(descending(gone_roots));
        all.for_each(|batch| now.append(batch));
        descending(remove_later.0).for_each(|batch| later.append(batch));
        (now, later, footprint)
    }
}
