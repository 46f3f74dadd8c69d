//! The blocks and names by which policies distinguish addresses, and the column rows that follow from them.

use abi::row::{MapOp, Row, RowKey};
use policy::book::RuleBook;
use policy::cidr::{AddressSide, Blocks, CidrClass};
use policy::compile::CompiledPolicy;
use policy::grouping::Grouping;
use policy::names::DomainNames;
use policy::rule::Cidr;
use std::collections::{BTreeMap, BTreeSet};

/// The blocks of addresses that policies name, and the domain names of addresses outside the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) blocks: Blocks,
    pub(crate) names: DomainNames,
}

impl Addresses {
    /// All rows of a policy.
    pub(crate) fn rows_of(&self, number: u32, compiled: &CompiledPolicy) -> impl Iterator<Item = Row> {
        compiled.class_rows().chain(self.column_rows(number, compiled).into_values())
    }

    /// The rows by which a policy names its columns. The column of a named address replaces the column of the block around
    /// the address.
    pub(crate) fn column_rows(&self, number: u32, compiled: &CompiledPolicy) -> BTreeMap<RowKey, Row> {
        let named = compiled.has_domains().then(|| self.named()).into_iter().flatten();
        let named = named.filter_map(|(class, names)| compiled.named_row(number, &class, names));
        let rows = compiled.column_rows(number, &self.blocks).chain(named);
        rows.filter_map(|row| Some((row.key()?, row))).collect()
    }

    /// Adds the columns of named addresses to a policy whose rules match domain names, and returns the class rows to add.
    /// The policy has no number yet, so the rows that name these columns follow later.
    pub(crate) fn add_names(
        &self,
        compiled: &mut CompiledPolicy,
        grouping: &Grouping,
        book: &mut RuleBook,
    ) -> Vec<Row> {
        if !compiled.has_domains() {
            return Vec::new();
        }
        let writes =
            self.named().flat_map(|(class, names)| compiled.set_names(0, (&class, names), grouping, book));
        writes.filter_map(MapOp::put).filter(|row| matches!(row, Row::Class(..))).collect()
    }

    /// The classes of addresses that have names, with the names.
    fn named(&self) -> impl Iterator<Item = (CidrClass, &BTreeSet<String>)> {
        let class = |address| self.blocks.class(&Cidr::host(address), AddressSide::World);
        self.names.iter().filter_map(move |(address, names)| Some((class(address)?, names)))
    }
}
