//! Compiles policies into the rows that the packet path looks up; see [`abi::policy`] for the lookup.
//!
//! All subjects with the same [`crate::set::PolicyKey`] share one compiled policy. A compiled policy is a table: it has
//! a line for each group of a [`Grouping`], a column for each part of the addresses that the policy distinguishes, and
//! a class in each cell. A group that is added later adds rows; it changes no row in force. The column of a block holds
//! only the verdicts that differ from those of the addresses around the block (decision 004). A policy shares with its
//! predecessor the columns that are equal (decision 007).

mod column;
mod compiled;
mod group_view;
mod part;
mod ranked_rule;
mod reuse;
mod rules;
mod table;

use crate::book::RuleBook;
use crate::cidr::{AddressSide, Blocks, CidrClass};
use crate::grouping::{Demand, Grouping};
use crate::registry::Registry;
use crate::rule::Direction;
use crate::set::Selection;
use abi::policy::{ColumnKey, WHOLE_INSIDE, WHOLE_WORLD};
use abi::row::{MapOp, Row, RowKey};
use column::Column;
use group_view::GroupView;
use part::Parts;
use reuse::Reuse;
use rules::{DirectionDefaults, RulesByDirection};
use std::collections::BTreeSet;
use std::ops::Range;
use table::Around;

pub use compiled::CompiledPolicy;

impl CompiledPolicy {
    /// Compiles the specs of a selection for all groups of a grouping, which must distinguish all facets of the demand.
    /// Returns the policy and the rows of its new columns.
    ///
    /// `before` is the policy that this one replaces. Cells that no added or removed rule affects are copied from it, and
    /// equal columns are moved out of it. The caller must not extend `before` to further groups, and must release it.
    pub fn new(
        selection: Selection,
        demand: &Demand,
        grouping: &Grouping,
        before: Option<&mut Self>,
        Registry { directory, book, .. }: &mut Registry,
    ) -> (Self, Vec<Row>) {
        let selection = selection.ordered();
        let defaults = [Direction::Ingress, Direction::Egress]
            .map(|direction| DirectionDefaults::of(&selection, direction));
        let parts = Parts::new(&demand.of_addresses, directory);
        let mut reuse = before.and_then(|before| Reuse::new(before, (&selection, defaults), grouping));
        let taken = parts.numbers().map(|part| reuse.as_mut()?.take_unaffected(parts.part(part), book));
        let taken: Vec<Option<Column>> = taken.collect();
        let fresh: Vec<bool> = taken.iter().map(Option::is_none).collect();
        let columns = taken.into_iter().map(Option::unwrap_or_default).collect();
        let mut compiled = Self { selection, defaults, parts, columns, filled_up_to: grouping.count() };
        compiled.fill(0..grouping.count(), |part| fresh[part as usize], (grouping, reuse.as_ref()), book);
        let mut rows = Vec::new();
        let Self { parts, columns, .. } = &mut compiled;
        for (part, column) in parts.numbers().zip(columns).filter(|(part, _)| fresh[*part as usize]) {
            let same = reuse.as_mut().and_then(|reuse| reuse.take_equal(parts.part(part), column, book));
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

    /// Whether a packet of this direction needs a row that allows it. Where false, every packet is allowed.
    pub fn enforces(&self, direction: Direction) -> bool {
        let [ingress, egress] = self.defaults;
        match direction {
            Direction::Ingress => ingress.enforced,
            Direction::Egress => egress.enforced,
        }
    }

    /// The rows of its columns. The rule book has the verdict rows of the classes.
    pub fn class_rows(&self) -> impl Iterator<Item = Row> {
        self.columns.iter().flat_map(|column| column.rows(0))
    }

    /// The column rows of the policy with this number: two for all addresses, and one for each of its own blocks that is
    /// in force.
    pub fn column_rows(&self, policy: u32, blocks: &Blocks) -> impl Iterator<Item = Row> {
        let whole = [(WHOLE_INSIDE, AddressSide::Inside), (WHOLE_WORLD, AddressSide::World)];
        let whole = whole.map(|(cidr, side)| (cidr, Parts::root(side)));
        let own = [AddressSide::World, AddressSide::Inside].into_iter().flat_map(move |side| {
            self.parts
                .blocks(side)
                .iter()
                .filter_map(move |(block, part)| Some((blocks.class(block, side)?.number, *part)))
        });
        whole.into_iter().chain(own).map(move |(cidr, part)| self.column_row(policy, cidr, part))
    }

    /// Fills the cells of the groups that are new in the grouping, and returns the rows to add. The caller must write the
    /// rows before it assigns a peer to one of those groups.
    pub fn extend_to(
        &mut self,
        grouping: &Grouping,
        book: &mut RuleBook,
    ) -> impl Iterator<Item = Row> + use<'_> {
        let known = std::mem::replace(&mut self.filled_up_to, grouping.count());
        self.fill(known..self.filled_up_to, |_| true, (grouping, None), book);
        self.columns.iter().flat_map(move |column| column.rows(known))
    }

    /// Whether a rule matches domain names, so that [`Self::set_names`] must be called for addresses that have names.
    pub fn has_domains(&self) -> bool {
        self.parts.has_domains()
    }

    /// Sets the domain names of an address, which must have a CIDR class of its own ([`Blocks::insert_address`]). Returns
    /// the writes that follow, in order. Without names the address loses its column row.
    pub fn set_names(
        &mut self,
        policy: u32,
        (class, names): (&CidrClass, &BTreeSet<String>),
        grouping: &Grouping,
        book: &mut RuleBook,
    ) -> Vec<MapOp> {
        let part = self.parts.with_names(&class.block, names);
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

    /// The column row of an address whose names were set ([`Self::set_names`]); none if no rule matches the names.
    pub fn named_row(&self, policy: u32, class: &CidrClass, names: &BTreeSet<String>) -> Option<Row> {
        let part = self.parts.number(&self.parts.with_names(&class.block, names))?;
        Some(self.column_row(policy, class.number, part))
    }

    /// Releases its columns. The rows of the policy must have been removed.
    pub fn release(self, book: &mut RuleBook) {
        self.columns.into_iter().for_each(|column| column.release(book));
    }

    /// Fills the cells of these groups in the columns of the parts that `is_wanted` selects. The groups come after those
    /// that have cells there.
    fn fill(
        &mut self,
        groups: Range<u32>,
        is_wanted: impl Fn(u32) -> bool,
        (grouping, reuse): (&Grouping, Option<&Reuse<'_>>),
        book: &mut RuleBook,
    ) {
        let Self { selection, defaults, parts, columns, .. } = self;
        let wanted: Vec<u32> = parts.numbers().filter(|part| is_wanted(*part)).collect();
        if groups.is_empty() || wanted.is_empty() {
            return;
        }
        let rules = RulesByDirection::new(selection, *defaults);
        for group in groups {
            let profile = grouping.profile(group);
            let view = GroupView { group, profile, facets: &grouping.facets_of(group) };
            let mut around = Around::default();
            let is_of_side = |part: &&u32| parts.part(**part).side == profile.kind.side();
            for number in wanted.iter().filter(is_of_side) {
                let part = parts.part(*number);
                let class = match reuse.and_then(|reuse| reuse.class_of(&view, part)) {
                    Some(same) => {
                        same.into_iter().for_each(|class| book.hold_class(class));
                        same
                    }
                    None => view.class(&part.difference, (&rules, &mut around), book),
                };
                columns[*number as usize].set((group, profile.kind.is_workload()), class, book);
            }
        }
    }

    /// Adds the column of the last part, which is new, with the cells of all groups so far. Returns the rows to add.
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

    /// The class of each group, column by column.
    #[cfg(test)]
    pub(crate) fn classes(&self) -> Vec<&[(u32, crate::class::ClassId)]> {
        self.columns.iter().map(Column::classes).collect()
    }
}
