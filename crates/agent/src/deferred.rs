//! Map writes and rule sets that wait until no packet can use what they remove. Only a change that meets them waits for them.

use abi::batch::Batch;
use control::{WaitingStep, Writes};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a program may use map entries that were just replaced. A program runs for microseconds; the rest is a
/// margin for a CPU that the hypervisor takes away.
const GRACE: Duration = Duration::from_millis(20);

/// What waits, in the order in which it is due.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    steps: VecDeque<DeferredStep>,
}

/// What one step left behind.
#[derive(Debug)]
struct DeferredStep {
    due: Instant,
    step: WaitingStep,
    writes: Batch,
    /// Writes to make a grace time after these.
    last: Batch,
    rule_sets: Vec<u32>,
}

impl Deferred {
    /// Adds the removals of a step whose immediate writes have just been made.
    pub(crate) fn add(&mut self, writes: Writes, now: Instant) {
        let Writes { later, last, footprint, dead_rule_sets: rule_sets, .. } = writes;
        let step = WaitingStep::new(footprint, [&later, &last]);
        self.steps.push_back(DeferredStep { due: now + GRACE, step, writes: later, last, rule_sets });
    }

    /// Whether the immediate writes of another step may be made before what waits.
    pub(crate) fn admits(&self, writes: &Writes) -> bool {
        self.steps.iter().all(|waiting| waiting.step.admits(&writes.now, &writes.footprint))
    }

    /// When the first writes are due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.steps.front().map(|step| step.due)
    }

    /// Takes all writes that are due, in their order, and the rule sets that no map entry contains after them.
    pub(crate) fn take_due(&mut self, now: Instant) -> (Batch, Vec<u32>) {
        let (mut writes, mut rule_sets) = (Batch::new(), Vec::new());
        while let Some(mut due) = self.steps.pop_front_if(|step| step.due <= now) {
            writes.append(due.writes);
            rule_sets.append(&mut due.rule_sets);
            if !due.last.is_empty() {
                let (step, last) = (due.step, due.last);
                let (due, rule_sets) = (now + GRACE, Vec::new());
                self.steps.push_back(DeferredStep { due, step, writes: last, last: Batch::new(), rule_sets });
            }
        }
        (writes, rule_sets)
    }

    /// Drops the writes, since a plan of all rows in the maps replaces them; the rule sets are returned.
    pub(crate) fn replace(&mut self) -> Vec<u32> {
        self.steps.drain(..).flat_map(|step| step.rule_sets).collect()
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
    fn a_plan_of_all_rows_replaces_what_waits() {
        let (mut deferred, _) = removal();
        assert_eq!(deferred.replace(), [3]);
        assert_eq!(deferred.due(), None);
    }
}
