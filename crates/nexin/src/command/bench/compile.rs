//! Measures the resolution and compilation of one subject's policies, in the three cases of Cilium's own benchmark.

use super::policies::{by_block, by_labels};
use super::samples::{Samples, milliseconds};
use abi::row::Row;
use identity::{Labels, Source};
use policy::cidr::Blocks;
use policy::compile::CompiledPolicy;
use policy::endpoint_view::{EndpointView, NamedPorts};
use policy::grouping::Grouping;
use policy::registry::Registry;
use policy::rule::Policy;
use serde::Serialize;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Number of peers besides the subject.
const IDENTITIES: u32 = 3000;
/// The subject's identity.
const SUBJECT: u32 = 256;
/// Number of runs before the measured ones.
const WARM_UP: usize = 20;
/// Number of measured runs.
const RUNS: usize = 200;
/// Target: this many times faster than Cilium.
const TIMES_FASTER: f64 = 10.0;

/// The figures of one case.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Compilation {
    pub(super) case: &'static str,
    pub(super) median_ms: f64,
    pub(super) min_ms: f64,
    pub(super) p99_ms: f64,
    /// Time to submit the policies, once for all subjects: their rules get numbers, and their peers and ports are
    /// compiled. Cilium's benchmark omits the same step.
    pub(super) submit_ms: f64,
    /// Number of map entries of the subject's policy.
    pub(super) rows: usize,
    /// Number of map entries that map addresses to the policies' CIDR blocks, for all subjects.
    pub(super) address_rows: usize,
    pub(super) incumbent_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) incumbent_rows: Option<usize>,
    /// Cilium's time divided by ours.
    pub(super) ratio: f64,
    pub(super) target_ms: f64,
    pub(super) met: bool,
}

/// A node's policies and peers, and the subject.
struct Case {
    registry: Registry,
    blocks: Blocks,
    subject: Labels,
    submitting: Duration,
}

/// Measures all three cases.
pub(super) fn measure() -> [Compilation; 3] {
    let selected = ("value", "subject");
    let policies = |count: usize, one: &dyn Fn(usize) -> Policy| (0..count).map(one).collect();
    [
        ("1,000 rules by labels", 8.2, None, ("foo", ""), policies(1000, &by_labels)),
        ("1,000 rules by block", 39.0, Some(44_596), selected, policies(1000, &|i| by_block(i, "subject"))),
        ("20,000 rules of others", 10.6, None, selected, policies(20_000, &|i| by_block(i, &i.to_string()))),
    ]
    .map(|(name, incumbent_ms, incumbent_rows, subject, policies): (_, _, _, _, Vec<Policy>)| {
        let case = Case::new(policies, subject);
        let samples: Samples<_> = (0..WARM_UP + RUNS).map(|_| case.run().0).skip(WARM_UP).collect();
        let quantile = |share| milliseconds(samples.quantile(share));
        let median_ms = quantile(0.5);
        let target_ms = incumbent_ms / TIMES_FASTER;
        Compilation {
            case: name,
            median_ms,
            min_ms: quantile(0.0),
            p99_ms: quantile(0.99),
            submit_ms: milliseconds(case.submitting),
            rows: case.run().1,
            address_rows: case.blocks.world_rows().count() + case.blocks.parent_rows().count(),
            incumbent_ms,
            incumbent_rows,
            ratio: incumbent_ms / median_ms,
            target_ms,
            met: median_ms <= target_ms,
        }
    })
}

impl Case {
    fn new(policies: Vec<Policy>, (key, value): (&str, &str)) -> Self {
        let mut case = Self {
            registry: Registry::new(),
            blocks: Blocks::new(),
            subject: workload([(key, value)]),
            submitting: Duration::ZERO,
        };
        for policy in policies {
            case.blocks.insert(&policy);
            let start = Instant::now();
            case.registry.put(policy);
            case.submitting += start.elapsed();
        }
        for index in 0..IDENTITIES {
            let labels = workload([(format!("foo{index}").as_str(), ""), ("app", "analytics")]);
            case.registry.directory.insert(SUBJECT + 1 + index, labels, NamedPorts::default());
        }
        case.registry.directory.insert(SUBJECT, case.subject.clone(), NamedPorts::default());
        case
    }

    /// The time from the subject's labels to the map entries of its policy, and their number. Nothing is cached
    /// between runs.
    fn run(&self) -> (Duration, usize) {
        let mut registry = self.registry.clone();
        let subject = EndpointView::new(SUBJECT, &self.subject);
        let start = Instant::now();
        let selection = self.registry.policies.selection(&subject);
        black_box(selection.key());
        let demand = selection.demand(&registry.directory);
        let grouping = Grouping::new(&demand, &mut registry.directory);
        let (policy, classes) = CompiledPolicy::new(selection, &demand, &grouping, None, &mut registry);
        let of_policy = classes.into_iter().chain(policy.column_rows(1, &self.blocks));
        let rows: Vec<Row> = of_policy.chain(grouping.rows(1)).chain(registry.book.class_rows()).collect();
        let time = start.elapsed();
        (time, black_box(rows).len())
    }
}

/// The labels that Cilium's benchmark gives every identity, and these.
fn workload<const N: usize>(own: [(&str, &str); N]) -> Labels {
    let mut labels = Labels::of_workload("monitoring", [], own);
    labels.insert(Source::K8s, "io.cilium.k8s.policy.serviceaccount", "default");
    labels.insert(Source::K8s, "io.cilium.k8s.policy.cluster", "default");
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_of_other_subjects_add_no_entry() {
        let case = Case::new((0..100).map(|i| by_block(i, &i.to_string())).collect(), ("value", "subject"));
        let selection = case.registry.policies.selection(&EndpointView::new(SUBJECT, &case.subject));
        assert_eq!(selection.policies().count(), 0);
        // The remaining entries are the node's: the group of the world.
        assert_eq!(case.run().1, Case::new(Vec::new(), ("value", "subject")).run().1);
    }

    #[test]
    fn every_block_of_a_subject_has_entries() {
        let case = Case::new((0..100).map(|i| by_block(i, "subject")).collect(), ("value", "subject"));
        let blocks = case.blocks.world_rows().count();
        assert!(case.run().1 >= 2 * blocks, "{} rows for {blocks} blocks", case.run().1);
    }
}
