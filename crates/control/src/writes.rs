//! The output of a change: map writes, rule sets, and the changes that revert it.

use crate::change::Change;
use crate::footprint::Footprint;
use abi::batch::{Batch, Run};
use abi::map::MapId;
use policy::rule::{HttpRule, PolicyId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The writes of one change, and the removals after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Layer-7 rule sets that must be readable before `now` is written.
    pub rule_sets: Vec<(u32, Arc<[HttpRule]>)>,
    /// Writes to make at once, in this order.
    pub now: Batch,
    /// Writes to make after the grace time: when the packet path has finished every packet that it started before or during
    /// `now` (a few milliseconds).
    pub later: Batch,
    /// Removals to make after another grace time: no row leads to these rows once `later` is written, but packets that
    /// started before may still read them.
    pub last: Batch,
    /// What `now` changes that a packet can read.
    pub footprint: Footprint,
    /// Layer-7 rule sets that no row names once `later` is written.
    pub dead_rule_sets: Vec<u32>,
    /// The changes that revert this change. Workloads that got a number of the cluster keep it. The writes of these changes
    /// then contain its rows.
    pub undo: Vec<Change>,
    /// Objects that were added, renamed or relabelled.
    pub renamed: Renamed,
}

/// Objects that were added, renamed or relabelled. Removed objects may be listed too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renamed {
    /// Workloads of this node and of others, by number.
    pub workloads: BTreeSet<u32>,
    /// Policies.
    pub policies: BTreeSet<PolicyId>,
    /// Services, by namespace and name.
    pub services: BTreeSet<(String, String)>,
}

/// Whether one of the writes can change what connection tracking remembers of a flow: its verdict, and the interfaces and
/// addresses that lead its packets on. The packet path looks up neither for an established flow, so no write but of backend
/// sets may be left out.
pub(crate) fn concern_flows(writes: &Batch) -> bool {
    let concerns = |run: &Run| !matches!(run.map(), MapId::Services | MapId::Backends);
    writes.runs().iter().any(concerns)
}
