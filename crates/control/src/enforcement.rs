//! The policies in force: compiled once for all workloads to which the same rules apply.

use crate::peers::{Marks, Movement, Peers};
use crate::writes::Draft;
use abi::endpoint::flag;
use abi::identity::{HOST, is_workload};
use abi::row::{MapOp, Row, RowKey};
use foldhash::HashMap;
use policy::book::RuleBook;
use policy::cidr::{Blocks, CidrClass, Side};
use policy::compile::Compiled;
use policy::directory::{Directory, SelectorId};
use policy::names::Names;
use policy::rule::{Cidr, Direction};
use policy::set::{PolicyKey, PolicySet, Selection};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::net::IpAddr;

/// Policies and what they compile to for the workloads of the node.
#[derive(Clone, Debug, Default)]
pub struct Enforcement {
    pub(crate) policies: PolicySet,
    pub(crate) book: RuleBook,
    pub(crate) blocks: Blocks,
    pub(crate) names: Names,
    in_force: BTreeMap<u32, InForce>,
    numbers: HashMap<PolicyKey, u32>,
    /// The policy of each subject, by peer number.
    assigned: BTreeMap<u32, u32>,
    /// Policies that lost their last subject.
    idle: BTreeSet<u32>,
    interest: Interest,
    /// Policies that ask for domain names.
    asking: BTreeSet<u32>,
    last_number: u32,
}

/// One compiled policy, and how many subjects it has.
#[derive(Clone, Debug)]
struct InForce {
    key: PolicyKey,
    compiled: Compiled,
    subjects: usize,
}

/// Which policies can tell a peer from others: by a selector, or by the name of a port.
#[derive(Clone, Debug, Default)]
struct Interest {
    by_selector: HashMap<SelectorId, BTreeSet<u32>>,
    by_port_name: HashMap<String, BTreeSet<u32>>,
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

    /// The policies in force.
    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// Rules and rule sets by number.
    pub fn book(&self) -> &RuleBook {
        &self.book
    }

    /// What the endpoint's row says for a subject; none where it has no policy yet.
    pub(crate) fn assignment(&self, subject: u32) -> Option<Assignment> {
        let policy = *self.assigned.get(&subject)?;
        let compiled = &self.in_force[&policy].compiled;
        let bit = |direction, bit| if compiled.enforces(direction) { bit } else { 0 };
        let flags =
            bit(Direction::Ingress, flag::ENFORCE_INGRESS) | bit(Direction::Egress, flag::ENFORCE_EGRESS);
        Some(Assignment { policy, flags })
    }

    /// Tells the compiled policies that care which peers went and came.
    pub(crate) fn follow(&mut self, movement: &Movement, peers: &Peers, draft: &mut Draft) {
        for (peer, marks) in &movement.went {
            for number in self.caring(*peer, marks, peers) {
                if let Some(InForce { compiled, .. }) = self.in_force.get_mut(&number) {
                    draft.drop_keys(compiled.forget(number, *peer));
                }
            }
        }
        for (peer, marks) in &movement.came {
            for number in self.caring(*peer, marks, peers) {
                if let Some(InForce { compiled, .. }) = self.in_force.get_mut(&number) {
                    draft.put(compiled.learn(number, *peer, &peers.directory, &mut self.book));
                }
            }
        }
    }

    /// The policies that have rows of a peer.
    fn caring(&self, peer: u32, marks: &Marks, peers: &Peers) -> Vec<u32> {
        match is_workload(peer) && peers.directory.is_ordinary(peer) {
            true => self.interest.of(marks),
            false => self.in_force.keys().copied().collect(),
        }
    }

    /// What applies to a subject now; none where nobody is the subject, or where the node has no policy about itself.
    pub(crate) fn selection(&self, subject: u32, peers: &Peers) -> Option<Selection> {
        let selection = self.policies.selection(&peers.subject(subject)?);
        let is_asked = subject != HOST || selection.policies().next().is_some();
        is_asked.then_some(selection)
    }

    /// Whether the subject is under just this selection already.
    pub(crate) fn is_under(&self, subject: u32, selection: Option<&Selection>) -> bool {
        let assigned = self.assigned.get(&subject).map(|number| &self.in_force[number].key);
        assigned == selection.map(Selection::key).as_ref()
    }

    /// Puts a subject under a selection, which is compiled if nobody is under it yet.
    pub(crate) fn assign(
        &mut self,
        subject: u32,
        selection: Option<&Selection>,
        directory: &mut Directory,
        draft: &mut Draft,
    ) {
        let number = selection.map(|selection| {
            let number = match self.numbers.get(&selection.key()) {
                Some(number) => *number,
                None => self.compile(selection, directory, draft),
            };
            self.in_force.get_mut(&number).expect("a numbered policy is in force").subjects += 1;
            number
        });
        let before = match number {
            Some(number) => self.assigned.insert(subject, number),
            None => self.assigned.remove(&subject),
        };
        if let Some(before) = before {
            let left = self.in_force.get_mut(&before).expect("an assigned policy is in force");
            left.subjects -= 1;
            if left.subjects == 0 {
                self.idle.insert(before);
            }
        }
    }

    fn compile(&mut self, selection: &Selection, directory: &mut Directory, draft: &mut Draft) -> u32 {
        self.last_number += 1;
        let number = self.last_number;
        let mut compiled = Compiled::new(selection, directory, &mut self.book);
        if compiled.has_domains() {
            for (class, names) in named(&self.blocks, &self.names) {
                compiled.name(number, &class, names, &mut self.book);
            }
            self.asking.insert(number);
        }
        draft.put(rows(number, &compiled, &self.blocks, &self.names));
        self.interest.add(number, &compiled);
        self.numbers.insert(selection.key(), number);
        self.in_force.insert(number, InForce { key: selection.key(), compiled, subjects: 0 });
        number
    }

    /// Gives up the policies that nobody is under any more.
    pub(crate) fn retire(&mut self, directory: &mut Directory, draft: &mut Draft) {
        for number in std::mem::take(&mut self.idle) {
            if self.in_force.get(&number).is_none_or(|policy| policy.subjects > 0) {
                continue;
            }
            if let Some(InForce { key, compiled, .. }) = self.in_force.remove(&number) {
                draft.drop(rows(number, &compiled, &self.blocks, &self.names));
                self.asking.remove(&number);
                self.interest.remove(number, &compiled);
                self.numbers.remove(&key);
                compiled.release(directory, &mut self.book);
            }
        }
    }

    /// Notes the names of an address outside the cluster, which has a class of its own, in place of those it had.
    pub(crate) fn name(&mut self, address: IpAddr, names: &BTreeSet<String>, draft: &mut Draft) {
        let before = self.names.put(address, names.iter().map(String::as_str));
        let class = self.blocks.class(&Cidr::host(address), Side::World).expect("who has names has a class");
        for number in &self.asking {
            let Some(InForce { compiled, .. }) = self.in_force.get_mut(number) else { continue };
            draft.drop(compiled.named_row(*number, &class, &before));
            let writes = compiled.name(*number, &class, names, &mut self.book);
            draft.put(writes.into_iter().filter_map(|write| match write {
                MapOp::Put(row) => Some(row),
                MapOp::Delete(_) => None,
            }));
        }
    }

    /// All rows of all policies in force.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        let policies = self.in_force.iter();
        policies.flat_map(|(number, policy)| rows(*number, &policy.compiled, &self.blocks, &self.names))
    }
}

/// All rows of a policy. What its own block of one address says of that, names may say more of.
fn rows<'a>(
    number: u32,
    compiled: &'a Compiled,
    blocks: &'a Blocks,
    names: &'a Names,
) -> impl Iterator<Item = Row> {
    let named = compiled.has_domains().then(|| named(blocks, names)).into_iter().flatten();
    let named = named.filter_map(move |(class, names)| compiled.named_row(number, &class, names));
    let parts = compiled.block_rows(number, blocks).chain(named);
    let parts: BTreeMap<RowKey, Row> = parts.filter_map(|row| Some((row.key()?, row))).collect();
    compiled.rows(number).chain(parts.into_values())
}

/// The classes of addresses that have names, with the names.
fn named<'a>(
    blocks: &'a Blocks,
    names: &'a Names,
) -> impl Iterator<Item = (CidrClass, &'a BTreeSet<String>)> {
    names
        .iter()
        .filter_map(|(address, names)| Some((blocks.class(&Cidr::host(address), Side::World)?, names)))
}

impl Interest {
    fn add(&mut self, number: u32, compiled: &Compiled) {
        for selector in compiled.selectors() {
            self.by_selector.entry(selector).or_default().insert(number);
        }
        for name in compiled.peer_port_names() {
            self.by_port_name.entry(name.to_owned()).or_default().insert(number);
        }
    }

    fn remove(&mut self, number: u32, compiled: &Compiled) {
        for selector in compiled.selectors() {
            remove_one(&mut self.by_selector, &selector, number);
        }
        for name in compiled.peer_port_names() {
            remove_one(&mut self.by_port_name, name, number);
        }
    }

    /// The policies that can tell the peer from others.
    fn of(&self, marks: &Marks) -> Vec<u32> {
        let by_selector = marks.selectors.iter().filter_map(|selector| self.by_selector.get(selector));
        let by_name = marks.ports.names().filter_map(|name| self.by_port_name.get(name));
        let numbers: BTreeSet<u32> = by_selector.chain(by_name).flatten().copied().collect();
        numbers.into_iter().collect()
    }
}

/// Removes a number from the set under a key, and the set with its last number.
fn remove_one<K, Q>(sets: &mut HashMap<K, BTreeSet<u32>>, key: &Q, number: u32)
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    if let Some(set) = sets.get_mut(key) {
        set.remove(&number);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
