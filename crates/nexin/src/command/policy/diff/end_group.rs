//! Groups of ends that neither the old nor the new policies distinguish.

use super::naming::LOCAL;
use crate::command::policy::scenario::Scenario;
use abi::identity::is_workload;
use agent::explain::ConnectionEnd;
use identity::{Labels, Source};
use policy::rule::{Peer, Peers};

/// Ends that policies cannot distinguish.
#[derive(Debug)]
pub(super) struct EndGroup {
    pub(super) names: Vec<String>,
    /// One of them, in the old and in the new scenario.
    pub(super) ends: [ConnectionEnd; 2],
    /// Whether each of their ports may have any name that rules use.
    pub(super) has_any_ports: bool,
}

impl EndGroup {
    pub(super) fn one(end: ConnectionEnd) -> Self {
        Self { names: vec![end.name.clone()], ends: [end.clone(), end], has_any_ports: false }
    }

    /// The node as its own workloads see it.
    pub(super) fn local(&self) -> Self {
        let names = self.names.iter().map(|name| format!("{name}{LOCAL}")).collect();
        Self { names, ends: self.ends.each_ref().map(ConnectionEnd::as_local), has_any_ports: false }
    }

    /// Whether both are the same single workload or node.
    pub(super) fn is(&self, other: &Self) -> bool {
        let is_one = self.names.len() == 1 && other.names.len() == 1;
        is_one && self.ends.iter().zip(&other.ends).all(|(one, other)| one.is(other))
    }

    /// Number of workloads.
    pub(super) fn workloads(&self) -> usize {
        if is_workload(self.ends[0].number) { self.names.len() } else { 0 }
    }
}

/// All peers of all rules, with references resolved.
pub(super) fn peers(worlds: &[Scenario; 2]) -> impl Iterator<Item = &Peer> {
    let resolved = worlds.iter().flat_map(|world| {
        world.registry.policies.iter().filter_map(|policy| world.registry.policies.resolved(&policy.id))
    });
    let rules = resolved.flat_map(|policy| &policy.specs).flat_map(|spec| &spec.rules);
    let peers = rules.filter_map(|rule| match &rule.peers {
        Peers::Any => None,
        Peers::Of(peers) => Some(peers),
    });
    peers.flatten()
}

/// Parses labels as they are printed: `k8s:app=web`.
pub(super) fn labels(texts: &[String]) -> Labels {
    let mut labels = Labels::default();
    for text in texts {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let (source, name) = key.split_once(':').unwrap_or(("k8s", key));
        let source = match source {
            "k8s" => Source::K8s,
            "reserved" => Source::Reserved,
            other => Source::Other(other.to_owned()),
        };
        labels.insert(source, name, value);
    }
    labels
}
