//! What is in force, as readers see it: an immutable value that the agent's thread publishes after each turn.
//!
//! A reader takes the last published value and keeps it as long as it needs: it waits for no change, and no change waits for
//! it. A value is published only once all its map entries are written, and before the client whose command changed it has the
//! answer.

use crate::objects::{ObjectId, SourcedObject};
use crate::state::WorkloadRecord;
use control::Snapshot;
use identity::SharedMap;
use kubernetes::ServerLoad;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

/// The state of the node at one moment.
#[derive(Debug)]
pub(crate) struct Published {
    /// When the agent's thread published this. The thread takes a turn at least twice a second.
    pub(crate) at: Instant,
    /// The world.
    pub(crate) world: Snapshot,
    /// The objects of policy files and requests, each with its source.
    pub(crate) objects: SharedMap<ObjectId, SourcedObject>,
    /// The workloads of this node with their interfaces and namespaces.
    pub(crate) workloads: SharedMap<u32, Arc<WorkloadRecord>>,
    /// Why no attachment can be made, one sentence each.
    pub(crate) unready: Vec<String>,
    /// What was requested from the API server since the start, if there is one.
    pub(crate) server_load: Option<ServerLoad>,
    /// What is wrong with files and sources of changes.
    pub(crate) problems: Vec<String>,
    /// Features that the agent runs without on this host.
    pub(crate) notes: Vec<String>,
}

/// The last published state; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Publication(Arc<RwLock<Arc<Published>>>);

impl Publication {
    /// Publishes a first state.
    pub(crate) fn new(first: Published) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(first))))
    }

    /// The state as it was published last.
    pub(crate) fn current(&self) -> Arc<Published> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the published state.
    pub(crate) fn publish(&self, next: Published) {
        let next = Arc::new(next);
        let before = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), next);
        // Not under the lock: this may be the last reference.
        drop(before);
    }
}
