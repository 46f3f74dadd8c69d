//! Changes of policies, of the objects that they refer to, and of domain names.

use crate::change::Change;
use crate::ledger::RowSubject;
use crate::step::Step;
use crate::world::World;
use policy::book::HttpRules;
use policy::catalog::CidrGroupEntry;
use policy::cidr::{AddressSide, BlockChanges};
use policy::rule::{Policy, PolicyId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl World {
    pub(crate) fn put_policy(&mut self, policy: Policy, step: &mut Step) -> Option<Change> {
        let id = policy.id.clone();
        step.renamed.policies.insert(id.clone());
        let undo = match self.registry().policies.policy(&id) {
            Some(before) if **before == policy => return None,
            Some(before) => Change::Policy(Policy::clone(before)),
            None => Change::RemovePolicy(id),
        };
        self.enforcement.put_policy(policy);
        Some(undo)
    }

    pub(crate) fn remove_policy(&mut self, id: &PolicyId) -> Option<Change> {
        let before = Policy::clone(self.registry().policies.policy(id)?);
        self.enforcement.remove_policy(id);
        Some(Change::Policy(before))
    }

    pub(crate) fn put_group(&mut self, name: String, group: CidrGroupEntry) -> Option<Change> {
        let undo = match self.registry().policies.catalog().cidr_group(&name) {
            Some(before) => Change::CidrGroup { name: name.clone(), group: before.clone() },
            None => Change::RemoveCidrGroup(name.clone()),
        };
        self.enforcement.refer(|catalog| catalog.put_cidr_group(&name, group));
        Some(undo)
    }

    pub(crate) fn remove_group(&mut self, name: String) -> Option<Change> {
        let group = self.registry().policies.catalog().cidr_group(&name)?.clone();
        self.enforcement.refer(|catalog| catalog.remove_cidr_group(&name));
        Some(Change::CidrGroup { name, group })
    }

    pub(crate) fn put_names(
        &mut self,
        address: IpAddr,
        names: BTreeSet<String>,
        step: &mut Step,
    ) -> Option<Change> {
        let before = self.enforcement.put_names(address, &names, &mut step.rows)?;
        Some(Change::Names { address, names: before })
    }

    /// Marks the rows that changes of the blocks in force may change.
    pub(crate) fn mark_blocks(&mut self, step: &mut Step) {
        let BlockChanges { added, reparented, removed } = self.enforcement.take_block_changes();
        for class in added.iter().chain(&removed) {
            match class.side {
                AddressSide::World => step.mark(RowSubject::Address(class.block)),
                AddressSide::Inside => {
                    self.owners_within(&class.block).for_each(|(address, _)| step.mark_address(*address));
                }
            }
        }
        let reparented = reparented.iter().map(|(class, _)| class);
        for class in added.iter().chain(&removed).chain(reparented) {
            step.mark(RowSubject::Nesting(class.block, class.side));
        }
    }

    /// Restores the sets of HTTP rules that were published before a restart: the same rules have the same number again, and
    /// need not be published anew. No number up to `last` gets another meaning, since flows and files may remember it.
    pub fn restore_rule_sets(&mut self, published: BTreeMap<u32, HttpRules>, last: u32) {
        self.enforcement.restore_rule_sets(published, last);
    }

    /// Forgets the restored sets of HTTP rules that no policy has named since.
    pub fn sweep_rule_sets(&mut self) {
        self.enforcement.sweep_rule_sets();
    }
}
