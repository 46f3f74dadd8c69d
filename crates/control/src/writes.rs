//! What comes out of a change: map writes, rule sets, and the way back.

use crate::change::Change;
use abi::batch::{Batch, Run};
use abi::map::MapId;
use identity::IdentityRequests;
use policy::rule::{HttpRule, PolicyId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What to write for one change, and what to clean up after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Layer-7 rule sets that must be readable before `now` is written.
    pub rule_sets: Vec<(u32, Arc<[HttpRule]>)>,
    /// Writes to make at once, in this order.
    pub now: Batch,
    /// Writes to make after the grace time: when every packet that was on its way during `now` has passed (a few
    /// milliseconds do).
    pub later: Batch,
    /// Removals to make after another grace time: no row leads to these rows once `later` is written, but packets that
    /// started before may still read them.
    pub last: Batch,
    /// Layer-7 rule sets that no row names once `later` is written.
    pub dead_rule_sets: Vec<u32>,
    /// The changes that lead back to where the world was before. An answer of the source of identities stays in force: the
    /// source owns the number and does not answer again. The writes of these changes then contain its rows.
    pub undo: Vec<Change>,
    /// What came, or has another name or other labels.
    pub renamed: Renamed,
    /// Requests to the source of identities; empty where the world allocates them itself.
    pub identities: IdentityRequests,
}

/// What came, or has another name or other labels than before; what is gone may be listed too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renamed {
    /// Workloads, by number.
    pub endpoints: BTreeSet<u32>,
    /// Policies.
    pub policies: BTreeSet<PolicyId>,
    /// Services, by namespace and name.
    pub services: BTreeSet<(String, String)>,
}

/// Whether one of the writes can change the verdict on a flow that connection tracking remembers.
pub(crate) fn concern_flows(writes: &Batch) -> bool {
    let concerns = |run: &Run| !matches!(run.map(), MapId::Services | MapId::Backends);
    writes.runs().iter().any(concerns)
}
