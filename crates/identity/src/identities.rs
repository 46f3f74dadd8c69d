//! Security identities of a node: numbers of its own, and those that its cluster assigns to the same labels.

use crate::allocator::Allocator;
use crate::cluster_numbers::ClusterNumbers;
use crate::label::Labels;
use crate::numbering::Exhausted;
use abi::identity::is_workload;
use std::sync::Arc;

/// The identities in use, and the numbers that the cluster assigned.
///
/// Labels have the number of the cluster if there is one when they come into use, else a number of the node. A number that
/// the cluster assigns later replaces it. A number that the cluster withdraws stays as long as it is in use.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    known: Allocator,
    cluster: ClusterNumbers,
    /// Labels whose identity this step restored, perhaps for no workload.
    unheld: Vec<Arc<Labels>>,
    /// Identities that this step removed, and those that the last step removed.
    removed: Vec<(u32, Arc<Labels>)>,
    last_removed: Vec<(u32, Arc<Labels>)>,
}

/// Labels in use got another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renumbered {
    /// The number before.
    pub before: u32,
    /// The number now.
    pub after: u32,
}

impl Identities {
    /// Identities that were in use before a restart.
    pub fn restored(known: Allocator) -> Self {
        Self { known, ..Self::default() }
    }

    /// The identities in use.
    pub fn known(&self) -> &Allocator {
        &self.known
    }

    /// The labels of an identity in use.
    pub fn labels(&self, number: u32) -> Option<&Arc<Labels>> {
        self.known.labels(number)
    }

    /// The number that the cluster assigned to these labels.
    pub fn assigned(&self, labels: &Labels) -> Option<u32> {
        self.cluster.number(labels)
    }

    /// The labels to which the cluster assigned this number.
    pub fn assigned_labels(&self, number: u32) -> Option<&Arc<Labels>> {
        self.cluster.labels(number)
    }

    /// Whether the cluster assigned a number to any labels.
    pub fn has_assigned(&self) -> bool {
        !self.cluster.is_empty()
    }

    /// Adds a hold to the identity of these labels.
    pub fn acquire(&mut self, labels: &Arc<Labels>) -> Result<u32, Exhausted> {
        if self.known.number(labels).is_none()
            && let Some(number) = self.cluster.number(labels)
        {
            // If other labels still use the number, these get one of the node.
            let _ = self.known.restore(number, labels.clone());
        }
        self.known.acquire(labels)
    }

    /// Releases one hold.
    pub fn release(&mut self, number: u32) {
        self.removed.extend(self.known.release(number).map(|labels| (number, labels)));
    }

    /// The cluster assigns a number to labels, or withdraws it. Returns the labels that the number had, and the identities in
    /// use whose numbers changed, in this order. Two sets of labels never have one number. Numbers that only a node assigns are
    /// ignored.
    pub fn assign(
        &mut self,
        number: u32,
        labels: Option<Arc<Labels>>,
    ) -> (Option<Arc<Labels>>, Vec<Renumbered>) {
        if self.known.is_own(number) || !is_workload(number) {
            return (None, Vec::new());
        }
        let before = self.cluster.set(number, labels.clone());
        let mut renumbered = Vec::new();
        if let Some(labels) = labels {
            let others = self.known.labels(number).filter(|held| **held != labels).cloned();
            if let Some(others) = others {
                let free = self.cluster.number(&others).filter(|free| self.known.labels(*free).is_none());
                renumbered.extend(self.renumber(number, free));
            }
            renumbered.extend(self.follow(&labels));
        }
        if let Some(before) = &before {
            renumbered.extend(self.follow(before));
        }
        (before, renumbered)
    }

    /// Gives labels in use the number that the cluster assigned, if there is one and no other labels use it.
    fn follow(&mut self, labels: &Labels) -> Option<Renumbered> {
        let (now, wanted) = self.known.number(labels).zip(self.cluster.number(labels))?;
        (now != wanted).then(|| self.renumber(now, Some(wanted)))?
    }

    fn renumber(&mut self, before: u32, after: Option<u32>) -> Option<Renumbered> {
        Some(Renumbered { before, after: self.known.renumber(before, after)? })
    }

    /// Reverts the removals of the last step, whose writes failed: removed identities keep their numbers for the workloads
    /// that come back. A number of the cluster stays.
    pub fn take_back(&mut self) {
        for (number, labels) in std::mem::take(&mut self.last_removed) {
            if self.known.restore(number, labels.clone()).is_ok() {
                self.unheld.push(labels);
            }
        }
    }

    /// Ends a step. Identities that were restored and that no workload holds are removed.
    pub fn end_step(&mut self) {
        for labels in std::mem::take(&mut self.unheld) {
            // If no workload holds the identity, this hold is the first and the last.
            if let Ok(number) = self.known.acquire(&labels) {
                self.release(number);
            }
        }
        self.last_removed = std::mem::take(&mut self.removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::identity::FIRST_UNASSIGNED;

    fn labels(app: &str) -> Arc<Labels> {
        Labels::of_workload("default", [], [("app", app)]).into()
    }

    fn in_cluster() -> Identities {
        Identities::restored(Allocator::in_cluster())
    }

    #[test]
    fn labels_have_the_clusters_number_or_one_of_the_node_until_it_comes() {
        let mut identities = in_cluster();
        identities.assign(700, Some(labels("web")));
        assert_eq!(identities.acquire(&labels("web")), Ok(700));
        assert_eq!(identities.acquire(&labels("db")), Ok(FIRST_UNASSIGNED));
        assert_eq!(identities.acquire(&labels("db")), Ok(FIRST_UNASSIGNED));
        let (before, renumbered) = identities.assign(701, Some(labels("db")));
        assert_eq!((before, renumbered), (None, vec![Renumbered { before: FIRST_UNASSIGNED, after: 701 }]));
        assert_eq!(
            (identities.labels(701), identities.labels(FIRST_UNASSIGNED)),
            (Some(&labels("db")), None)
        );
        identities.release(701);
        assert_eq!(identities.labels(701), Some(&labels("db")), "both holds moved");
        identities.release(701);
        assert_eq!(identities.labels(701), None);
    }

    #[test]
    fn a_number_that_the_cluster_withdraws_stays_as_long_as_it_is_in_use() {
        let mut identities = in_cluster();
        identities.assign(700, Some(labels("web")));
        identities.acquire(&labels("web")).unwrap();
        assert_eq!(identities.assign(700, None), (Some(labels("web")), vec![]));
        assert_eq!(identities.acquire(&labels("web")), Ok(700));
        let (_, renumbered) = identities.assign(900, Some(labels("web")));
        assert_eq!(renumbered, [Renumbered { before: 700, after: 900 }], "it was created again");
    }

    #[test]
    fn two_sets_of_labels_never_have_one_number() {
        let mut identities = in_cluster();
        for (number, app) in [(700, "web"), (701, "db")] {
            identities.assign(number, Some(labels(app)));
            assert_eq!(identities.acquire(&labels(app)), Ok(number));
        }
        // The numbers are exchanged, one object after the other.
        let (_, renumbered) = identities.assign(700, Some(labels("db")));
        let expected =
            [Renumbered { before: 700, after: FIRST_UNASSIGNED }, Renumbered { before: 701, after: 700 }];
        assert_eq!(renumbered, expected);
        let (_, renumbered) = identities.assign(701, Some(labels("web")));
        assert_eq!(renumbered, [Renumbered { before: FIRST_UNASSIGNED, after: 701 }]);
        assert_eq!(identities.known().number(&labels("web")), Some(701));
        assert_eq!(identities.known().number(&labels("db")), Some(700));
    }

    #[test]
    fn of_several_numbers_of_the_same_labels_the_lowest_counts() {
        let mut identities = in_cluster();
        identities.assign(701, Some(labels("web")));
        identities.acquire(&labels("web")).unwrap();
        assert_eq!(identities.assign(700, Some(labels("web"))).1, [Renumbered { before: 701, after: 700 }]);
        assert_eq!(identities.assign(700, None).1, [Renumbered { before: 700, after: 701 }]);
        assert_eq!(identities.assign(700, None).1, []);
    }

    #[test]
    fn numbers_that_no_cluster_assigns_are_ignored() {
        let mut identities = in_cluster();
        let web = identities.acquire(&labels("web")).unwrap();
        for number in [2, FIRST_UNASSIGNED + 7] {
            assert_eq!(identities.assign(number, Some(labels("web"))), (None, vec![]));
        }
        assert_eq!(identities.known().number(&labels("web")), Some(web));
    }
}
