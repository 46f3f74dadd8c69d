//! What rows that were found in the maps tell of the policies before a restart.

use crate::enforcement::Enforcement;
use crate::found_blocks::{blocks_inside, blocks_outside};
use crate::row_changes::Rows;
use abi::row::Row;

impl Enforcement {
    /// Starts numbering above the numbers in a row that was found in the maps.
    pub fn number_above(&mut self, row: &Row) {
        let (book, blocks) = (&mut self.registry.book, &mut self.addresses.blocks);
        match row {
            Row::Endpoint(_, info) => self.policy_numbers.continue_above(info.policy),
            Row::Verdict(key, verdict) => {
                book.number_classes_above(key.class);
                book.number_above(verdict.rule, verdict.l7);
            }
            Row::Group(key, _) => self.groupings.number_above(key.grouping),
            Row::Class(key, class) => {
                book.number_columns_above(key.column);
                book.number_classes_above(*class);
            }
            Row::Column(key, column) => {
                self.policy_numbers.continue_above(key.policy);
                blocks.number_above(key.cidr);
                book.number_columns_above(*column);
            }
            Row::CidrParent(class, around) => blocks.number_above(*class.max(around)),
            Row::Address(_, info) => blocks.number_above(info.cidr),
            Row::Backend(..) | Row::Service(..) | Row::Unmasqueraded(..) | Row::Config(_) => {}
        }
    }

    /// Puts the blocks of found rows in force under their numbers, where neither the block nor the number is in use. The
    /// next [`Self::release_blocks`] releases them.
    pub fn restore_blocks(&mut self, found: &Rows) {
        // The rows of several blocks inside the cluster may look alike, so the blocks that this node knows come first.
        let removed = std::mem::take(&mut self.removed_blocks);
        let found = blocks_outside(found).into_iter().chain(blocks_inside(found));
        for (block, side, number) in removed.into_iter().chain(found) {
            self.restore_block(block, side, number);
        }
    }
}
