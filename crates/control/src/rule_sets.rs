//! The numbers of layer-7 rule sets across restarts.

use crate::world::World;
use policy::book::HttpRules;
use std::collections::BTreeMap;

impl World {
    /// Takes sets up that were published before a restart: the same rules have the same number again, and need not be
    /// published anew. No number up to `last` gets another meaning, since there may be something that remembers it.
    pub fn restore_rule_sets(&mut self, published: BTreeMap<u32, HttpRules>, last: u32) {
        for (number, rules) in published {
            self.enforcement.book.restore_set(number, rules);
        }
        self.enforcement.book.number_above(0, last);
    }

    /// Gives up the sets that were taken up and that no policy has named since.
    pub fn sweep_rule_sets(&mut self) {
        self.enforcement.book.sweep_sets();
    }
}
