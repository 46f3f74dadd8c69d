//! The desired state of the node, and the way from a change of it to the kernel and to the disk.
//!
//! Everything that changes what the node enforces comes through here: policy files, requests, addresses of the node,
//! workloads. The reconciler applies a change whole or not at all.

use crate::addresses::Addresses;
use crate::config::AgentConfig;
use crate::journal::Journal;
use crate::kernel::Kernel;
use crate::node_pods::NodePods;
use crate::objects::{ObjectChanges, Objects};
use crate::paths::Paths;
use crate::problems::{Problem, Problems, message};
use crate::state::State;
use crate::wiring::Wiring;
use crate::workloads::Lifecycle;
use crate::{directories, identities};
use control::{Change, World};
use policy::rule::Cidr;

/// The failure to write the state, as status and log name it.
const STATE: Problem = Problem::new(
    "the state of the next start cannot be saved",
    "free space on the disk or make it writable; the agent writes again until that succeeds",
);

/// What the agent's thread owns of the node: the desired state, its record on disk, the kernel and the network.
#[derive(Debug)]
pub(crate) struct Reconciler {
    pub(crate) config: AgentConfig,
    pub(crate) paths: Paths,
    pub(crate) state: State,
    pub(crate) kernel: Kernel,
    pub(crate) addresses: Addresses,
    pub(crate) wiring: Wiring,
    /// The workloads that are being created or removed.
    pub(crate) lifecycle: Lifecycle,
    /// The manifests that clients applied, on disk.
    pub(crate) journal: Journal,
    /// What fails at present and is retried.
    pub(crate) problems: Problems,
    /// Features that the agent runs without on this host.
    pub(crate) notes: Vec<String>,
    /// The objects of policy files and requests that are applied.
    pub(crate) objects: Objects,
    /// The pods of this node, as the API server describes them.
    pub(crate) pods: NodePods,
}

/// The failure to use the blocks of the Node object, as status and log name it.
const POD_BLOCKS: Problem = Problem::new(
    "the addresses of the Node object's podCIDRs cannot be used",
    "pods get no addresses of those blocks until the agent has started again",
);

/// When the addresses of services must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Before the change: where they cannot be saved, nothing is changed.
    Required,
    /// Soon: a failure is a problem of the status and is retried. For changes whose source is read again at the next
    /// start.
    Retried,
}

impl Reconciler {
    /// The world: the desired state as map entries.
    pub(crate) fn world(&self) -> &World {
        self.kernel.world()
    }

    /// Applies a change of objects, all or none.
    pub(crate) fn apply_objects(
        &mut self,
        mut objects: ObjectChanges,
        persistence: Persistence,
    ) -> anyhow::Result<()> {
        let changes = objects.take();
        if changes.is_empty() {
            self.objects.commit(objects);
            return Ok(());
        }
        let before = (self.addresses.clone(), self.state.services.clone());
        let applied = self.assign_addresses(changes).and_then(|changes| {
            if self.state.services != before.1 {
                match persistence {
                    Persistence::Required => self.save()?,
                    Persistence::Retried => self.save_soon(),
                }
            }
            self.kernel.apply(changes)
        });
        if applied.is_ok() {
            self.objects.commit(objects);
            self.follow_pod_blocks();
        } else {
            (self.addresses, self.state.services) = before;
        }
        self.save_soon();
        applied
    }

    /// Applies changes that no object describes, such as addresses of the node; all or none.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> anyhow::Result<()> {
        let changes = self.assign_addresses(changes)?;
        self.kernel.apply(changes)?;
        self.follow_pod_blocks();
        Ok(())
    }

    /// Lets new workloads get addresses from the blocks of the node's Node object, unless the configuration has blocks.
    fn follow_pod_blocks(&mut self) {
        let blocks = self.world().node().pod_blocks.clone();
        let is_configured = !self.config.workload_addresses.is_empty();
        if is_configured || blocks.is_empty() || self.addresses.are_blocks(&blocks) {
            return;
        }
        let set = self.set_workload_blocks(&blocks);
        self.problems.note(POD_BLOCKS, set.map_err(message));
    }

    /// Replaces the blocks that new workloads get addresses from, at most one of each family.
    fn set_workload_blocks(&mut self, blocks: &[Cidr]) -> anyhow::Result<()> {
        let taken = self.state.workloads.values().flat_map(|known| &known.wanted.addresses);
        let own = self.addresses.replace_workload_blocks(blocks, taken)?;
        match self.world().node().proxy {
            Some(proxy) => self.wiring.assign_to_node(proxy.interface, &own),
            None => Ok(()),
        }
    }

    /// Why no workload can be attached now, one sentence each.
    pub(crate) fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.addresses.are_none() {
            reasons.push(
                "this node has no addresses for workloads yet (podCIDRs, workloadAddresses)".to_owned(),
            );
        }
        if self.problems.has(STATE) {
            reasons.push(format!("{}, so no workload can be created", STATE.what()));
        }
        reasons
    }

    /// Writes the state.
    pub(crate) fn save(&mut self) -> anyhow::Result<()> {
        let state = self.record();
        self.lifecycle.save_now(state)
    }

    /// Writes the state after this turn, on another thread; a failure is a problem and is retried.
    pub(crate) fn save_soon(&mut self) {
        self.lifecycle.save_soon();
    }

    /// Records the result of writing the state.
    pub(crate) fn note_saved(&mut self, saved: Result<(), String>) {
        self.problems.note(STATE, saved);
    }

    /// The state as the next start needs it.
    pub(crate) fn record(&mut self) -> State {
        identities::record(self.kernel.world().identities(), &mut self.state);
        let last = self.kernel.world().registry().book.last_set();
        self.state.last_rule_set = self.state.last_rule_set.max(last);
        self.state.clone()
    }

    /// Retries what failed before.
    pub(crate) fn retry(&mut self) {
        if directories::are_due(&self.problems) {
            directories::prepare(&self.paths, &self.problems);
        }
        if self.problems.has(STATE) {
            self.save_soon();
        }
    }

    /// Assigns addresses to services, first to those that name an address, so that no other service gets it.
    fn assign_addresses(&mut self, mut changes: Vec<Change>) -> anyhow::Result<Vec<Change>> {
        for change in &changes {
            if let Change::RemoveService { namespace, name } = change {
                self.addresses.release_service(namespace, name, &mut self.state);
            }
        }
        let services = changes.iter_mut().filter_map(|change| match change {
            Change::Service(service) => Some(service),
            _ => None,
        });
        let mut services: Vec<_> = services.collect();
        services.sort_by_key(|service| service.addresses.is_empty());
        for service in services {
            self.addresses.assign(service, &mut self.state)?;
        }
        Ok(changes)
    }
}
