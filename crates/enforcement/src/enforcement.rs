//! The policies in force on a node, the peers that they distinguish, and the policy of each subject.

use crate::addresses::Addresses;
use crate::found_blocks::FoundBlock;
use crate::groupings::Groupings;
use crate::peer_changes::PeerChanges;
use crate::row_changes::RowChanges;
use abi::endpoint;
use abi::identity::HOST;
use abi::row::{MapOp, Row};
use foldhash::HashMap;
use identity::{Sequence, SharedMap};
use policy::book::{HttpRules, SetChanges};
use policy::catalog::Catalog;
use policy::cidr::{AddressSide, BlockChanges, Blocks, blocks_of};
use policy::names::DomainNames;
use policy::registry::Registry;
use policy::rule::{Cidr, EnforcementMode, Policy, PolicyId, Subject};
use policy::set::PolicyKey;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Policies, and what they compile to for the subjects of the node.
///
/// A change of a policy or of a peer marks the subjects to which another policy may apply; [`Self::settle`] looks at these
/// subjects only.
#[derive(Clone, Debug)]
pub struct Enforcement {
    pub(crate) registry: Registry,
    pub(crate) addresses: Addresses,
    pub(crate) groupings: Groupings,
    /// Compiled policies by number.
    pub(crate) in_force: SharedMap<u32, InForce>,
    pub(crate) numbers: HashMap<Arc<PolicyKey>, u32>,
    pub(crate) policy_numbers: Sequence,
    /// The policy of each subject, by peer number.
    pub(crate) assigned: HashMap<u32, u32>,
    /// Policies that lost their last subject.
    pub(crate) idle: BTreeSet<u32>,
    /// Policies with rules that match domain names.
    pub(crate) with_domains: BTreeSet<u32>,
    /// Marked subjects.
    pub(crate) marked: BTreeSet<u32>,
    pub(crate) peer_changes: PeerChanges,
    /// How the blocks in force changed since the last [`Self::take_block_changes`].
    block_changes: BlockChanges,
    /// Blocks that stay until no packet reads the policies that named them.
    released: Vec<(Cidr, AddressSide)>,
    /// Blocks that the last step removed. Policies in the maps name their classes if the writes of that step failed.
    pub(crate) removed_blocks: Vec<FoundBlock>,
}

/// One policy, its grouping, and how many subjects it has.
#[derive(Clone, Debug)]
pub struct InForce {
    pub(crate) key: Arc<PolicyKey>,
    pub(crate) grouping: u32,
    /// The flags of endpoints under this policy.
    pub(crate) flags: u8,
    pub(crate) subjects: usize,
}

/// The policy part of an endpoint's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The number of the policy.
    pub policy: u32,
    /// The grouping that the policy uses.
    pub grouping: endpoint::GroupingNumber,
    /// The directions in which the policy is enforced.
    pub flags: u8,
}

impl InForce {
    /// The selection that the policy is compiled from.
    pub fn key(&self) -> &PolicyKey {
        &self.key
    }
}

impl Default for Enforcement {
    fn default() -> Self {
        Self {
            registry: Registry::new(),
            addresses: Addresses::default(),
            groupings: Groupings::default(),
            in_force: SharedMap::new(),
            numbers: HashMap::default(),
            policy_numbers: Sequence::new(1..=u32::MAX),
            assigned: HashMap::default(),
            idle: BTreeSet::new(),
            with_domains: BTreeSet::new(),
            marked: BTreeSet::new(),
            peer_changes: PeerChanges::default(),
            block_changes: BlockChanges::default(),
            released: Vec::new(),
            removed_blocks: Vec::new(),
        }
    }
}

impl Enforcement {
    /// The policies, the peers that their rules match, and rules and rule sets by number.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The compiled policies by number; a clone shares them.
    pub fn in_force(&self) -> &SharedMap<u32, InForce> {
        &self.in_force
    }

    /// The blocks of addresses that policies name.
    pub fn blocks(&self) -> &Blocks {
        &self.addresses.blocks
    }

    /// The domain names of addresses outside the cluster.
    pub fn names(&self) -> &DomainNames {
        &self.addresses.names
    }

    /// The policy part of the endpoint row of a subject; none if the subject has no policy yet.
    pub fn assignment(&self, subject: u32) -> Option<Assignment> {
        let policy = *self.assigned.get(&subject)?;
        let InForce { grouping, flags, .. } = self.in_force[&policy];
        Some(Assignment { policy, grouping: endpoint::GroupingNumber::new(grouping), flags })
    }

    /// All rows of all policies, groupings and classes in force.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let policies = self.in_force.iter().filter_map(|(number, InForce { grouping, .. })| {
            Some((*number, self.groupings.of(*grouping).policy(*number)?))
        });
        let policies = policies.flat_map(|(number, compiled)| self.addresses.rows_of(number, compiled));
        policies.chain(self.groupings.rows()).chain(self.registry.book.class_rows())
    }

    /// Marks a subject: another policy may apply to it.
    pub fn mark(&mut self, subject: u32) {
        self.marked.insert(subject);
    }

    /// Decides for which subjects policies are enforced.
    pub fn enforce(&mut self, mode: EnforcementMode) {
        self.registry.policies.enforce(mode);
        self.marked.extend(self.assigned.keys().chain([&HOST]));
    }

    /// Puts a policy into force, in place of the one with its name.
    pub fn put_policy(&mut self, policy: Policy) {
        let id = policy.id.clone();
        let before = self.registry.put(policy);
        let after = self.registry.policies.resolved(&id).cloned();
        self.follow_policy(before.as_deref(), after.as_deref());
    }

    /// Takes a policy out of force.
    pub fn remove_policy(&mut self, id: &PolicyId) {
        let before = self.registry.remove(id);
        self.follow_policy(before.as_deref(), None);
    }

    /// Changes the objects that policies refer to, and applies the change to each policy that refers to one.
    pub fn refer(&mut self, change: impl FnOnce(&mut Catalog)) {
        for changed in self.registry.refer(change) {
            self.follow_policy(Some(&changed.before), Some(&changed.after));
        }
    }

    /// Applies the change of a policy: marks its subjects, and counts its blocks. The old blocks stay until no packet reads
    /// the old policy.
    fn follow_policy(&mut self, before: Option<&Policy>, after: Option<&Policy>) {
        for spec in [before, after].into_iter().flatten().flat_map(|policy| &policy.specs) {
            match &spec.subject {
                Subject::Nodes(_) => _ = self.marked.insert(HOST),
                Subject::Workloads(selector) => {
                    self.marked.extend(self.registry.directory.matching(selector));
                }
            }
        }
        self.insert_blocks(after.map(blocks_of).unwrap_or_default());
        self.released.extend(before.into_iter().flat_map(blocks_of));
    }

    fn insert_blocks(&mut self, blocks: Vec<(Cidr, AddressSide)>) {
        let changes = self.addresses.blocks.insert_all(blocks);
        self.block_changes.append(changes);
    }

    /// Gives an address outside the cluster a class of its own.
    pub fn insert_address(&mut self, address: IpAddr) {
        self.insert_blocks(vec![(Cidr::host(address), AddressSide::World)]);
    }

    /// Reverts one [`Self::insert_address`], once [`Self::release_blocks`] is called.
    pub fn release_address(&mut self, address: IpAddr) {
        self.released.push((Cidr::host(address), AddressSide::World));
    }

    /// Counts a block whose class has this number in rows that were found in the maps. Nothing changes if the block or the
    /// number has another meaning. The policies that named the block are unknown, so the block is released with theirs.
    pub(crate) fn restore_block(&mut self, block: Cidr, side: AddressSide, number: u32) {
        if self.addresses.blocks.restore(block, side, number) {
            self.released.push((block, side));
        }
    }

    /// Removes the blocks that no policy and no domain name uses any more, and returns whether there were such. The caller
    /// must write the rows that follow after the grace time: packets that started before still read the old policies.
    pub fn release_blocks(&mut self) -> bool {
        let released = std::mem::take(&mut self.released);
        let is_some = !released.is_empty();
        let changes = self.addresses.blocks.remove_all(released);
        let removed = changes.removed.iter().map(|class| (class.block, class.side, class.number));
        self.removed_blocks = removed.collect();
        self.block_changes.append(changes);
        is_some
    }

    /// How the blocks in force changed since the last call.
    pub fn take_block_changes(&mut self) -> BlockChanges {
        std::mem::take(&mut self.block_changes)
    }

    /// Replaces the names of an address outside the cluster, which has a class of its own while it has names. The names
    /// before are returned, if they were others.
    pub fn put_names(
        &mut self,
        address: IpAddr,
        names: &BTreeSet<String>,
        rows: &mut RowChanges,
    ) -> Option<BTreeSet<String>> {
        if self.addresses.names.of(address) == names {
            return None;
        }
        let before = self.addresses.names.put(address, names.iter().map(String::as_str));
        if before.is_empty() {
            self.insert_address(address);
        }
        let class = self.addresses.blocks.class(&Cidr::host(address), AddressSide::World);
        let class = class.expect("an address with names has a class");
        for number in &self.with_domains {
            let Some(InForce { grouping, .. }) = self.in_force.get(number) else { continue };
            let grouped = self.groupings.of_mut(*grouping);
            let (Some(compiled), grouping) = grouped.policy_mut(Some(*number)) else { continue };
            rows.remove(compiled.named_row(*number, &class, &before));
            let writes = compiled.set_names(*number, (&class, names), grouping, &mut self.registry.book);
            rows.put(writes.into_iter().filter_map(MapOp::put));
        }
        if names.is_empty() {
            self.release_address(address);
        }
        Some(before)
    }

    /// Restores the sets of HTTP rules that were published before a restart: the same rules have the same number again.
    /// No number up to `last` gets another meaning.
    pub fn restore_rule_sets(&mut self, published: BTreeMap<u32, HttpRules>, last: u32) {
        for (number, rules) in published {
            self.registry.book.restore_set(number, rules);
        }
        self.registry.book.number_above(0, last);
    }

    /// Forgets the restored sets of HTTP rules that no policy has named since.
    pub fn sweep_rule_sets(&mut self) {
        self.registry.book.sweep_sets();
    }

    /// The sets of HTTP rules that were added and removed since the last call.
    pub fn take_set_changes(&mut self) -> SetChanges {
        self.registry.book.take_set_changes()
    }
}
