//! Changes of policies, of the groups of blocks that they refer to, and of domain names; the blocks in force follow.

use crate::change::Change;
use crate::ledger::RowSubject;
use crate::step::{Step, Subject};
use crate::world::World;
use abi::identity::HOST;
use enforcement::Enforcement;
use policy::catalog::{Catalog, CidrGroupEntry};
use policy::cidr::{AddressSide, BlockChanges, blocks_of};
use policy::compiled_rule::Numbers;
use policy::rule::{Cidr, Policy, PolicyId, Subject as PolicySubject};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl World {
    pub(crate) fn put_policy(&mut self, policy: Policy, step: &mut Step) {
        let id = policy.id.clone();
        step.renamed.policies.insert(id.clone());
        match self.enforcement.policies.policy(&id) {
            Some(before) if **before == policy => return,
            Some(before) => step.undo.push(Change::Policy(Policy::clone(before))),
            None => step.undo.push(Change::RemovePolicy(id.clone())),
        }
        let Enforcement { policies, book, .. } = &mut self.enforcement;
        let before = policies.apply(policy, &mut Numbers { directory: &mut self.peers.directory, book });
        let after = self.enforcement.policies.resolved(&id).cloned();
        self.follow_policy(before.as_deref(), after.as_deref(), step);
    }

    pub(crate) fn remove_policy(&mut self, id: &PolicyId, step: &mut Step) {
        let Some(before) = self.enforcement.policies.policy(id) else { return };
        step.undo.push(Change::Policy(Policy::clone(before)));
        let before = self.enforcement.policies.remove(id);
        self.follow_policy(before.as_deref(), None, step);
        self.enforcement.book.forget(id);
    }

    /// Applies the change of a policy: marks its subjects, and counts its blocks. The old blocks stay until no packet reads
    /// the old policy.
    fn follow_policy(&mut self, before: Option<&Policy>, after: Option<&Policy>, step: &mut Step) {
        for spec in [before, after].into_iter().flatten().flat_map(|policy| &policy.specs) {
            match &spec.subject {
                PolicySubject::Nodes(_) => step.mark(Subject::Peer(HOST)),
                PolicySubject::Workloads(selector) => {
                    let peers = self.peers.directory.matching(selector);
                    peers.into_iter().for_each(|peer| step.mark(Subject::Peer(peer)));
                }
            }
        }
        if let Some(after) = after {
            let changes = self.enforcement.blocks.insert(after);
            self.mark_blocks(&changes, step);
        }
        step.released.extend(before.into_iter().flat_map(blocks_of));
    }

    /// Removes blocks that no policy and no domain name uses any more.
    pub(crate) fn release_blocks(&mut self, step: &mut Step) {
        let changes = self.enforcement.blocks.remove_all(std::mem::take(&mut step.released));
        let removed = changes.removed.iter().map(|class| (class.block, class.side, class.number));
        self.removed_blocks = removed.collect();
        self.mark_blocks(&changes, step);
    }

    /// Marks the rows that a change of the blocks in force may change.
    fn mark_blocks(&self, BlockChanges { added, reparented, removed }: &BlockChanges, step: &mut Step) {
        for class in added.iter().chain(removed) {
            step.mark(Subject::Row(RowSubject::Nesting(class.block, class.side)));
            match class.side {
                AddressSide::World => step.mark(Subject::Row(RowSubject::Address(class.block))),
                AddressSide::Inside => {
                    self.owners_within(&class.block).for_each(|(address, _)| step.mark_address(*address));
                }
            }
        }
        for (class, _) in reparented {
            step.mark(Subject::Row(RowSubject::Nesting(class.block, class.side)));
        }
    }

    /// Gives an address outside the cluster a class of its own.
    pub(crate) fn insert_block(&mut self, address: IpAddr, step: &mut Step) {
        let changes = self.enforcement.blocks.insert_all(vec![(Cidr::host(address), AddressSide::World)]);
        self.mark_blocks(&changes, step);
    }

    /// Reverts one [`Self::insert_block`], after the grace time.
    pub(crate) fn release_block(&mut self, address: IpAddr, step: &mut Step) {
        step.released.push((Cidr::host(address), AddressSide::World));
    }

    pub(crate) fn put_group(&mut self, name: String, group: CidrGroupEntry, step: &mut Step) {
        let undo = match self.enforcement.policies.catalog().cidr_group(&name) {
            Some(before) => Change::CidrGroup { name: name.clone(), group: before.clone() },
            None => Change::RemoveCidrGroup(name.clone()),
        };
        step.undo.push(undo);
        self.refer(step, |catalog| catalog.put_cidr_group(&name, group));
    }

    pub(crate) fn remove_group(&mut self, name: String, step: &mut Step) {
        if let Some(group) = self.enforcement.policies.catalog().cidr_group(&name).cloned() {
            self.refer(step, |catalog| catalog.remove_cidr_group(&name));
            step.undo.push(Change::CidrGroup { name, group });
        }
    }

    /// Changes the objects that policies refer to, and applies the change to each policy that refers to one.
    pub(crate) fn refer(&mut self, step: &mut Step, change: impl FnOnce(&mut Catalog)) {
        let Enforcement { policies, book, .. } = &mut self.enforcement;
        let numbers = &mut Numbers { directory: &mut self.peers.directory, book };
        for changed in policies.refer(change, numbers) {
            self.follow_policy(Some(&changed.before), Some(&changed.after), step);
        }
    }

    pub(crate) fn put_names(&mut self, address: IpAddr, names: BTreeSet<String>, step: &mut Step) {
        let before = self.enforcement.names.of(address).clone();
        if before == names {
            return;
        }
        if before.is_empty() {
            self.insert_block(address, step);
        }
        self.enforcement.name(address, &names, &mut step.rows);
        if names.is_empty() {
            self.release_block(address, step);
        }
        step.undo.push(Change::Names { address, names: before });
    }
}
