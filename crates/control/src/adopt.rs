//! Rows found in the maps, after a restart or a failed write: the next change replaces those that differ.

use crate::found_blocks::{FoundBlock, blocks_inside, blocks_outside};
use crate::identities::Identities;
use crate::world::World;
use crate::writes::Rows;
use abi::config::Config;
use abi::row::Row;
use identity::Allocator;

impl World {
    /// A node whose maps hold these rows from before a restart; the first change replaces the rows that are out of date. The
    /// caller restores the identities.
    pub fn adopt(rows: impl IntoIterator<Item = Row>, identities: Allocator) -> Self {
        let mut world = Self::new();
        world.peers.identities = Identities::restored(identities);
        for row in rows {
            match row {
                Row::Config(config) => world.config = config,
                Row::Endpoint(_, info) => world.enforcement.number_above(info.policy),
                Row::Verdict(key, verdict) => {
                    world.enforcement.book.number_classes_above(key.class);
                    world.enforcement.book.number_above(verdict.rule, verdict.l7);
                }
                Row::Group(key, _) => world.enforcement.number_groupings_above(key.grouping),
                Row::Class(key, class) => {
                    world.enforcement.book.number_columns_above(key.column);
                    world.enforcement.book.number_classes_above(class);
                }
                Row::Column(key, column) => {
                    world.enforcement.number_above(key.policy);
                    world.enforcement.blocks.number_above(key.cidr);
                    world.enforcement.book.number_columns_above(column);
                }
                Row::CidrParent(class, around) => world.enforcement.blocks.number_above(class.max(around)),
                Row::Address(key, info) => {
                    world.enforcement.blocks.number_above(info.cidr);
                    world.peers.restore_number(key.address.into(), &info);
                }
                Row::Backend(key, _) => world.translation.number_above(key.backends),
                Row::Service(_, info) => world.translation.number_above(info.backends),
            }
            if let (Some(found), Some(key)) = (&mut world.found, row.key()) {
                found.insert(key, row);
            }
        }
        if let Some(found) = world.found.take() {
            world.restore_found_blocks(&found);
            world.found = Some(found);
        }
        world
    }

    fn restore_found_blocks(&mut self, found: &Rows) {
        self.restore_blocks(blocks_outside(found).into_iter().chain(blocks_inside(found)));
    }

    /// Puts blocks of found rows in force under their numbers, where neither the block nor the number is in use.
    fn restore_blocks(&mut self, blocks: impl IntoIterator<Item = FoundBlock>) {
        for (block, side, number) in blocks {
            if self.enforcement.blocks.restore(block, side, number) {
                self.found_blocks.push((block, side));
            }
        }
    }

    /// Records the rows that the maps hold after the writes of the last change failed half way; the next change replaces the
    /// rows that differ. Objects that [`Writes::undo`](crate::Writes::undo) brings back keep their numbers.
    ///
    /// The requests in [`Writes::identities`](crate::Writes::identities) of the failed change are void: the caller must drop
    /// them, and the next changes repeat the requests that are still needed.
    pub fn adopt_rows(&mut self, rows: impl IntoIterator<Item = Row>) {
        let mut found = Rows::new();
        for row in rows {
            match (row, row.key()) {
                // Never back to an epoch that flows may remember.
                (Row::Config(config), _) => {
                    self.config = Config { epoch: config.epoch.max(self.config.epoch), ..config };
                }
                (_, Some(key)) => drop(found.insert(key, row)),
                (_, None) => {}
            }
            if let Row::Address(key, info) = row {
                self.peers.restore_number(key.address.into(), &info);
            }
        }
        self.peers.identities.take_back();
        // The rows of several blocks inside the cluster may look alike, so the blocks that this world knows come first.
        let removed = std::mem::take(&mut self.removed_blocks);
        self.restore_blocks(removed);
        self.restore_found_blocks(&found);
        self.found = Some(found);
    }
}
