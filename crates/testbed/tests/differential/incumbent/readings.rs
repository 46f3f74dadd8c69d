//! The intended differences to the incumbent, each as the incumbent's reading of one matter.
//!
//! A difference is intended if the model agrees with the incumbent once the model reads this one matter as the incumbent
//! does. So a reading explains exactly the probes that it decides. The names are the names in the table of
//! docs/differences.md.

mod of_documents;
mod of_groups;
mod of_rules;

use super::opinions::{self, IncumbentVerdict, Read};
use manifest::test::{Expect, Probe};
use serde_json::Value;
use testbed::TestState;

/// The incumbent's reading of one matter.
pub(super) struct Reading {
    /// The name in the tally and in the documentation.
    pub(super) name: &'static str,
    /// Rewrites documents so that our reader reads them as the incumbent does.
    rewrite: fn(&mut Value),
    /// Changes what was read to what the incumbent would have read.
    reread: fn(&mut TestState),
    /// Whether the incumbent refuses a probe that no rule matches.
    refuses: fn(&TestState, &Probe) -> bool,
}

/// A reading that changes nothing.
const NONE: Reading = Reading { name: "", rewrite: |_| {}, reread: |_| {}, refuses: |_, _| false };

/// All readings. Where the incumbent's result is random, each outcome has the same name.
pub(super) const READINGS: &[Reading] = &[
    Reading { name: "ip-block", reread: of_rules::ip_blocks_are_outside, ..NONE },
    Reading { name: "networks", reread: of_rules::networks_are_outside, ..NONE },
    Reading { name: "policy-types", rewrite: of_documents::unlisted_directions_hold, ..NONE },
    Reading { name: "baseline-accept", reread: of_rules::baseline_precedes_default_deny, ..NONE },
    Reading { name: "not-in-cluster-policy", reread: of_rules::pods_of_cluster_policy_are_nodes, ..NONE },
    Reading {
        name: "not-in-namespaces",
        rewrite: of_documents::mark_namespaces_that_exclude,
        reread: of_rules::marked_are_every_peer,
        ..NONE
    },
    Reading { name: "not-in-network-policy", reread: of_rules::pods_of_network_policy_are_nodes, ..NONE },
    Reading { name: "not-in-cilium-policy", reread: of_rules::pods_of_cilium_policy_are_nodes, ..NONE },
    Reading { name: "local-node", reread: of_rules::nodes_are_other_nodes, ..NONE },
    Reading { name: "node-source", reread: of_rules::nodes_have_no_labels_of_kubernetes, ..NONE },
    Reading { name: "two-sources", rewrite: of_documents::the_key_without_source_counts, ..NONE },
    Reading { name: "two-sources", rewrite: of_documents::the_key_of_any_source_counts, ..NONE },
    Reading { name: "all-groups", reread: of_rules::all_groups_are_every_peer, ..NONE },
    Reading { name: "groups-of-an-address", reread: of_groups::labels_of_an_address_are_merged, ..NONE },
    Reading {
        name: "no-services",
        rewrite: of_documents::an_empty_list_of_services_names_one,
        reread: of_rules::no_services_are_every_peer,
        ..NONE
    },
    Reading { name: "reserved-world", reread: of_rules::reserved_world_is_no_peer, ..NONE },
    Reading { name: "not-reserved", reread: of_rules::not_a_reserved_label_is_more, ..NONE },
    Reading { name: "icmp-type-0", reread: of_rules::icmp_type_0_is_every_type, ..NONE },
    Reading { name: "always-for-nodes", reread: of_rules::always_is_for_the_node_too, ..NONE },
    Reading { name: "always-from-host", refuses: of_rules::always_refuses_the_host, ..NONE },
];

/// The fewest readings with which the model agrees with the incumbent on a probe of the test; none where no readings do.
pub(super) fn explain(test: &Value, probe: usize, theirs: IncumbentVerdict) -> Option<Vec<&'static str>> {
    let read = opinions::read(test).ok()?;
    let all: Vec<&Reading> = READINGS.iter().collect();
    let rewritten = rewritten(test, &all);
    let bearing =
        all.into_iter().filter(|one| one.bears_on(test, [&read, rewritten.as_ref().unwrap_or(&read)], probe));
    let bearing: Vec<&Reading> = bearing.collect();
    let says =
        |readings: &[&Reading]| said(test, &read, probe, readings).is_some_and(|ours| theirs.agrees(ours));
    let single = bearing.iter().map(|one| vec![*one]);
    let pairs = bearing.iter().enumerate().flat_map(|(at, first)| {
        let others = bearing[at + 1..].iter().filter(|second| second.name != first.name);
        others.map(move |second| vec![*first, *second])
    });
    let explaining = single.chain(pairs).chain([bearing.clone()]).find(|readings| says(readings))?;
    Some(explaining.into_iter().map(|reading| reading.name).collect())
}

/// The model's verdict with these readings.
fn said(test: &Value, read: &Read, probe: usize, readings: &[&Reading]) -> Option<Expect> {
    let rewritten = rewritten(test, readings);
    let mut state = rewritten.as_ref().unwrap_or(read).state.clone();
    readings.iter().for_each(|reading| (reading.reread)(&mut state));
    let probe = &read.probes[probe];
    if readings.iter().any(|reading| (reading.refuses)(&state, probe)) {
        return Some(Expect::Drop);
    }
    Some(opinions::of_model(&state, probe)?.verdict)
}

/// The test with its documents rewritten by these readings; none where they rewrite nothing.
fn rewritten(test: &Value, readings: &[&Reading]) -> Option<Read> {
    let mut changed = test.clone();
    for document in changed["spec"]["policies"].as_array_mut()? {
        readings.iter().for_each(|reading| (reading.rewrite)(document));
    }
    if changed == *test { None } else { opinions::read(&changed).ok() }
}

impl Reading {
    /// Whether a test has anything that the incumbent reads otherwise than we do.
    fn bears_on(&self, test: &Value, reads: [&Read; 2], probe: usize) -> bool {
        let rereads = |read: &Read| {
            let mut changed = read.state.clone();
            (self.reread)(&mut changed);
            changed.policies != read.state.policies
        };
        rewritten(test, &[self]).is_some()
            || reads.into_iter().any(rereads)
            || (self.refuses)(&reads[0].state, &reads[0].probes[probe])
    }
}

#[cfg(test)]
mod tests;
