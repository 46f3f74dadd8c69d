//! Map writes that wait until no packet can use what they remove, and rule sets that wait until the proxy cannot.
//!
//! A change that meets what waits has it made first, after a grace period of the kernel: no change waits for the time to pass.

use crate::grace::GRACE;
use abi::batch::Batch;
use control::{WaitingStep, Writes};
use std::collections::VecDeque;
use std::time::Instant;

/// What waits, in the order in which it is due.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    steps: VecDeque<DeferredStep>,
    /// Rule sets that no map entry contains. The proxy may have read such an entry and not yet the set: it is a process,
    /// and no grace period of the kernel waits for it.
    rule_sets: VecDeque<(Instant, Vec<u32>)>,
}

/// What one step left behind.
#[derive(Debug)]
struct DeferredStep {
    due: Instant,
    step: WaitingStep,
    writes: Batch,
    /// Writes to make a grace period after these.
    last: Batch,
}

impl Deferred {
    /// Adds the removals of a step whose immediate writes have just been made.
    pub(crate) fn add(&mut self, writes: Writes, now: Instant) {
        let Writes { later, last, footprint, dead_rule_sets, .. } = writes;
        let step = WaitingStep::new(footprint, [&later, &last]);
        let due = now + GRACE;
        self.steps.push_back(DeferredStep { due, step, writes: later, last });
        if !dead_rule_sets.is_empty() {
            self.rule_sets.push_back((due, dead_rule_sets));
        }
    }

    /// Whether the immediate writes of another step may be made before what waits.
    pub(crate) fn admits(&self, writes: &Writes) -> bool {
        self.steps.iter().all(|waiting| waiting.step.admits(&writes.now, &writes.footprint))
    }

    /// When the first writes or rule sets are due.
    pub(crate) fn due(&self) -> Option<Instant> {
        let rule_sets = self.rule_sets.front().map(|(due, _)| *due);
        self.steps.front().map(|step| step.due).into_iter().chain(rule_sets).min()
    }

    /// Takes all writes that are due, in their order, and the rule sets that are not in use after them.
    pub(crate) fn take_due(&mut self, now: Instant) -> (Batch, Vec<u32>) {
        let mut rule_sets = Vec::new();
        while let Some((_, mut due)) = self.rule_sets.pop_front_if(|(due, _)| *due <= now) {
            rule_sets.append(&mut due);
        }
        (self.take_writes(now), rule_sets)
    }

    /// Makes all writes that wait, in their order. `pass` waits until no packet uses what was replaced before; from the
    /// given time on, none does in any case.
    pub(crate) fn make_all(&mut self, mut pass: impl FnMut(Instant), mut make: impl FnMut(Batch)) {
        while let Some(due) = self.steps.back().map(|step| step.due) {
            pass(due);
            make(self.take_writes(due));
        }
    }

    /// Drops the writes, since a plan of all rows in the maps replaces them; the rule sets are returned.
    pub(crate) fn replace(&mut self) -> Vec<u32> {
        self.steps.clear();
        self.rule_sets.drain(..).flat_map(|(_, rule_sets)| rule_sets).collect()
    }

    /// Takes the writes that are due at this time; those after them are due a grace period later.
    fn take_writes(&mut self, until: Instant) -> Batch {
        let mut writes = Batch::new();
        while let Some(due) = self.steps.pop_front_if(|step| step.due <= until) {
            writes.append(due.writes);
            if !due.last.is_empty() {
                let last =
                    DeferredStep { due: until + GRACE, step: due.step, writes: due.last, last: Batch::new() };
                self.steps.push_back(last);
            }
        }
        writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::row::{Row, RowKey};

    /// The removal of a row that waits, and the time of the step that left it.
    fn removal() -> (Deferred, Instant) {
        let (mut deferred, now, mut later) = (Deferred::default(), Instant::now(), Batch::new());
        later.delete(&RowKey::CidrParent(7));
        deferred.add(Writes { later, dead_rule_sets: vec![3], ..Writes::default() }, now);
        (deferred, now)
    }

    #[test]
    fn writes_are_taken_once_they_are_due() {
        let (mut deferred, now) = removal();
        assert_eq!(deferred.due(), Some(now + GRACE));
        assert!(deferred.take_due(now).0.is_empty());
        let (writes, rule_sets) = deferred.take_due(now + GRACE);
        assert_eq!((writes.len(), rule_sets), (1, vec![3]));
        assert_eq!(deferred.due(), None);
    }

    #[test]
    fn only_a_step_that_writes_a_row_that_waits_is_not_admitted() {
        let (deferred, _) = removal();
        assert!(deferred.admits(&Writes::default()));
        let mut now = Batch::new();
        now.put(&Row::CidrParent(7, 8));
        assert!(!deferred.admits(&Writes { now, ..Writes::default() }));
    }

    #[test]
    fn a_change_that_meets_what_waits_waits_for_packets_and_not_for_the_time() {
        let (mut deferred, now) = removal();
        let mut last = Batch::new();
        last.delete(&RowKey::CidrParent(8));
        deferred.add(Writes { last, ..Writes::default() }, now);
        let (mut passed, mut made) = (Vec::new(), Vec::new());
        deferred.make_all(|due| passed.push(due - now), |writes| made.push(writes.len()));
        // One grace period for both steps, and one for what comes last.
        assert_eq!((passed, made), (vec![GRACE, GRACE + GRACE], vec![1, 1]));
        assert!(deferred.take_due(now).1.is_empty(), "the proxy may still read the rule set");
        assert_eq!((deferred.due(), deferred.take_due(now + GRACE).1), (Some(now + GRACE), vec![3]));
        deferred.make_all(|_| panic!("nothing waits"), |_| panic!("nothing waits"));
    }

    #[test]
    fn a_plan_of_all_rows_replaces_what_waits() {
        let (mut deferred, _) = removal();
        assert_eq!(deferred.replace(), [3]);
        assert_eq!(deferred.due(), None);
    }
}
