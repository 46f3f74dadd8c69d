//! Security identities: the number for each set of labels on this node.

use crate::filter;
use crate::label::{Labels, Source};
use crate::numbering::{Conflict, Exhausted, Numbering};
use crate::shared_map::SharedMap;
use abi::identity::{
    FIRST_ALLOCATED, FIRST_NODE, FIRST_UNASSIGNED, LAST_ALLOCATED, is_workload, reserved_name,
};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Maps labels to identity numbers and back. Reserved numbers are fixed; numbers of workloads are assigned in turn and
/// reference-counted.
#[derive(Clone, Debug)]
pub struct Allocator {
    /// The labels of every number, reserved ones included; a clone shares them.
    labels: SharedMap<u32, Arc<Labels>>,
    allocated: Numbering<Arc<Labels>>,
}

impl Default for Allocator {
    fn default() -> Self {
        Self::with_range(FIRST_ALLOCATED..=LAST_ALLOCATED)
    }
}

impl Allocator {
    /// An allocator with reserved identities only.
    pub fn new() -> Self {
        Self::default()
    }

    /// An allocator of a node whose cluster assigns numbers: its own numbers are of the node-local scope, so that no number
    /// of the cluster is among them.
    pub fn in_cluster() -> Self {
        Self::with_range(FIRST_UNASSIGNED..=FIRST_NODE - 1)
    }

    fn with_range(range: RangeInclusive<u32>) -> Self {
        let reserved = (0..FIRST_ALLOCATED)
            .filter_map(|number| Some((number, Arc::new(Labels::reserved(reserved_name(number)?)))));
        Self { labels: reserved.collect(), allocated: Numbering::new(range) }
    }

    /// Adds a reference to the identity of these labels and returns its number. Labels that do not count for security
    /// are left out first ([`filter::relevant`]).
    pub fn acquire(&mut self, labels: &Arc<Labels>) -> Result<u32, Exhausted> {
        match self.reserved_number(labels) {
            Some(number) => Ok(number),
            None if filter::are_relevant(labels) => self.acquire_relevant(labels),
            None => self.acquire_relevant(&Arc::new(filter::relevant(Labels::clone(labels)))),
        }
    }

    fn acquire_relevant(&mut self, labels: &Arc<Labels>) -> Result<u32, Exhausted> {
        let number = self.allocated.acquire(labels)?;
        if !self.labels.contains_key(&number) {
            self.labels.insert(number, labels.clone());
        }
        Ok(number)
    }

    /// Removes a reference, and returns the labels if it was the last. Reserved numbers stay.
    pub fn release(&mut self, number: u32) -> Option<Arc<Labels>> {
        let released = self.allocated.release(number)?;
        self.labels.remove(&number);
        Some(released)
    }

    /// Whether the number is of the range that this allocator assigns itself.
    pub fn is_own(&self, number: u32) -> bool {
        self.allocated.is_own(number)
    }

    /// The number of these labels, if they have one.
    pub fn number(&self, labels: &Labels) -> Option<u32> {
        let number = |labels| self.allocated.number::<Labels>(labels);
        match self.reserved_number(labels) {
            None if filter::are_relevant(labels) => number(labels),
            None => number(&filter::relevant(labels.clone())),
            reserved => reserved,
        }
    }

    /// The labels of a number.
    pub fn labels(&self, number: u32) -> Option<&Arc<Labels>> {
        self.labels.get(&number)
    }

    /// Every identity, reserved ones first, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Arc<Labels>)> {
        self.labels.iter().map(|(number, labels)| (*number, labels))
    }

    /// The labels of every number, as they are now.
    pub fn all_labels(&self) -> SharedMap<u32, Arc<Labels>> {
        self.labels.clone()
    }

    /// The identities of workloads, by number: these and [`Self::next`] are to be persisted.
    pub fn allocated(&self) -> impl Iterator<Item = (u32, &Arc<Labels>)> {
        self.allocated.iter()
    }

    /// The number that is tried first for new labels.
    pub fn next(&self) -> u32 {
        self.allocated.next()
    }

    /// Gives labels the number that they had before a restart, or that the cluster assigned, without a reference.
    pub fn restore(&mut self, number: u32, labels: impl Into<Arc<Labels>>) -> Result<(), Conflict> {
        if !is_workload(number) {
            return Err(Conflict::OutOfRange(number));
        }
        let labels = labels.into();
        self.allocated.assign(number, labels.clone())?;
        self.labels.insert(number, labels);
        Ok(())
    }

    /// Gives the labels of a number another number, with their references; none: one of the allocator's own. Returns it,
    /// unless it is in use.
    pub fn renumber(&mut self, before: u32, after: Option<u32>) -> Option<u32> {
        let after = after.or_else(|| self.allocated.take())?;
        self.allocated.renumber(before, after).ok()?;
        let labels = self.labels.remove(&before)?;
        self.labels.insert(after, labels);
        Some(after)
    }

    /// Sets the next number after a restart; the argument is an earlier [`Self::next`].
    pub fn continue_at(&mut self, next: u32) -> Result<(), Conflict> {
        self.allocated.continue_at(next)
    }

    /// Removes every identity without a reference: those that were restored and not acquired again.
    pub fn sweep(&mut self) -> Vec<(u32, Arc<Labels>)> {
        let swept = self.allocated.sweep();
        swept.iter().for_each(|(number, _)| _ = self.labels.remove(number));
        swept
    }

    fn reserved_number(&self, labels: &Labels) -> Option<u32> {
        // The labels of a workload have source Kubernetes, which sorts before the reserved source.
        labels.iter().next().filter(|(key, _)| key.source == Source::Reserved)?;
        let mut reserved = self.labels.iter().take_while(|(number, _)| **number < FIRST_ALLOCATED);
        reserved.find(|(_, known)| ***known == *labels).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::identity::{HOST, KUBE_APISERVER, WORLD};

    fn pod(app: &str, name: &str) -> Arc<Labels> {
        Labels::of_workload("default", [], [("app", app), ("pod-template-hash", name)]).into()
    }

    #[test]
    fn reserved_labels_have_their_fixed_numbers() {
        let mut allocator = Allocator::new();
        for (name, number) in [("host", HOST), ("world", WORLD), ("kube-apiserver", KUBE_APISERVER)] {
            assert_eq!(allocator.acquire(&Labels::reserved(name).into()), Ok(number));
            assert_eq!(allocator.labels(number), Some(&Labels::reserved(name).into()));
            assert_eq!(allocator.release(number), None);
            assert_eq!(allocator.number(&Labels::reserved(name)), Some(number));
        }
    }

    #[test]
    fn replicas_of_a_workload_share_one_identity() {
        let mut allocator = Allocator::new();
        let first = allocator.acquire(&pod("web", "web-0")).unwrap();
        assert_eq!(first, FIRST_ALLOCATED);
        assert_eq!(allocator.acquire(&pod("web", "web-1")), Ok(first));
        assert_ne!(allocator.acquire(&pod("db", "db-0")), Ok(first));
        assert_eq!(allocator.release(first), None);
        assert!(allocator.release(first).is_some());
        assert_eq!(allocator.labels(first), None);
    }

    #[test]
    fn irrelevant_labels_are_left_out_and_relevant_ones_are_not_copied() {
        let mut allocator = Allocator::new();
        let web = Arc::new(Labels::of_workload("default", [], [("app", "web")]));
        let number = allocator.acquire(&web).unwrap();
        assert!(Arc::ptr_eq(allocator.labels(number).unwrap(), &web));
        assert_eq!(allocator.number(&pod("web", "web-0")), Some(number));
        assert_eq!(allocator.number(&pod("db", "db-0")), None);
        let db = allocator.acquire(&pod("db", "db-0")).unwrap();
        assert_eq!(**allocator.labels(db).unwrap(), Labels::of_workload("default", [], [("app", "db")]));
    }

    #[test]
    fn only_identities_of_workloads_are_listed_for_persistence() {
        let mut allocator = Allocator::new();
        let number = allocator.acquire(&pod("web", "web-0")).unwrap();
        assert_eq!(allocator.allocated().map(|(number, _)| number).collect::<Vec<_>>(), [number]);
        assert!(allocator.iter().count() > 10);
        let mut restarted = Allocator::new();
        restarted.restore(number, allocator.labels(number).unwrap().clone()).unwrap();
        assert_eq!(restarted.restore(HOST, pod("x", "x")), Err(Conflict::OutOfRange(HOST)));
        assert_eq!(restarted.acquire(&pod("web", "web-7")), Ok(number));
        assert_eq!(restarted.sweep(), []);
    }
}
