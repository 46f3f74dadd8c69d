//! The blocks of the addresses of pods: an address in them that no workload has belongs to a pod whose identity is not known
//! yet, and never to the world.

use policy::rule::Cidr;
use std::collections::BTreeMap;

/// The blocks, each with the number of those that name it: several nodes, or a node and the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodBlocks(BTreeMap<Cidr, usize>);

impl PodBlocks {
    /// Every block.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Cidr> {
        self.0.keys()
    }

    /// Whether this is one of the blocks.
    pub(crate) fn contains(&self, block: &Cidr) -> bool {
        self.0.contains_key(block)
    }

    /// Whether all addresses of a block are those of pods.
    pub(crate) fn enclose(&self, block: &Cidr) -> bool {
        let mut around = (0..=block.length()).filter_map(|length| Cidr::new(block.address(), length));
        !self.0.is_empty() && around.any(|around| self.0.contains_key(&around))
    }

    /// Adds a block; returns whether it is new.
    pub(crate) fn add(&mut self, block: Cidr) -> bool {
        let holders = self.0.entry(block).or_default();
        *holders += 1;
        *holders == 1
    }

    /// Removes what [`Self::add`] added; returns whether the block is gone.
    pub(crate) fn remove(&mut self, block: &Cidr) -> bool {
        let Some(holders) = self.0.get_mut(block) else { return false };
        *holders -= 1;
        *holders == 0 && self.0.remove(block).is_some()
    }
}
