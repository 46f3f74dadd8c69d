//! Policies turned into the rows that the packet path looks up; see [`abi::policy`] for the lookup.
//!
//! A compiled policy serves every subject with the same [`crate::set::PolicyKey`]. It is a table: a line for each group
//! of a [`Grouping`], a column for each part of the addresses that it can tell from others, a class in each cell. A peer
//! that comes later adds rows to a policy that is in force and changes none. What the policy says of a block of
//! addresses, it says as a difference to what it says around it (decision 004). Columns that say the same as those of
//! the policy before are gone on with (decision 007).

mod clause;
mod column;
mod part;
mod reuse;
mod rules;
mod table;

use crate::book::RuleBook;
use crate::cidr::{AddressSide, Blocks, CidrClass};
use crate::class::ClassId;
use crate::directory::{Directory, FacetId};
use crate::grouping::{Demand, Grouping, Profile, merged};
use crate::rule::Direction;
use crate::set::Selection;
use abi::policy::{ColumnKey, WHOLE_INSIDE, WHOLE_WORLD};
use abi::row::{MapOp, Row, RowKey};
use column::Column;
use part::{Difference, Parts};
use reuse::Reuse;
use rules::{BothWays, Stance};
use std::collections::BTreeSet;
use std::ops::Range;
use table::Around;

/// What one selection of specs says to the groups of a grouping, as rows.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    selection: Selection,
    /// Of ingress and egress.
    stances: [Stance; 2],
    parts: Parts,
    /// The column of each part.
    columns: Vec<Column>,
    /// How many groups it has said something to.
    filled_up_to: u32,
}

impl CompiledPolicy {
    /// Compiles what applies to a subject, for all groups of a grouping that has been asked what it demands; the rows of
    /// its new columns are returned with it.
    ///
    /// What a policy before said need not be found out again where no rule that came or went is about it. Columns that
    /// stay the same are taken from it: it must not meet new groups any more, and is soon to be released.
    pub fn new(
        (selection, demand): (Selection, &Demand),
        (grouping, directory): (&Grouping, &Directory),
        before: Option<&mut Self>,
        book: &mut RuleBook,
    ) -> (Self, Vec<Row>) {
        let selection = selection.ordered();
        let stances =
            [Direction::Ingress, Direction::Egress].map(|direction| Stance::of(&selection, direction));
        let parts = Parts::new(&demand.of_addresses, directory);
        let mut reuse = before.and_then(|before| Reuse::new(before, (&selection, stances), grouping));
        let taken = parts.numbers().map(|part| reuse.as_mut()?.take_untouched(parts.of(part), book));
        let taken: Vec<Option<Column>> = taken.collect();
        let fresh: Vec<bool> = taken.iter().map(Option::is_none).collect();
        let columns = taken.into_iter().map(Option::unwrap_or_default).collect();
        let mut compiled = Self { selection, stances, parts, columns, filled_up_to: 0 };
        let everybody = 0..grouping.count();
        compiled.filled_up_to = everybody.end;
        compiled.fill(everybody, |part| fresh[part as usize], (grouping, reuse.as_ref()), book);
        let mut rows = Vec::new();
        let Self { parts, columns, .. } = &mut compiled;
        for (part, column) in parts.numbers().zip(columns).filter(|(part, _)| fresh[*part as usize]) {
            let same = reuse.as_mut().and_then(|reuse| reuse.take_same(parts.of(part), column, book));
            match same {
                Some(same) => std::mem::replace(column, same).release(book),
                None => {
                    column.assign_number(book);
                    rows.extend(column.rows(0));
                }
            }
        }
        (compiled, rows)
    }

    /// Whether packets of this direction need an allowing row. Where it is false, everything goes.
    pub fn enforces(&self, direction: Direction) -> bool {
        let [ingress, egress] = self.stances;
        match direction {
            Direction::Ingress => ingress.enforced,
            Direction::Egress => egress.enforced,
        }
    }

    /// The rows of its columns; the verdicts of their classes are the book's.
    pub fn class_rows(&self) -> impl Iterator<Item = Row> {
        self.columns.iter().flat_map(|column| column.rows(0))
    }

    /// The rows by which the policy of this number names its columns: those for all addresses, and those of its own blocks,
    /// which are in force.
    pub fn column_rows(&self, policy: u32, blocks: &Blocks) -> impl Iterator<Item = Row> {
        let whole = [(WHOLE_INSIDE, AddressSide::Inside), (WHOLE_WORLD, AddressSide::World)];
        let whole = whole.map(|(cidr, side)| (cidr, Parts::whole(side)));
        let own = [AddressSide::World, AddressSide::Inside].into_iter().flat_map(move |side| {
            self.parts
                .blocks(side)
                .iter()
                .filter_map(move |(block, part)| Some((blocks.class(block, side)?.number, *part)))
        });
        whole.into_iter().chain(own).map(move |(cidr, part)| self.column_row(policy, cidr, part))
    }

    /// Says something to the groups that are new in the grouping; the rows to add are returned. They must be in place
    /// before any peer is in those groups.
    pub fn extend_to(
        &mut self,
        grouping: &Grouping,
        book: &mut RuleBook,
    ) -> impl Iterator<Item = Row> + use<'_> {
        let known = std::mem::replace(&mut self.filled_up_to, grouping.count());
        self.fill(known..self.filled_up_to, |_| true, (grouping, None), book);
        self.columns.iter().flat_map(move |column| column.rows(known))
    }

    /// Whether the policy asks for domain names, so that it must hear of addresses that have some.
    pub fn has_domains(&self) -> bool {
        self.parts.has_domains()
    }

    /// Notes from which names the address of a class of its own ([`Blocks::insert_address`]) was resolved, now or no
    /// more; the writes that this asks for are returned, in order.
    pub fn name(
        &mut self,
        policy: u32,
        (class, names): (&CidrClass, &BTreeSet<String>),
        grouping: &Grouping,
        book: &mut RuleBook,
    ) -> Vec<MapOp> {
        let part = self.parts.named(&class.block, names);
        if part.difference.within == part.difference.around {
            return vec![MapOp::Delete(RowKey::Column(ColumnKey { policy, cidr: class.number }))];
        }
        let (part, is_new) = self.parts.intern(part);
        let mut writes = Vec::new();
        if is_new {
            writes.extend(self.add_column(grouping, book).map(MapOp::Put));
        }
        writes.push(MapOp::Put(self.column_row(policy, class.number, part)));
        writes
    }

    /// The row by which the policy knows an address with these names, which it was told of ([`Self::name`]); none where
    /// the names mean nothing to it.
    pub fn named_row(&self, policy: u32, class: &CidrClass, names: &BTreeSet<String>) -> Option<Row> {
        let part = self.parts.number(&self.parts.named(&class.block, names))?;
        Some(self.column_row(policy, class.number, part))
    }

    /// Gives up its columns, once the rows are gone.
    pub fn release(self, book: &mut RuleBook) {
        self.columns.into_iter().for_each(|column| column.release(book));
    }

    /// Says something to groups that come after those it has said something to, in these parts.
    fn fill(
        &mut self,
        groups: Range<u32>,
        is_asked: impl Fn(u32) -> bool,
        (grouping, reuse): (&Grouping, Option<&Reuse<'_>>),
        book: &mut RuleBook,
    ) {
        let Self { selection, stances, parts, columns, .. } = self;
        let asked: Vec<u32> = parts.numbers().filter(|part| is_asked(*part)).collect();
        if groups.is_empty() || asked.is_empty() {
            return;
        }
        let rules = BothWays::new(selection, *stances);
        for group in groups {
            let profile = grouping.profile(group);
            let view = GroupView { group, profile, facets: &grouping.facets_of(group) };
            let mut around = Around::default();
            let class_of = |part: &&u32| parts.of(**part).side == profile.kind.side();
            for number in asked.iter().filter(class_of) {
                let part = parts.of(*number);
                let class = match reuse.and_then(|reuse| reuse.class_of(&view, part)) {
                    Some(again) => {
                        again.into_iter().for_each(|class| book.hold_class(class));
                        again
                    }
                    None => view.class(&part.difference, (&rules, &mut around), book),
                };
                columns[*number as usize].set((group, profile.kind.is_workload()), class, book);
            }
        }
    }

    /// Says something of the last part, which is new, to all groups up to `filled_up_to`; the rows to add are returned.
    fn add_column(
        &mut self,
        grouping: &Grouping,
        book: &mut RuleBook,
    ) -> impl Iterator<Item = Row> + use<'_> {
        let last = self.columns.len() as u32;
        self.columns.push(Column::default());
        self.fill(0..self.filled_up_to, |part| part == last, (grouping, None), book);
        let column = &mut self.columns[last as usize];
        column.assign_number(book);
        column.rows(0)
    }

    fn column_row(&self, policy: u32, cidr: u32, part: u32) -> Row {
        Row::Column(ColumnKey { policy, cidr }, self.columns[part as usize].number)
    }

    /// What is said in each part, to which group.
    #[cfg(test)]
    pub(crate) fn classes(&self) -> Vec<&[(u32, ClassId)]> {
        self.columns.iter().map(Column::classes).collect()
    }
}

/// A group, and what rules can see of its peers.
struct GroupView<'a> {
    group: u32,
    profile: &'a Profile,
    /// All that its peers have, in order.
    facets: &'a [FacetId],
}

impl GroupView<'_> {
    /// The class of what it hears in the part of all addresses, or of what another part changes of that, held once more;
    /// none where that is nothing.
    fn class(
        &self,
        difference: &Difference,
        (rules, around): (&BothWays<'_>, &mut Around),
        book: &mut RuleBook,
    ) -> Option<ClassId> {
        let ports = &self.profile.ports;
        around.enter(merged(self.facets, &difference.around), ports, rules);
        let said = if difference.is_none() {
            rules.each(|rules, direction| table::answers(rules, direction, around))
        } else {
            let after = merged(self.facets, &difference.within);
            rules.each(|rules, direction| table::changes((rules, direction), around, &after, ports))
        };
        let says_something = said.iter().any(|(_, answers)| !answers.is_empty());
        says_something.then(|| table::class(said, book))
    }
}
