//! The policies in force: compiled once for all workloads to which the same rules apply.

use crate::peers::{Member, Movement, Peers};
use abi::endpoint::flag;
use abi::row::Row;
use policy::book::RuleBook;
use policy::cidr::{Blocks, CidrClass};
use policy::compile::Compiled;
use policy::rule::{Direction, Policy, PolicyId};
use policy::set::{PolicyKey, PolicySet};
use std::collections::{BTreeMap, BTreeSet};

/// Policies and what they compile to for the workloads of the node.
#[derive(Clone, Debug, Default)]
pub struct Enforcement {
    pub(crate) policies: PolicySet,
    pub(crate) book: RuleBook,
    pub(crate) blocks: Blocks,
    in_force: BTreeMap<PolicyKey, InForce>,
    last_number: u32,
}

/// One compiled policy and its number.
#[derive(Clone, Debug)]
struct InForce {
    number: u32,
    compiled: Compiled,
}

/// What an endpoint's row says of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) policy: u32,
    pub(crate) flags: u32,
}

impl Enforcement {
    /// Starts numbering policies above this number, which flows may remember from before.
    pub(crate) fn number_above(&mut self, number: u32) {
        self.last_number = self.last_number.max(number);
    }

    /// Puts a policy in force, in place of the one with its name.
    pub(crate) fn put(&mut self, policy: Policy) {
        let id = policy.id.clone();
        let replaced = self.policies.apply(policy);
        if let Some(applied) = self.policies.resolved(&id) {
            self.blocks.insert(applied);
        }
        if let Some(replaced) = replaced {
            self.blocks.remove(&replaced);
        }
    }

    /// Takes a policy out of force.
    pub(crate) fn remove(&mut self, id: &PolicyId) {
        if let Some(removed) = self.policies.remove(id) {
            self.blocks.remove(&removed);
            self.book.forget(id);
        }
    }

    /// The policies in force.
    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// Rules and rule sets by number.
    pub fn book(&self) -> &RuleBook {
        &self.book
    }

    /// Tells the compiled policies which peers came and went.
    pub(crate) fn follow(&mut self, movement: &Movement, peers: &Peers) {
        for InForce { number, compiled } in self.in_force.values_mut() {
            for peer in &movement.came {
                compiled.learn(*number, *peer, &peers.directory, &mut self.book);
            }
            for peer in &movement.went {
                compiled.forget(*number, *peer);
            }
        }
    }

    /// The policy of each member; what nobody needs any more is given up.
    pub(crate) fn assign<'a>(
        &mut self,
        members: impl Iterator<Item = (u32, &'a Member)>,
        peers: &mut Peers,
    ) -> BTreeMap<u32, Assignment> {
        let mut needed = BTreeSet::new();
        let mut assignments = BTreeMap::new();
        for (endpoint, member) in members {
            let selection = self.policies.selection(&member.party());
            let key = selection.key();
            let in_force = self.in_force.entry(key.clone()).or_insert_with(|| {
                self.last_number += 1;
                let compiled = Compiled::new(&selection, &mut peers.directory, &mut self.book);
                InForce { number: self.last_number, compiled }
            });
            assignments.insert(endpoint, in_force.assignment());
            needed.insert(key);
        }
        let idle: Vec<PolicyKey> =
            self.in_force.keys().filter(|key| !needed.contains(key)).cloned().collect();
        for key in idle {
            if let Some(gone) = self.in_force.remove(&key) {
                gone.compiled.release(&mut peers.directory, &mut self.book);
            }
        }
        assignments
    }

    /// All rows of all policies in force.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        let classes: Vec<CidrClass> = self.blocks.classes().collect();
        self.in_force.values().flat_map(move |InForce { number, compiled }| {
            let cidr: Vec<Row> =
                classes.iter().filter_map(|class| compiled.cidr_row(*number, class)).collect();
            compiled.rows(*number).into_iter().chain(cidr)
        })
    }
}

impl InForce {
    fn assignment(&self) -> Assignment {
        let bit = |direction, bit| if self.compiled.enforces(direction) { bit } else { 0 };
        let flags =
            bit(Direction::Ingress, flag::ENFORCE_INGRESS) | bit(Direction::Egress, flag::ENFORCE_EGRESS);
        Assignment { policy: self.number, flags }
    }
}
