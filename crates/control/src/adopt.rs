//! Rows found in the maps, after a restart or a failed write: the next change replaces those that differ.

use crate::world::World;
use abi::config::Config;
use abi::row::Row;
use enforcement::Rows;
use identity::{Allocator, Identities};

impl World {
    /// A node whose maps hold these rows from before a restart; the first change replaces the rows that are out of date. The
    /// caller restores the identities.
    pub fn adopt(rows: impl IntoIterator<Item = Row>, identities: Allocator) -> Self {
        let mut world = Self::new();
        world.peers.identities = Identities::restored(identities);
        let mut found = Rows::new();
        for row in rows {
            world.enforcement.number_above(&row);
            match row {
                Row::Config(config) => world.config = config,
                Row::Address(key, info) => world.peers.restore_number(key.address.into(), &info),
                Row::Backend(key, _) => world.services.number_above(key.backends),
                Row::Service(_, info) => world.services.number_above(info.backends),
                _ => {}
            }
            found.extend(row.key().map(|key| (key, row)));
        }
        world.enforcement.restore_blocks(&found);
        world.found = Some(found);
        world
    }

    /// Records the rows that the maps hold after the writes of the last change failed half way; the next change replaces the
    /// rows that differ. Objects that [`Writes::undo`](crate::Writes::undo) brings back keep their numbers.
    pub fn adopt_rows(&mut self, rows: impl IntoIterator<Item = Row>) {
        let mut found = Rows::new();
        for row in rows {
            match row {
                // Never back to an epoch that flows may remember.
                Row::Config(config) => {
                    self.config = Config { epoch: config.epoch.max(self.config.epoch), ..config };
                }
                Row::Address(key, info) => self.peers.restore_number(key.address.into(), &info),
                _ => {}
            }
            found.extend(row.key().map(|key| (key, row)));
        }
        self.peers.identities.take_back();
        self.enforcement.restore_blocks(&found);
        self.found = Some(found);
    }
}
