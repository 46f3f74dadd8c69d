//! The policies in force: compiled once for all subjects that the same specs select.

use crate::groupings::Groupings;
use crate::peer_changes::PeerChanges;
use crate::row_changes::RowChanges;
use abi::endpoint::{self, flag};
use abi::identity::HOST;
use abi::row::{MapOp, Row, RowKey};
use foldhash::{HashMap, HashSet};
use identity::Sequence;
use policy::book::RuleBook;
use policy::cidr::{AddressSide, Blocks, CidrClass};
use policy::compile::CompiledPolicy;
use policy::directory::Directory;
use policy::endpoint_view::EndpointView;
use policy::grouping::Grouping;
use policy::names::DomainNames;
use policy::rule::{Cidr, Direction};
use policy::set::{PolicyKey, PolicySet, Selection};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Policies and what they compile to for the workloads of the node.
#[derive(Clone, Debug)]
pub struct Enforcement {
    /// The policies, and which of their specs apply to a subject.
    pub policies: PolicySet,
    /// Rules, rule sets, columns and classes by number.
    pub book: RuleBook,
    /// The blocks of addresses that policies name.
    pub blocks: Blocks,
    /// The domain names of addresses outside the cluster.
    pub names: DomainNames,
    in_force: HashMap<u32, InForce>,
    numbers: HashMap<PolicyKey, u32>,
    /// The policy of each subject, by peer number.
    assigned: HashMap<u32, u32>,
    /// Policies that lost their last subject.
    idle: BTreeSet<u32>,
    groupings: Groupings,
    /// Policies with rules that match domain names.
    with_domains: BTreeSet<u32>,
    policy_numbers: Sequence,
}

/// One policy, its grouping, and how many subjects it has.
#[derive(Clone, Debug)]
struct InForce {
    key: PolicyKey,
    grouping: u32,
    /// The flags of endpoints under this policy.
    flags: u8,
    subjects: usize,
}

/// A subject, and the selection that applies to it from now on.
pub type Reassignment = (u32, Option<(PolicyKey, Selection)>);

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

impl Default for Enforcement {
    fn default() -> Self {
        Self {
            policies: PolicySet::default(),
            book: RuleBook::default(),
            blocks: Blocks::default(),
            names: DomainNames::default(),
            in_force: HashMap::default(),
            numbers: HashMap::default(),
            assigned: HashMap::default(),
            idle: BTreeSet::new(),
            groupings: Groupings::default(),
            with_domains: BTreeSet::new(),
            policy_numbers: Sequence::new(1..=u32::MAX),
        }
    }
}

impl Enforcement {
    /// Starts numbering policies above this number, which conntrack entries from before a restart may hold.
    pub fn number_above(&mut self, number: u32) {
        self.policy_numbers.continue_above(number);
    }

    /// Starts numbering groupings above this number, which the maps may still hold.
    pub fn number_groupings_above(&mut self, number: u32) {
        self.groupings.number_above(number);
    }

    /// The policies in force.
    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// Rules and rule sets by number.
    pub fn book(&self) -> &RuleBook {
        &self.book
    }

    /// The policy part of the endpoint row of a subject; none if the subject has no policy yet.
    pub fn assignment(&self, subject: u32) -> Option<Assignment> {
        let policy = *self.assigned.get(&subject)?;
        let InForce { grouping, flags, .. } = self.in_force[&policy];
        Some(Assignment { policy, grouping: endpoint::GroupingNumber::new(grouping), flags })
    }

    /// Moves added, removed and changed peers to their groups. The groupings are returned in which a peer that stays changed
    /// group.
    pub fn follow(
        &mut self,
        peer_changes: &PeerChanges,
        directory: &Directory,
        rows: &mut RowChanges,
    ) -> HashSet<u32> {
        self.groupings.follow(peer_changes, directory, &mut self.book, rows)
    }

    /// The selection that applies to a subject now; none if no such subject exists, or if no policy selects the node.
    pub fn selection(&self, subject: Option<&EndpointView<'_>>) -> Option<Selection> {
        let subject = subject?;
        let selection = self.policies.selection(subject);
        let is_asked = subject.number != HOST || selection.policies().next().is_some();
        is_asked.then_some(selection)
    }

    /// Whether the policy of the subject was compiled from this selection.
    pub fn is_under(&self, subject: u32, selection: Option<&PolicyKey>) -> bool {
        self.assigned.get(&subject).map(|number| &self.in_force[number].key) == selection
    }

    /// Assigns to subjects the policies that apply to them now; a policy without subjects so far is compiled. In the
    /// groupings in `regrouped` peers changed their groups; workloads left the peers in `left`, and are under the policies
    /// of those until their rows are written.
    pub fn assign(
        &mut self,
        reassignments: Vec<Reassignment>,
        (regrouped, left): (&HashSet<u32>, &BTreeSet<u32>),
        directory: &mut Directory,
        rows: &mut RowChanges,
    ) {
        let left: HashSet<u32> =
            left.iter().filter_map(|subject| self.assigned.get(subject)).copied().collect();
        let mut together: HashMap<(u32, &PolicyKey), usize> = HashMap::default();
        let mut joined: HashSet<&PolicyKey> = HashSet::default();
        for (subject, selection) in &reassignments {
            let Some((key, _)) = selection else { continue };
            joined.insert(key);
            if let Some(before) = self.assigned.get(subject) {
                *together.entry((*before, key)).or_default() += 1;
            }
        }
        // A policy whose subjects all move to one other policy, and that no other subject joins: the other policy takes over its
        // grouping and columns.
        let whole = together.iter().filter(|((before, _), count)| {
            let InForce { subjects, key, .. } = &self.in_force[before];
            subjects == *count && !joined.contains(key)
        });
        let succeeded: HashSet<u32> = whole.map(|((before, _), _)| *before).collect();
        for (subject, selection) in reassignments {
            let before = self.assigned.get(&subject).copied();
            let succeeded = before.filter(|before| succeeded.contains(before));
            let number = selection.map(|(key, selection)| match self.numbers.get(&key) {
                Some(number) => *number,
                None => self.compile((key, selection), (succeeded, regrouped, &left), directory, rows),
            });
            self.put_under(subject, number);
        }
    }

    fn put_under(&mut self, subject: u32, number: Option<u32>) {
        let before = match number {
            Some(number) => self.assigned.insert(subject, number),
            None => self.assigned.remove(&subject),
        };
        if let Some(now) = number.and_then(|number| self.in_force.get_mut(&number)) {
            now.subjects += 1;
        }
        if let Some(before) = before {
            let left = self.in_force.get_mut(&before).expect("an assigned policy is in force");
            left.subjects -= 1;
            if left.subjects == 0 {
                self.idle.insert(before);
            }
        }
    }

    /// Compiles a selection, for the grouping of its predecessor `before`, if there is one.
    ///
    /// A policy that differs from its predecessor in at most one column keeps the predecessor's number: one put of that
    /// column's row switches all subjects. Any other policy gets a new number, and the row of each subject is switched.
    /// The number is also new if (a) a peer that the grouping distinguishes changes group in this step (the grouping is in
    /// `regrouped`), or (b) a workload leaves the predecessor in this step (the predecessor is in `left`): a packet could
    /// see one change without the other.
    fn compile(
        &mut self,
        (key, selection): (PolicyKey, Selection),
        (before, regrouped, left): (Option<u32>, &HashSet<u32>, &HashSet<u32>),
        directory: &mut Directory,
        rows: &mut RowChanges,
    ) -> u32 {
        let demand = selection.demand(directory);
        let known = before.map(|before| self.in_force[&before].grouping);
        let grouping = self.groupings.answering(&demand, known, (&mut *directory, &mut self.book), rows);
        let grouped = self.groupings.of_mut(grouping);
        let (mut of_before, of_both) = grouped.policy_mut(before);
        let known = (of_both, &*directory);
        let (mut compiled, classes) =
            CompiledPolicy::new((selection, &demand), known, of_before.as_deref_mut(), &mut self.book);
        rows.put(classes);
        rows.put(add_names(&mut compiled, of_both, named(&self.blocks, &self.names), &mut self.book));
        let (flags, has_domains) = (flags(&compiled), compiled.has_domains());
        let columns =
            |number, compiled: &CompiledPolicy| column_rows(number, compiled, &self.blocks, &self.names);
        let number = match before.zip(of_before) {
            Some((before, of_before))
                if !regrouped.contains(&grouping)
                    && !left.contains(&before)
                    && self.in_force[&before].flags == flags
                    && let Some([was, is]) =
                        differing(&columns(before, of_before), &columns(before, &compiled)) =>
            {
                rows.remove(was);
                rows.put(is);
                let gone = std::mem::replace(of_before, compiled);
                rows.remove(gone.class_rows());
                gone.release(&mut self.book);
                self.numbers.remove(&self.in_force[&before].key);
                before
            }
            _ => {
                let free = self.policy_numbers.take(|number| self.in_force.contains_key(&number));
                let number = free.expect("fewer policies than numbers fit in memory");
                rows.put(columns(number, &compiled).into_values());
                grouped.insert(number, compiled);
                number
            }
        };
        match has_domains {
            true => _ = self.with_domains.insert(number),
            false => _ = self.with_domains.remove(&number),
        }
        self.numbers.insert(key.clone(), number);
        let subjects = self.in_force.get(&number).map_or(0, |policy| policy.subjects);
        self.in_force.insert(number, InForce { key, grouping, flags, subjects });
        number
    }

    /// Removes the policies without subjects, and the rows of classes that were released.
    pub fn retire(&mut self, directory: &mut Directory, rows: &mut RowChanges) {
        for number in std::mem::take(&mut self.idle) {
            if self.in_force.get(&number).is_none_or(|policy| policy.subjects > 0) {
                continue;
            }
            let Some(InForce { key, grouping, .. }) = self.in_force.remove(&number) else { continue };
            self.numbers.remove(&key);
            self.with_domains.remove(&number);
            if let Some(compiled) = self.groupings.retire(grouping, number, directory, rows) {
                rows.remove(rows_of(number, &compiled, &self.blocks, &self.names));
                compiled.release(&mut self.book);
            }
        }
        self.policies.release_removed(directory);
        for (came, row) in self.book.changed_class_rows() {
            if came { rows.put([row]) } else { rows.remove([row]) }
        }
    }

    /// Replaces the names of an address outside the cluster, which has a class of its own.
    pub fn name(&mut self, address: IpAddr, names: &BTreeSet<String>, rows: &mut RowChanges) {
        let before = self.names.put(address, names.iter().map(String::as_str));
        let class =
            self.blocks.class(&Cidr::host(address), AddressSide::World).expect("who has names has a class");
        for number in &self.with_domains {
            let Some(InForce { grouping, .. }) = self.in_force.get(number) else { continue };
            let grouped = self.groupings.of_mut(*grouping);
            let (Some(compiled), grouping) = grouped.policy_mut(Some(*number)) else { continue };
            rows.remove(compiled.named_row(*number, &class, &before));
            let writes = compiled.set_names(*number, (&class, names), grouping, &mut self.book);
            rows.put(writes.into_iter().filter_map(MapOp::put));
        }
    }

    /// All rows of all policies, groupings and classes in force.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let policies = self.in_force.iter().filter_map(|(number, InForce { grouping, .. })| {
            Some((*number, self.groupings.of(*grouping).policy(*number)?))
        });
        let policies = policies.flat_map(|(number, one)| rows_of(number, one, &self.blocks, &self.names));
        policies.chain(self.groupings.rows()).chain(self.book.class_rows())
    }
}

/// Adds the columns of named addresses to a policy whose rules match domain names, and returns the class rows to add. The
/// policy has no number yet, so the rows that name these columns follow later.
fn add_names<'a>(
    compiled: &mut CompiledPolicy,
    grouping: &Grouping,
    named: impl Iterator<Item = (CidrClass, &'a BTreeSet<String>)>,
    book: &mut RuleBook,
) -> Vec<Row> {
    if !compiled.has_domains() {
        return Vec::new();
    }
    let writes = named.flat_map(|(class, names)| compiled.set_names(0, (&class, names), grouping, book));
    writes.filter_map(MapOp::put).filter(|row| matches!(row, Row::Class(..))).collect()
}

/// The flags of endpoints under a policy.
fn flags(compiled: &CompiledPolicy) -> u8 {
    let bit = |direction, bit| if compiled.enforces(direction) { bit } else { 0 };
    bit(Direction::Ingress, flag::ENFORCE_INGRESS) | bit(Direction::Egress, flag::ENFORCE_EGRESS)
}

/// All rows of a policy.
fn rows_of(
    number: u32,
    compiled: &CompiledPolicy,
    blocks: &Blocks,
    names: &DomainNames,
) -> impl Iterator<Item = Row> {
    compiled.class_rows().chain(column_rows(number, compiled, blocks, names).into_values())
}

/// The rows by which a policy names its columns. The column of a named address replaces the column of the block around it.
fn column_rows(
    number: u32,
    compiled: &CompiledPolicy,
    blocks: &Blocks,
    names: &DomainNames,
) -> BTreeMap<RowKey, Row> {
    let named = compiled.has_domains().then(|| named(blocks, names)).into_iter().flatten();
    let named = named.filter_map(|(class, names)| compiled.named_row(number, &class, names));
    let rows = compiled.column_rows(number, blocks).chain(named);
    rows.filter_map(|row| Some((row.key()?, row))).collect()
}

/// The row that differs, before and after, if exactly one does.
fn differing(was: &BTreeMap<RowKey, Row>, is: &BTreeMap<RowKey, Row>) -> Option<[Option<Row>; 2]> {
    let others = was.iter().filter(|(key, row)| is.get(key) != Some(row)).map(|(key, _)| key);
    let new = is.keys().filter(|key| !was.contains_key(key));
    let mut others = others.chain(new);
    let Some(key) = others.next() else { return Some([None, None]) };
    others.next().is_none().then(|| [was, is].map(|rows| rows.get(key).copied()))
}

/// The classes of addresses that have names, with the names.
fn named<'a>(
    blocks: &'a Blocks,
    names: &'a DomainNames,
) -> impl Iterator<Item = (CidrClass, &'a BTreeSet<String>)> {
    names
        .iter()
        .filter_map(|(address, names)| Some((blocks.class(&Cidr::host(address), AddressSide::World)?, names)))
}
