//! Security identities: from an allocator that answers at once, or from a source that answers later.

use crate::allocator::Allocator;
use crate::label::Labels;
use foldhash::HashSet;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The identities in use, and the requests to the source that are open.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    known: Allocator,
    /// None if the allocator itself is the source.
    requested: Option<Requested>,
    /// Labels whose identity this step answered or restored, perhaps for no workload.
    unheld: Vec<Arc<Labels>>,
    /// Identities that this step removed.
    removed: Vec<(u32, Arc<Labels>)>,
    last_step: LastStep,
}

/// What [`Identities::take_back`] reverts.
#[derive(Clone, Debug, Default)]
struct LastStep {
    removed: Vec<(u32, Arc<Labels>)>,
    wanted: Vec<Arc<Labels>>,
}

/// What goes from a node to the source of identities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityRequests {
    /// Labels that need an identity, each requested for once. [`Identities::answer`] takes the answer.
    pub wanted: Vec<Arc<Labels>>,
    /// Identities that no workload has any more.
    pub released: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
struct Requested {
    /// Labels that were requested from the source and have no answer yet.
    open: HashSet<Arc<Labels>>,
    /// Workloads that wait for an answer.
    waiting: BTreeSet<u32>,
    requests: IdentityRequests,
}

/// Why labels have no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The source has not answered yet.
    Pending,
    /// Every identity is taken.
    Exhausted,
}

impl Identities {
    /// Identities that were in use before a restart.
    pub fn restored(known: Allocator) -> Self {
        Self { known, ..Self::default() }
    }

    /// Leaves the allocation of identities to a source that answers later.
    pub fn ask_source(&mut self) {
        self.requested = Some(Requested::default());
    }

    /// The identities.
    pub fn known(&self) -> &Allocator {
        &self.known
    }

    /// The labels of an identity.
    pub fn labels(&self, number: u32) -> Option<&Arc<Labels>> {
        self.known.labels(number)
    }

    /// Adds a hold to the identity of these labels. If the source must be queried, the workloads wait.
    pub fn acquire(&mut self, labels: &Arc<Labels>, workloads: &BTreeSet<u32>) -> Result<u32, Missing> {
        let Some(requested) = &mut self.requested else {
            return self.known.acquire(labels).map_err(|_| Missing::Exhausted);
        };
        if self.known.number(labels).is_none() {
            requested.waiting.extend(workloads);
            if requested.open.insert(labels.clone()) {
                requested.requests.wanted.push(labels.clone());
            }
            return Err(Missing::Pending);
        }
        requested.waiting.retain(|id| !workloads.contains(id));
        self.known.acquire(labels).map_err(|_| Missing::Exhausted)
    }

    /// Releases one hold.
    pub fn release(&mut self, number: u32) {
        let Some(labels) = self.known.release(number) else { return };
        self.removed.push((number, labels));
        if let Some(requested) = &mut self.requested {
            requested.requests.released.push(number);
        }
    }

    /// Takes the source's answer; the workloads that waited are returned. An answer that contradicts an earlier one is
    /// ignored: two sets of labels never have one number.
    pub fn answer(&mut self, labels: Arc<Labels>, number: u32) -> Vec<u32> {
        let Some(requested) = &mut self.requested else { return Vec::new() };
        requested.open.remove(&labels);
        if self.known.restore(number, labels.clone()).is_err() {
            return Vec::new();
        }
        self.unheld.push(labels);
        requested.waiting.iter().copied().collect()
    }

    /// Removes a workload from those that wait for an answer.
    pub fn forget(&mut self, workload: u32) {
        if let Some(requested) = &mut self.requested {
            requested.waiting.remove(&workload);
        }
    }

    /// Reverts the removals and the requests of the last step, whose writes failed: removed identities keep their numbers for
    /// the workloads that come back, and labels count as not requested. An answer stays, since the source gives no other.
    pub fn take_back(&mut self) {
        let LastStep { removed, wanted } = std::mem::take(&mut self.last_step);
        for (number, labels) in removed {
            if self.known.restore(number, labels.clone()).is_ok() {
                self.unheld.push(labels);
            }
        }
        if let Some(requested) = &mut self.requested {
            for labels in &wanted {
                requested.open.remove(labels);
            }
        }
    }

    /// Ends a step, and returns its requests. Identities that were answered or restored and that no workload holds are
    /// removed.
    pub fn take_requests(&mut self) -> IdentityRequests {
        for labels in std::mem::take(&mut self.unheld) {
            // If no workload holds the identity, this hold is the first and the last.
            if let Ok(number) = self.known.acquire(&labels) {
                self.release(number);
            }
        }
        let requested = self.requested.as_mut();
        let requests = requested.map(|requested| std::mem::take(&mut requested.requests)).unwrap_or_default();
        self.last_step =
            LastStep { removed: std::mem::take(&mut self.removed), wanted: requests.wanted.clone() };
        requests
    }
}
