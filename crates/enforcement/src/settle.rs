//! Assigns to subjects the policies that apply to them now.

use crate::enforcement::{Enforcement, InForce};
use crate::row_changes::RowChanges;
use abi::endpoint::flag;
use abi::identity::HOST;
use abi::row::{Row, RowKey};
use foldhash::{HashMap, HashSet};
use policy::compile::CompiledPolicy;
use policy::rule::Direction;
use policy::set::{PolicyKey, Selection};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A subject, and the selection that applies to it from now on.
type Reassignment = (u32, Option<(PolicyKey, Selection)>);

/// A policy whose subjects all move to one other policy, and that no other subject joins: the other policy takes over its
/// grouping and columns.
#[derive(Clone, Copy, Debug)]
struct Predecessor {
    number: u32,
    /// False if packets could see the successor under the number of the predecessor without another change of the step: a
    /// peer that the grouping distinguishes changes group, or a workload leaves the predecessor.
    may_keep_number: bool,
}

impl Enforcement {
    /// Moves peers to their groups, and then subjects to their policies. `is_subject` returns whether policies apply to a
    /// peer: it is the node, or a workload of this node has it. The subjects that have another policy now are returned.
    pub fn settle(&mut self, is_subject: impl Fn(u32) -> bool, rows: &mut RowChanges) -> Vec<u32> {
        let changes = std::mem::take(&mut self.peer_changes);
        let regrouped = self.groupings.follow(&changes, &mut self.registry, rows);
        let mut marked = std::mem::take(&mut self.marked);
        // Where the last workload of this node left, workloads of other nodes may have the peer still.
        marked.extend(changes.removed.keys().chain(changes.added.keys()).chain(&changes.left));
        let reassignments = marked.into_iter().filter_map(|subject| self.reassignment(subject, &is_subject));
        let reassignments: Vec<Reassignment> = reassignments.collect();
        let subjects = reassignments.iter().map(|(subject, _)| *subject).collect();
        let predecessors = self.predecessors(&reassignments, &regrouped, &changes.left);
        for (subject, selection) in reassignments {
            let before = self.assigned.get(&subject).and_then(|before| predecessors.get(before)).copied();
            let number = selection.map(|(key, selection)| match self.numbers.get(&key) {
                Some(number) => *number,
                None => self.compile(key, selection, before, rows),
            });
            self.assign(subject, number);
        }
        self.retire(rows);
        subjects
    }

    /// The selection that applies to a subject now, if it is another one; no selection applies to a subject that is gone,
    /// nor to the node if no policy selects it.
    fn reassignment(&self, subject: u32, is_subject: impl Fn(u32) -> bool) -> Option<Reassignment> {
        let view = self.registry.directory.view(subject).filter(|_| is_subject(subject));
        let selection = view.map(|view| self.registry.policies.selection(&view));
        let selection =
            selection.filter(|selection| subject != HOST || selection.policies().next().is_some());
        let selection = selection.map(|selection| (selection.key(), selection));
        let known = self.assigned.get(&subject).map(|number| &*self.in_force[number].key);
        (known != selection.as_ref().map(|(key, _)| key)).then_some((subject, selection))
    }

    /// The policies that other policies replace, by number. In the groupings in `regrouped` peers changed their groups;
    /// workloads left the peers in `left`, and are under the policies of these peers until their rows are written.
    fn predecessors(
        &self,
        reassignments: &[Reassignment],
        regrouped: &HashSet<u32>,
        left: &BTreeSet<u32>,
    ) -> HashMap<u32, Predecessor> {
        let left: HashSet<u32> =
            left.iter().filter_map(|subject| self.assigned.get(subject)).copied().collect();
        let mut together: HashMap<(u32, &PolicyKey), usize> = HashMap::default();
        let mut joined: HashSet<&PolicyKey> = HashSet::default();
        for (subject, selection) in reassignments {
            let Some((key, _)) = selection else { continue };
            joined.insert(key);
            if let Some(before) = self.assigned.get(subject) {
                *together.entry((*before, key)).or_default() += 1;
            }
        }
        let predecessors = together.into_iter().filter_map(|((number, _), count)| {
            let InForce { key, grouping, subjects, .. } = &self.in_force[&number];
            let may_keep_number = !regrouped.contains(grouping) && !left.contains(&number);
            let is_one = *subjects == count && !joined.contains(&**key);
            is_one.then_some((number, Predecessor { number, may_keep_number }))
        });
        predecessors.collect()
    }

    fn assign(&mut self, subject: u32, number: Option<u32>) {
        let before = match number {
            Some(number) => self.assigned.insert(subject, number),
            None => self.assigned.remove(&subject),
        };
        if let Some(now) = number.and_then(|number| self.in_force.value_mut(&number)) {
            now.subjects += 1;
        }
        if let Some(before) = before {
            let left = self.in_force.value_mut(&before).expect("an assigned policy is in force");
            left.subjects -= 1;
            if left.subjects == 0 {
                self.idle.insert(before);
            }
        }
    }

    /// Compiles a selection, for the grouping of its predecessor, if there is one.
    ///
    /// A policy that differs from its predecessor in at most one column keeps the predecessor's number, if it may: one put
    /// of that column's row switches all subjects. Any other policy gets a new number, and the row of each subject is
    /// switched.
    fn compile(
        &mut self,
        key: PolicyKey,
        selection: Selection,
        before: Option<Predecessor>,
        rows: &mut RowChanges,
    ) -> u32 {
        let demand = selection.demand(&self.registry.directory);
        let known = before.map(|before| self.in_force[&before.number].grouping);
        let grouping = self.groupings.answering(&demand, known, &mut self.registry, rows);
        let grouped = self.groupings.of_mut(grouping);
        let (mut of_before, of_both) = grouped.policy_mut(before.map(|before| before.number));
        let (mut compiled, classes) =
            CompiledPolicy::new(selection, &demand, of_both, of_before.as_deref_mut(), &mut self.registry);
        rows.put(classes);
        rows.put(self.addresses.add_names(&mut compiled, of_both, &mut self.registry.book));
        let (flags, has_domains) = (flags(&compiled), compiled.has_domains());
        let number = match before.zip(of_before) {
            Some((Predecessor { number, may_keep_number: true }, of_before))
                if self.in_force[&number].flags == flags
                    && let Some([was, is]) = differing(
                        &self.addresses.column_rows(number, of_before),
                        &self.addresses.column_rows(number, &compiled),
                    ) =>
            {
                rows.remove(was);
                rows.put(is);
                let gone = std::mem::replace(of_before, compiled);
                rows.remove(gone.class_rows());
                gone.release(&mut self.registry.book);
                self.numbers.remove(&self.in_force[&number].key);
                number
            }
            _ => {
                let free = self.policy_numbers.take(|number| self.in_force.contains_key(&number));
                let number = free.expect("fewer policies than numbers fit in memory");
                rows.put(self.addresses.column_rows(number, &compiled).into_values());
                grouped.insert(number, compiled);
                number
            }
        };
        match has_domains {
            true => _ = self.with_domains.insert(number),
            false => _ = self.with_domains.remove(&number),
        }
        let key = Arc::new(key);
        self.numbers.insert(key.clone(), number);
        let subjects = self.in_force.get(&number).map_or(0, |policy| policy.subjects);
        self.in_force.insert(number, InForce { key, grouping, flags, subjects });
        number
    }

    /// Removes the policies without subjects, and the rows of classes that were released.
    fn retire(&mut self, rows: &mut RowChanges) {
        for number in std::mem::take(&mut self.idle) {
            if self.in_force.get(&number).is_none_or(|policy| policy.subjects > 0) {
                continue;
            }
            let Some(InForce { key, grouping, .. }) = self.in_force.remove(&number) else { continue };
            self.numbers.remove(&key);
            self.with_domains.remove(&number);
            if let Some(compiled) = self.groupings.retire(grouping, number, &mut self.registry, rows) {
                rows.remove(self.addresses.rows_of(number, &compiled));
                compiled.release(&mut self.registry.book);
            }
        }
        self.registry.release_removed();
        for (came, row) in self.registry.book.changed_class_rows() {
            if came { rows.put([row]) } else { rows.remove([row]) }
        }
    }
}

/// The flags of endpoints under a policy.
fn flags(compiled: &CompiledPolicy) -> u8 {
    let bit = |direction, bit| if compiled.enforces(direction) { bit } else { 0 };
    bit(Direction::Ingress, flag::ENFORCE_INGRESS) | bit(Direction::Egress, flag::ENFORCE_EGRESS)
}

/// The row that differs, before and after, if at most one does.
fn differing(was: &BTreeMap<RowKey, Row>, is: &BTreeMap<RowKey, Row>) -> Option<[Option<Row>; 2]> {
    let others = was.iter().filter(|(key, row)| is.get(key) != Some(row)).map(|(key, _)| key);
    let new = is.keys().filter(|key| !was.contains_key(key));
    let mut others = others.chain(new);
    let Some(key) = others.next() else { return Some([None, None]) };
    others.next().is_none().then(|| [was, is].map(|rows| rows.get(key).copied()))
}
