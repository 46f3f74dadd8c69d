//! Which labels are part of an identity: not those of a single replica or run of a workload.

use crate::label::{LabelKey, Labels, Source};

/// The labels without those that differ between runs of one workload, and between pods that nothing names. With an identity
/// for each of these, every new version would change policy. Pods of a StatefulSet have names that last, and policies
/// select single ones by them.
pub fn relevant(mut labels: Labels) -> Labels {
    labels.retain(is_relevant);
    labels
}

/// The same, but keeps labels that `named` selects: where no identity is numbered, every label that a selector names
/// may count.
pub fn relevant_or(mut labels: Labels, named: impl Fn(&str) -> bool) -> Labels {
    labels.retain(|key| is_relevant(key) || named(&key.name));
    labels
}

/// Whether all of these labels are part of an identity.
pub(crate) fn are_relevant(labels: &Labels) -> bool {
    labels.iter().all(|(key, _)| is_relevant(key))
}

/// Whether a label with this key is part of an identity.
pub fn is_relevant(key: &LabelKey) -> bool {
    key.source != Source::K8s || !IRRELEVANT.contains(&key.name.as_str())
}

/// Keys that the controllers of Kubernetes set for each run or revision, and for the pods of a Job.
const IRRELEVANT: &[&str] = &[
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "controller-revision-hash",
    "controller-uid",
    "job-completion-index",
    "pod-template-generation",
    "pod-template-hash",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_one_revision_do_not_count_and_all_others_do() {
        let own = [("app", "web"), ("pod-template-hash", "5d9c"), ("job-completion-index", "3")];
        let labels = relevant(Labels::of_workload("default", [("team", "a")], own));
        assert_eq!(labels, Labels::of_workload("default", [("team", "a")], [("app", "web")]));
    }

    #[test]
    fn a_single_pod_of_a_stateful_set_can_be_selected() {
        let own = [("statefulset.kubernetes.io/pod-name", "db-0"), ("apps.kubernetes.io/pod-index", "0")];
        let labels = Labels::of_workload("default", [], own);
        assert_eq!(relevant(labels.clone()), labels);
    }

    #[test]
    fn a_label_of_another_source_counts_whatever_its_key() {
        let mut labels = Labels::default();
        labels.insert(Source::Other("vm".into()), "controller-uid", "1");
        assert_eq!(relevant(labels.clone()), labels);
    }
}
