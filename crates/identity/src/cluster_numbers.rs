//! The numbers that a cluster assigned to labels: an index of its CiliumIdentity objects in both directions.

use crate::label::Labels;
use foldhash::HashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The numbers that a cluster assigned. A number has one set of labels; labels that have several numbers use the lowest.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterNumbers {
    labels: HashMap<u32, Arc<Labels>>,
    numbers: HashMap<Arc<Labels>, BTreeSet<u32>>,
}

impl ClusterNumbers {
    /// The number that the labels use.
    pub(crate) fn number(&self, labels: &Labels) -> Option<u32> {
        self.numbers.get(labels)?.first().copied()
    }

    /// The labels of a number.
    pub(crate) fn labels(&self, number: u32) -> Option<&Arc<Labels>> {
        self.labels.get(&number)
    }

    /// Whether the cluster assigned no number.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Sets the labels of a number, or removes the number; returns the labels that it had.
    pub(crate) fn set(&mut self, number: u32, labels: Option<Arc<Labels>>) -> Option<Arc<Labels>> {
        let before = match labels.clone() {
            Some(labels) => self.labels.insert(number, labels),
            None => self.labels.remove(&number),
        };
        if let Some(before) = &before
            && let Some(numbers) = self.numbers.get_mut(before)
        {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.numbers.remove(before);
            }
        }
        if let Some(labels) = labels {
            self.numbers.entry(labels).or_default().insert(number);
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_use_the_lowest_of_their_numbers() {
        let labels = |app| Arc::new(Labels::of_workload("default", [], [("app", app)]));
        let mut numbers = ClusterNumbers::default();
        assert_eq!(numbers.set(700, Some(labels("web"))), None);
        assert_eq!(numbers.set(300, Some(labels("web"))), None);
        assert_eq!(numbers.number(&labels("web")), Some(300));
        assert_eq!(numbers.set(300, Some(labels("db"))), Some(labels("web")));
        assert_eq!((numbers.number(&labels("web")), numbers.number(&labels("db"))), (Some(700), Some(300)));
        assert_eq!(numbers.set(700, None), Some(labels("web")));
        assert_eq!((numbers.number(&labels("web")), numbers.set(700, None)), (None, None));
    }
}
