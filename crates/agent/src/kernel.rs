//! The world and the kernel side by side: changes go through the one into the other.

use crate::host_devices::HostDevices;
use crate::names::{self, SharedNames};
use crate::paths::Paths;
use crate::rule_sets::Publisher;
use abi::batch::Batch;
use abi::endpoint::flag;
use abi::hook::Site;
use anyhow::Context;
use control::{Change, World, Writes};
use identity::Allocator;
use l7::rule::HttpRule;
use loader::{AttachError, CounterRow, EventRing, Loaded, Mode, Options, ReadError};
use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

/// How long a packet may be on its way through rows that were just replaced. A program runs for microseconds; this
/// leaves room for a CPU that the hypervisor takes away.
const GRACE: Duration = Duration::from_millis(20);

/// What is in force, and the way to change it.
#[derive(Debug)]
pub(crate) struct Kernel {
    loaded: Loaded,
    world: World,
    devices: HostDevices,
    publisher: Publisher,
    /// The names of what the world holds, for those who decode events.
    names: SharedNames,
    leftovers: Leftovers,
    /// Whether the maps may hold something else than the world says.
    is_unsure: bool,
}

/// What to clean up once no packet can need it.
#[derive(Debug, Default)]
struct Leftovers {
    writes: Batch,
    rule_sets: Vec<u32>,
    due: Option<Instant>,
}

impl Kernel {
    /// Loads the programs, or takes over those of an earlier run, with the rows that they judge by.
    pub(crate) fn open(
        paths: &Paths,
        (mode, devices): (Mode, HostDevices),
        (identities, last_rule_set): (Allocator, u32),
    ) -> anyhow::Result<Self> {
        let options = Options { pin_directory: Some(paths.pins()), mode, ..Options::default() };
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
            leftovers: Leftovers::default(),
            is_unsure: false,
        })
    }

    /// The world that the maps hold.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The names of the world's objects, for threads that decode events.
    pub(crate) fn names(&self) -> SharedNames {
        self.names.clone()
    }

    /// The ring buffer of events.
    pub(crate) fn events(&self) -> io::Result<EventRing> {
        self.loaded.events()
    }

    /// The packet counters.
    pub(crate) fn counters(&self) -> Result<Vec<CounterRow>, ReadError> {
        self.loaded.counters()
    }

    /// How programs are attached: `tcx` or `clsact`.
    pub(crate) fn attachment(&self) -> &'static str {
        self.loaded.attachment()
    }

    /// Attaches the programs of a workload's interface.
    pub(crate) fn attach(&mut self, interface: u32) -> Result<(), AttachError> {
        self.loaded.attach(interface)
    }

    /// Attaches the programs of the proxy's interface.
    pub(crate) fn attach_proxy(&mut self, interface: u32) -> Result<(), AttachError> {
        self.loaded.attach_proxy(interface)
    }

    /// Detaches the programs of an interface that is gone.
    pub(crate) fn detach(&mut self, interface: u32) -> Result<(), AttachError> {
        self.loaded.detach(interface)
    }

    /// Makes changes take effect, together and at once.
    ///
    /// # Errors
    /// When the kernel refuses a write. Then the world is as before, and what was written of the change is taken back.
    pub(crate) fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> anyhow::Result<()> {
        self.clean_up_now();
        if self.is_unsure {
            self.world
                .adopt_rows(self.loaded.rows().context("the maps cannot be read, so nothing is changed")?);
        }
        let changes: Vec<Change> = changes.into_iter().collect();
        let mut renamed = names::removed(&changes);
        let mut writes = self.world.apply(changes);
        if let Err(error) = self.guard_node().and_then(|()| self.write(&writes)) {
            self.roll_back(writes.undo);
            return Err(error.context("the change is not in force; what was, still is"));
        }
        self.is_unsure = false;
        renamed.endpoints.append(&mut writes.renamed.endpoints);
        renamed.policies.append(&mut writes.renamed.policies);
        renamed.services.append(&mut writes.renamed.services);
        self.names.update(&self.world, &renamed, Instant::now());
        let Writes { later, dead_rule_sets, .. } = writes;
        self.leftovers = Leftovers {
            due: (!later.is_empty() || !dead_rule_sets.is_empty()).then(|| Instant::now() + GRACE),
            writes: later,
            rule_sets: dead_rule_sets,
        };
        Ok(())
    }

    /// Has the node's own policy asked at every way out of the node, for as long as it enforces something.
    ///
    /// Comes before the write that puts the policy in force: until then the programs let everything pass.
    pub(crate) fn guard_node(&mut self) -> anyhow::Result<()> {
        let wanted = if self.node_enforces() { self.devices.interfaces()? } else { BTreeSet::new() };
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
        Ok(())
    }

    fn node_enforces(&self) -> bool {
        self.world.node_row().is_some_and(|node| node.flags & flag::ENFORCE != 0)
    }

    /// When [`Self::clean_up`] has something to do.
    pub(crate) fn clean_up_due(&self) -> Option<Instant> {
        self.leftovers.due
    }

    /// Removes what no packet can need any more.
    pub(crate) fn clean_up(&mut self) {
        let Leftovers { writes, rule_sets, .. } = std::mem::take(&mut self.leftovers);
        if let Err(error) = self.loaded.apply(&writes) {
            // They take room and nothing else: nothing names them.
            tracing::error!(%error, "rows that are not needed any more could not be removed");
        }
        rule_sets.into_iter().for_each(|number| self.publisher.withdraw(number));
    }

    /// Returns to where the world was, from whatever the maps hold now.
    fn roll_back(&mut self, undo: Vec<Change>) {
        let found = self.loaded.rows();
        if let Ok(rows) = &found {
            self.world.adopt_rows(rows.iter().copied());
        }
        let writes = self.world.apply(undo);
        let repaired = found.map_err(anyhow::Error::from).and_then(|_| {
            self.guard_node()?;
            self.write(&writes)?;
            Ok(self.loaded.apply(&writes.later)?)
        });
        self.is_unsure = repaired.is_err();
        if let Err(error) = repaired {
            tracing::error!(error = api::sentence(error.as_ref()), "a change could not be taken back whole");
        }
    }

    /// Removes the rule sets of an earlier run that nothing names any more, once its rows are gone.
    pub(crate) fn clean_up_leftovers(&mut self) {
        self.clean_up_now();
        self.world.sweep_rule_sets();
        let named = self.world.enforcement().book().sets().map(|(set, _)| set.0).collect();
        if let Err(error) = self.publisher.keep_only(&named) {
            tracing::warn!(%error, "rule sets that are not needed any more could not be removed");
        }
    }

    /// Writes the rule sets again whose files were removed or changed by others.
    pub(crate) fn restore_rule_sets(&self) -> anyhow::Result<()> {
        // The rows may name other sets than the world does, and their files are as they were.
        if self.is_unsure {
            return Ok(());
        }
        self.publisher.prepare()?;
        let sets = self.world.enforcement().book().sets().map(|(set, rules)| (set.0, rules));
        for (number, rules) in self.publisher.lost(sets) {
            self.publish(number, &**rules)?;
            tracing::warn!(number, "the file of a layer-7 rule set was not as it was written: written again");
        }
        Ok(())
    }

    fn publish<'a>(&self, number: u32, rules: impl IntoIterator<Item = &'a HttpRule>) -> anyhow::Result<()> {
        self.publisher
            .publish(number, rules)
            .with_context(|| format!("layer-7 rule set {number} could not be written"))
    }

    fn clean_up_now(&mut self) {
        if let Some(due) = self.leftovers.due {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.clean_up();
        }
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
