//! The world and the kernel's maps: a change of the world becomes map writes, all or none.

use crate::deferred::Deferred;
use crate::grace::GracePeriods;
use crate::host_devices::{DeviceCache, HostDevices};
use crate::names::{self, SharedNames};
use crate::notifier::Notifier;
use crate::paths::Paths;
use crate::rule_sets::Publisher;
use abi::batch::Batch;
use abi::endpoint::flag;
use abi::hook::Site;
use anyhow::Context;
use control::{Change, World, Writes};
use identity::Allocator;
use l7::rule::HttpRule;
use loader::{AttachError, Attacher, Counters, EventRings, Loaded, Mode, Options, Upkeep, UsageReader};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Instant;
use workload::Group;

/// The loaded programs and maps, and the world that the maps hold.
#[derive(Debug)]
pub(crate) struct Kernel {
    loaded: Loaded,
    world: World,
    devices: HostDevices,
    publisher: Publisher,
    /// Names of the world's objects, for threads that decode events.
    names: SharedNames,
    /// Removals that wait until no packet uses the entries.
    deferred: Deferred,
    grace_periods: GracePeriods,
    /// Notified when nodes of the world change.
    node_watcher: Option<Notifier>,
    /// Whether the maps may differ from the world, since a change could not be rolled back.
    is_unsure: bool,
}

impl Kernel {
    /// Loads the programs, or adopts the programs and map entries of an earlier run.
    pub(crate) fn open(
        paths: &Paths,
        (mode, devices): (Mode, HostDevices),
        (identities, last_rule_set): (Allocator, u32),
        grace_periods: GracePeriods,
    ) -> anyhow::Result<Self> {
        let (pin_directory, group) = (Some(paths.pins()), Group::of_node());
        let options = Options { pin_directory, mode, group, ..Options::default() };
        let loaded = Loaded::open(options)?;
        let publisher = Publisher::new(&paths.rule_sets());
        if let Err(error) = publisher.share() {
            tracing::warn!(%error, "the rule sets cannot be shared with the proxy");
        }
        let unreadable = || format!("{} cannot be read", paths.rule_sets().display());
        let highest = publisher.highest().with_context(unreadable)?;
        let published = publisher.published().with_context(unreadable)?;
        let mut world = World::adopt(loaded.rows()?, identities);
        world.restore_rule_sets(published, highest.max(last_rule_set));
        Ok(Self {
            loaded,
            names: SharedNames::new(&world),
            world,
            devices,
            publisher,
            deferred: Deferred::default(),
            grace_periods,
            node_watcher: None,
            is_unsure: false,
        })
    }

    /// Notifies a source whenever nodes of the world, or the interfaces that lead to them, have changed.
    pub(crate) fn notify_of_nodes(&mut self, watcher: Notifier) {
        self.node_watcher = Some(watcher);
    }

    /// Notifies the source that follows nodes.
    pub(crate) fn nodes_changed(&self) {
        self.node_watcher.iter().for_each(Notifier::notify);
    }

    /// The world that the maps hold.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The names of the world's objects, for threads that decode events.
    pub(crate) fn names(&self) -> SharedNames {
        self.names.clone()
    }

    /// The ring buffers of events.
    pub(crate) fn events(&self) -> io::Result<EventRings> {
        self.loaded.events()
    }

    /// The packet counters.
    pub(crate) fn counters(&self) -> Counters {
        self.loaded.counters()
    }

    /// How programs are attached: `tcx` or `clsact`.
    pub(crate) fn attachment(&self) -> &'static str {
        self.loaded.attachment()
    }

    /// The record of whether the external interfaces must be searched again.
    pub(crate) fn devices(&self) -> DeviceCache {
        self.devices.cache()
    }

    /// Attaches and detaches the programs of workloads, from any thread.
    pub(crate) fn attacher(&self) -> Attacher {
        self.loaded.attacher()
    }

    /// Attaches the programs of the proxy's interface.
    pub(crate) fn attach_proxy(&mut self, interface: u32) -> Result<(), AttachError> {
        self.loaded.attach_proxy(interface)
    }

    /// The attachments and pins, for a thread that checks them.
    pub(crate) fn upkeep(&self) -> Upkeep {
        self.loaded.upkeep()
    }

    /// How full the maps are, for a thread that watches them.
    pub(crate) fn usage(&self) -> UsageReader {
        self.loaded.usage()
    }

    /// Applies changes together and atomically.
    ///
    /// # Errors The kernel refuses a write. The world is as before then, and writes of the change are rolled back.
    pub(crate) fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> anyhow::Result<()> {
        let mut dead_rule_sets = Vec::new();
        if self.is_unsure {
            self.world
                .adopt_rows(self.loaded.rows().context("the maps cannot be read, so nothing is changed")?);
            dead_rule_sets = self.deferred.replace();
        }
        let changes: Vec<Change> = changes.into_iter().collect();
        let mut renamed = names::removed(&changes);
        let concern_nodes = changes.iter().any(concerns_nodes);
        let mut writes = self.world.apply(changes);
        // Events of the changed objects come with the write, so the objects have their names from before on.
        let renamed_at = names::now();
        if !self.deferred.admits(&writes) {
            self.clean_up_now();
        }
        let mut written = self.guard_and_write(&writes);
        if written.is_err() && self.deferred.due().is_some() {
            // A map may be full of entries whose removal waits.
            self.clean_up_now();
            written = self.guard_and_write(&writes);
        }
        if let Err(error) = written {
            self.roll_back(writes.undo);
            return Err(error.context("the change is not applied; the earlier state stays in force"));
        }
        self.is_unsure = false;
        renamed.workloads.append(&mut writes.renamed.workloads);
        renamed.policies.append(&mut writes.renamed.policies);
        renamed.services.append(&mut writes.renamed.services);
        self.names.update(&self.world, &renamed, renamed_at);
        writes.dead_rule_sets.append(&mut dead_rule_sets);
        self.deferred.add(writes, Instant::now());
        if concern_nodes {
            self.nodes_changed();
        }
        Ok(())
    }

    /// Attaches programs to every external interface while the node has a policy, masquerades or has ports that
    /// lead to workloads, and detaches them otherwise.
    ///
    /// Called before the write that enforces the policy: until then these programs forward everything.
    pub(crate) fn guard_node(&mut self) -> anyhow::Result<()> {
        let wanted = if self.node_enforces() || self.world.translates_outside() {
            self.devices.interfaces()?
        } else {
            BTreeSet::new()
        };
        let guarded: BTreeSet<u32> = self
            .loaded
            .attached()
            .filter(|(_, hook)| hook.site() == Site::Outside)
            .map(|(interface, _)| interface)
            .collect();
        for &interface in &wanted {
            self.loaded.attach_outside(interface)?;
        }
        for &interface in guarded.difference(&wanted) {
            self.loaded.detach_outside(interface)?;
        }
        self.guard_processes()
    }

    /// Attaches the programs of the node's processes while ports of the node lead to workloads, and detaches them otherwise. A
    /// kernel that refuses them does not keep a port from being opened: others reach the port.
    fn guard_processes(&mut self) -> anyhow::Result<()> {
        if !self.world.has_host_ports() {
            return Ok(self.loaded.detach_processes()?);
        }
        if let Err(error) = self.loaded.attach_processes() {
            tracing::warn!(error = api::sentence(&error), "processes of the node do not reach its hostPorts");
        }
        Ok(())
    }

    /// The first address of each family at the external interfaces.
    pub(crate) fn external_addresses(&mut self) -> anyhow::Result<Vec<IpAddr>> {
        self.devices.addresses()
    }

    fn node_enforces(&self) -> bool {
        self.world.node_row().is_some_and(|node| node.flags & flag::ENFORCE != 0)
    }

    /// When [`Self::clean_up`] must be called.
    pub(crate) fn clean_up_due(&self) -> Option<Instant> {
        self.deferred.due()
    }

    /// Removes map entries and rule sets that are not in use any more.
    pub(crate) fn clean_up(&mut self) {
        let (writes, rule_sets) = self.deferred.take_due(Instant::now());
        remove(&self.loaded, &writes);
        rule_sets.into_iter().for_each(|number| self.publisher.withdraw(number));
    }

    /// Rolls the world and the maps back, whatever the maps hold now.
    fn roll_back(&mut self, undo: Vec<Change>) {
        let found = self.loaded.rows();
        // Without the rows nothing can be written now. The world still goes back under the numbers of before.
        self.world.adopt_rows(found.iter().flatten().copied());
        let mut writes = self.world.apply(undo);
        // The rows that waited are among those that were found.
        writes.dead_rule_sets.append(&mut self.deferred.replace());
        let repaired = found.map_err(anyhow::Error::from).and_then(|_| self.guard_and_write(&writes));
        self.is_unsure = repaired.is_err();
        if !self.is_unsure {
            self.deferred.add(writes, Instant::now());
        }
        if let Err(error) = repaired {
            tracing::error!(
                error = api::sentence(error.as_ref()),
                "a change could not be rolled back completely"
            );
        }
    }

    /// Removes the map entries and rule sets of an earlier run that are not in use.
    pub(crate) fn clean_up_leftovers(&mut self) {
        self.clean_up_now();
        self.world.sweep_rule_sets();
        let named = self.world.registry().book.sets().map(|(set, _)| set.0).collect();
        if let Err(error) = self.publisher.keep_only(&named) {
            tracing::warn!(%error, "rule sets that are not needed any more could not be removed");
        }
    }

    /// Writes rule sets again whose files another program removed or changed; returns how many.
    pub(crate) fn restore_rule_sets(&self) -> anyhow::Result<usize> {
        // The maps may refer to other sets than the world, whose files must not change.
        if self.is_unsure {
            return Ok(0);
        }
        self.publisher.prepare()?;
        let sets = self.world.registry().book.sets().map(|(set, rules)| (set.0, rules));
        let lost = self.publisher.lost(sets);
        lost.iter().try_for_each(|(number, rules)| self.publish(*number, &***rules))?;
        Ok(lost.len())
    }

    fn publish<'a>(&self, number: u32, rules: impl IntoIterator<Item = &'a HttpRule>) -> anyhow::Result<()> {
        self.publisher
            .publish(number, rules)
            .with_context(|| format!("layer-7 rule set {number} could not be written"))
    }

    /// Makes all deferred writes, once no packet uses what they remove: for a change that packets on their way could see
    /// together with an earlier one.
    fn clean_up_now(&mut self) {
        let Self { deferred, grace_periods, loaded, .. } = self;
        deferred.make_all(|due| grace_periods.pass(due), |writes| remove(loaded, &writes));
    }

    fn guard_and_write(&mut self, writes: &Writes) -> anyhow::Result<()> {
        self.guard_node()?;
        self.write(writes)
    }

    fn write(&self, writes: &Writes) -> anyhow::Result<()> {
        for (number, rules) in &writes.rule_sets {
            policy::rule::check_cost(rules).map_err(|error| {
                let rule = &rules[error.rule];
                let text = rule.path.as_ref().or(rule.host.as_ref()).or(rule.method.as_ref());
                anyhow::anyhow!("{} (at the rule {:?})", error.message, text.map_or("", String::as_str))
            })?;
            self.publish(*number, &**rules)?;
        }
        Ok(self.loaded.apply(&writes.now)?)
    }
}

/// Whether a change may add, change or remove a node.
fn concerns_nodes(change: &Change) -> bool {
    matches!(change, Change::Node(_) | Change::RemoteNode(_) | Change::RemoveRemoteNode(_))
}

/// Makes deferred writes.
fn remove(loaded: &Loaded, writes: &Batch) {
    if let Err(error) = loaded.apply(writes) {
        // They only use space: no other entry refers to them.
        tracing::error!(%error, "map entries that are not needed any more could not be removed");
    }
}
