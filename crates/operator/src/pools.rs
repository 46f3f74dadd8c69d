//! Assigns blocks of the cluster's pools to the nodes that have none.

use crate::open_writes::OpenWrites;
use foldhash::HashSet;
use identity::Sequence;
use policy::rule::Cidr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use thiserror::Error;

/// A block of the cluster that is cut into blocks of one size, one for each node. The blocks are handed out in turn.
#[derive(Clone, Debug)]
pub struct BlockPool {
    block: Cidr,
    length: u8,
    sequence: Sequence,
}

/// Why a pool cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlockPoolError {
    /// A node's block would be larger than the pool.
    #[error("a node's block of prefix length {length} does not fit into {block}")]
    Length {
        /// The pool.
        block: Cidr,
        /// The prefix length for nodes.
        length: u8,
    },
    /// Two pools have a family in common.
    #[error("{0} and {1} are of one family; configure one pool for each")]
    SameFamily(Cidr, Cidr),
}

/// A write: the blocks of a node, in `spec.ipam.podCIDRs` of its CiliumNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodBlockAssignment {
    /// The name of the node.
    pub node: String,
    /// All its blocks.
    pub blocks: Vec<Cidr>,
}

/// The nodes of a cluster and their blocks.
#[derive(Clone, Debug, Default)]
pub struct NodeBlocks {
    pools: Vec<BlockPool>,
    /// The nodes, with the blocks that the controller manager assigned.
    nodes: BTreeMap<String, Vec<Cidr>>,
    /// The blocks in each CiliumNode.
    assigned: BTreeMap<String, Vec<Cidr>>,
    nodes_listed: bool,
    assigned_listed: bool,
    open: OpenWrites<String, Vec<Cidr>>,
    unsettled: BTreeSet<String>,
}

impl BlockPool {
    /// A pool whose nodes get blocks of this prefix length.
    pub fn new(block: Cidr, length: u8) -> Result<Self, BlockPoolError> {
        let most = if block.address().is_ipv4() { 32 } else { 128 };
        let Some(bits) = length.checked_sub(block.length()).filter(|_| length <= most) else {
            return Err(BlockPoolError::Length { block, length });
        };
        // More nodes than a cluster can have; larger pools are used in part.
        let last = (1_u32 << u32::from(bits).min(24)) - 1;
        Ok(Self { block, length, sequence: Sequence::new(0..=last) })
    }

    fn is_of_family(&self, block: &Cidr) -> bool {
        self.block.address().is_ipv4() == block.address().is_ipv4()
    }

    /// The block of this number.
    fn numbered(&self, number: u32) -> Cidr {
        let address = match self.block.address() {
            IpAddr::V4(first) => {
                IpAddr::V4((first.to_bits() | (number << ((32 - u32::from(self.length)) % 32))).into())
            }
            IpAddr::V6(first) => IpAddr::V6(
                (first.to_bits() | (u128::from(number) << ((128 - u32::from(self.length)) % 128))).into(),
            ),
        };
        Cidr::new(address, self.length).expect("the length was checked")
    }

    fn take(&mut self, used: &[Cidr]) -> Option<Cidr> {
        let exact: HashSet<&Cidr> = used.iter().filter(|block| block.length() == self.length).collect();
        let others: Vec<&Cidr> = used.iter().filter(|block| block.length() != self.length).collect();
        let pool = self.clone();
        let number = self.sequence.take(|number| {
            let block = pool.numbered(number);
            exact.contains(&block)
                || others.iter().any(|other| other.encloses(&block) || block.encloses(other))
        })?;
        Some(pool.numbered(number))
    }
}

impl NodeBlocks {
    /// The pools of the cluster, at most one for each family; none where the controller manager assigns blocks.
    pub fn new(pools: Vec<BlockPool>) -> Result<Self, BlockPoolError> {
        if let [one, other, ..] = &pools[..]
            && one.is_of_family(&other.block)
        {
            return Err(BlockPoolError::SameFamily(one.block, other.block));
        }
        Ok(Self { pools, ..Self::default() })
    }

    /// A node has these `podCIDRs` in its spec, or is gone.
    pub fn node(&mut self, name: &str, own: Option<Vec<Cidr>>) {
        match own {
            Some(own) => drop(self.nodes.insert(name.to_owned(), own)),
            None => drop(self.nodes.remove(name)),
        }
        self.unsettled.insert(name.to_owned());
    }

    /// A CiliumNode has these `podCIDRs`, or is gone.
    pub fn assigned(&mut self, name: &str, blocks: Option<Vec<Cidr>>) {
        if self.open.find(&name.to_owned()) == blocks.as_ref() {
            self.open.remove(&name.to_owned());
        }
        match blocks {
            Some(blocks) => drop(self.assigned.insert(name.to_owned(), blocks)),
            None => drop(self.assigned.remove(name)),
        }
        self.unsettled.insert(name.to_owned());
    }

    /// The first list of nodes is complete.
    pub fn nodes_listed(&mut self) {
        self.nodes_listed = true;
    }

    /// The first list of CiliumNodes is complete.
    pub fn assigned_listed(&mut self) {
        self.assigned_listed = true;
    }

    /// The nodes that have no block of some pool, since the pool is used up.
    pub fn without_block(&self) -> usize {
        self.nodes.iter().filter(|(name, own)| own.is_empty() && self.lacks_any(name)).count()
    }

    /// The writes that follow from what is known now.
    pub fn settle(&mut self, now: Duration) -> Vec<PodBlockAssignment> {
        if !self.nodes_listed || !self.assigned_listed || self.pools.is_empty() {
            return Vec::new();
        }
        let overdue = self.open.take_overdue(now);
        self.unsettled.extend(overdue.into_iter().map(|(name, _)| name));
        let names = std::mem::take(&mut self.unsettled);
        let lacking: Vec<String> = names.into_iter().filter(|name| self.may_get_block(name)).collect();
        lacking.into_iter().filter_map(|name| self.assign(name, now)).collect()
    }

    /// Whether a node has no block of the controller manager, and lacks one of a pool.
    fn may_get_block(&self, name: &String) -> bool {
        let has_none = self.nodes.get(name).is_some_and(Vec::is_empty);
        has_none && self.open.find(name).is_none() && self.lacks_any(name)
    }

    fn lacks_any(&self, name: &String) -> bool {
        let blocks = self.assigned.get(name);
        self.pools.iter().any(|pool| !blocks.into_iter().flatten().any(|block| pool.is_of_family(block)))
    }

    fn assign(&mut self, name: String, now: Duration) -> Option<PodBlockAssignment> {
        let mut used: Vec<Cidr> =
            self.nodes.values().chain(self.assigned.values()).flatten().copied().collect();
        used.extend(self.open.iter().flat_map(|(_, blocks)| blocks));
        let mut blocks = self.assigned.get(&name).cloned().unwrap_or_default();
        let before = blocks.len();
        for pool in &mut self.pools {
            if !blocks.iter().any(|block| pool.is_of_family(block)) {
                blocks.extend(pool.take(&used));
            }
        }
        if blocks.len() == before {
            // The pools are used up: a node that leaves frees a block.
            self.unsettled.insert(name);
            return None;
        }
        self.open.insert(name.clone(), blocks.clone(), now);
        Some(PodBlockAssignment { node: name, blocks })
    }
}
