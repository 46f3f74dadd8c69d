//! The agent itself: one thread that takes what happens, one thing after another, and answers for it.

use crate::addresses::Addresses;
use crate::config::Config;
use crate::events;
use crate::feed::Feed;
use crate::files::{self, Kept};
use crate::kernel::Kernel;
use crate::objects::{Objects, Texts};
use crate::occupancy::Latest;
use crate::outside::Outside;
use crate::paths::Paths;
use crate::server::{self, Question};
use crate::state::{State, Workload};
use crate::supervisor::Supervisor;
use crate::wiring::Wiring;
use crate::{identities, requests};
use anyhow::Context;
use control::{Change, Node, Proxy};
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the agent looks after what nobody tells it of: the proxy, and owners of workloads.
const TICK: Duration = Duration::from_millis(500);

/// How long manifests are left alone after a change before they are read.
const QUIET: Duration = Duration::from_millis(20);

/// What the agent is told.
#[derive(Debug)]
pub(crate) enum Incident {
    /// Somebody asks.
    Question(Question),
    /// Manifests may have changed.
    Files,
    /// The agent is to end.
    End,
}

/// Everything that the agent's one thread owns.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) config: Config,
    pub(crate) paths: Paths,
    pub(crate) state: State,
    pub(crate) kernel: Kernel,
    pub(crate) objects: Objects,
    pub(crate) addresses: Addresses,
    pub(crate) wiring: Wiring,
    pub(crate) supervisor: Supervisor,
    pub(crate) feed: Arc<Feed>,
    /// How the proxy's places are used.
    pub(crate) places: Latest,
    kept: Kept,
    /// The directory of manifests as it was when it was last read.
    seen: Option<files::Identity>,
    ended: bool,
    /// Held for as long as the agent runs.
    _lock: File,
}

/// The node as its configuration describes it.
fn node(config: &Config, addresses: Vec<IpAddr>, proxy: Proxy) -> Node {
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    Node {
        name: config.node_name.clone().unwrap_or_else(host),
        addresses,
        labels: config.node_labels.clone(),
        proxy: Some(proxy),
        report_forwards: true,
        mode: config.enforcement,
        audit: config.audit,
    }
}

/// Runs an agent until it is told to end. What it has put in the kernel stays and goes on working.
pub fn run(config: Config) -> anyhow::Result<()> {
    match &config.network_namespace {
        None => run_here(config),
        Some(name) => {
            let namespace = workload::Namespace::open(name)?;
            namespace.enter(|| run_here(config))?
        }
    }
}

fn run_here(config: Config) -> anyhow::Result<()> {
    let (tell, incidents) = channel();
    let mut agent = Agent::start(config, &tell)?;
    tracing::info!(socket = %agent.paths.socket().display(), "ready");
    agent.attend(&incidents);
    agent.feed.end();
    // Nobody listens at the socket any more; the file would only say otherwise.
    let _ = fs::remove_file(agent.paths.socket());
    Ok(())
}

impl Agent {
    fn start(config: Config, tell: &Sender<Incident>) -> anyhow::Result<Self> {
        let paths = config.paths();
        let lock = lock(&paths)?;
        let state = State::load(&paths.state())?;
        let (mut addresses, own) =
            Addresses::new(&config.workload_addresses, &config.service_addresses, &state)?;
        let (mut wiring, proxy) = Wiring::prepare(&own, config.proxy_port)?;
        let identities = identities::restore(&state)?;
        let numbers = (identities, state.last_rule_set);
        let outside = Outside::new(config.host_devices.clone())?;
        let mut kernel = Kernel::open(&paths, (config.attach, outside), numbers)?;
        kernel.loaded.attach_proxy(proxy.interface)?;
        let mut changes = vec![Change::Node(Box::new(node(&config, wiring.node_addresses()?, proxy)))];
        let workloads = take_over(state.workloads, &mut wiring, &mut kernel, &mut addresses, &mut changes)?;
        let state = State { workloads, ..state };
        let feed = Feed::new();
        let kept = Kept::new(&paths.kept())?;
        let supervisor = Supervisor::new(&paths, (config.proxy_port, config.proxy))?;
        let mut objects = Objects::default();
        let recalled = recall(&paths, &config, &kept, &mut objects)?;
        let mut agent = Self {
            config,
            paths,
            state,
            kernel,
            objects,
            addresses,
            wiring,
            supervisor,
            feed,
            places: Latest::default(),
            kept,
            seen: None,
            ended: false,
            _lock: lock,
        };
        changes.extend(agent.with_addresses(recalled)?);
        agent.kernel.apply(changes)?;
        // In force at last; from here on nothing is opened by what was left out above.
        agent.kernel.clean_up_leftovers()?;
        agent.remember()?;
        agent.look_after_proxy();
        events::pump(
            &agent.kernel.loaded,
            &agent.paths,
            agent.kernel.names.clone(),
            (Arc::clone(&agent.feed), agent.places.clone()),
        )?;
        let changed = tell.clone();
        files::watch(&agent.config.policies, move || drop(changed.send(Incident::Files)))?;
        agent.read_files();
        crate::signals::forward(tell.clone())?;
        server::serve(&agent.paths.socket(), tell.clone(), Arc::clone(&agent.feed))?;
        Ok(agent)
    }

    /// Takes one incident after another until the agent is to end.
    fn attend(&mut self, incidents: &Receiver<Incident>) {
        let mut tick = Instant::now() + TICK;
        while !self.ended {
            let due = self.kernel.clean_up_due().map_or(tick, |due| due.min(tick));
            match incidents.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Incident::Question(question)) => self.answer(question),
                Ok(Incident::Files) => {
                    // Whoever writes one file may be about to write another, or more of this one.
                    std::thread::sleep(QUIET);
                    self.read_files();
                }
                Ok(Incident::End) | Err(RecvTimeoutError::Disconnected) => self.ended = true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if self.kernel.clean_up_due().is_some_and(|due| due <= now) {
                self.kernel.clean_up();
            }
            if now >= tick {
                self.look_after();
                tick = now + TICK;
            }
        }
    }

    fn answer(&mut self, Question { request, reply }: Question) {
        self.ended |= matches!(request, api::Request::Stop);
        let answer = requests::answer(self, request);
        // Whoever asked may have gone.
        let _ = reply.send(answer);
    }

    /// Reads the directory of manifests; what changed takes effect together.
    fn read_files(&mut self) {
        let directory = self.config.policies.clone();
        let name = directory.display().to_string();
        self.seen = files::identity(&directory);
        let texts = match files::scan(&directory) {
            Ok(texts) => texts,
            Err(error) => return self.objects.note(&name, &error.to_string()),
        };
        let mut objects = self.objects.clone();
        let inside = |file: &str| file == name || Path::new(file).parent() == Some(&directory);
        let changes = objects.update(&texts, inside);
        let problems = objects.problems();
        if let Err(error) = self.put_in_force(objects, changes) {
            let error = api::sentence(error.as_ref());
            tracing::error!(error, "manifests that changed are not in force");
            return self.objects.note(&name, &error);
        }
        problems.iter().for_each(|problem| tracing::error!("{problem}"));
        if let Err(error) = self.keep(&texts) {
            tracing::error!(%error, "what is in force could not be kept for the next start");
        }
    }

    /// Keeps the texts that are in force, for a start at which they may be broken.
    fn keep(&self, texts: &Texts) -> std::io::Result<()> {
        for (file, text) in texts.iter().filter(|(file, _)| self.objects.is_in_force(file)) {
            if let Ok(text) = text {
                self.kept.keep(file, text)?;
            }
        }
        self.kept.keep_only(&texts.keys().cloned().collect())
    }

    /// Makes changes of objects take effect, all or none; only then are the objects the agent's.
    pub(crate) fn put_in_force(&mut self, objects: Objects, changes: Vec<Change>) -> anyhow::Result<()> {
        if !changes.is_empty() {
            let changes = self.with_addresses(changes)?;
            self.kernel.apply(changes)?;
        }
        self.objects = objects;
        self.remember()
    }

    /// Gives services their addresses.
    pub(crate) fn with_addresses(&mut self, mut changes: Vec<Change>) -> anyhow::Result<Vec<Change>> {
        for change in &mut changes {
            match change {
                Change::Service(service) => self.addresses.assign(service, &mut self.state)?,
                Change::RemoveService { namespace, name } => {
                    self.addresses.release_service(namespace, name, &mut self.state);
                }
                _ => {}
            }
        }
        Ok(changes)
    }

    /// Writes down what must be found again.
    pub(crate) fn remember(&mut self) -> anyhow::Result<()> {
        identities::record(self.kernel.world.identities(), &mut self.state);
        let last = self.kernel.world.enforcement().book().last_set();
        self.state.last_rule_set = self.state.last_rule_set.max(last);
        self.state.save(&self.paths.state())
    }

    /// Starts the proxy again if it ended; removes workloads whose owner ended.
    fn look_after(&mut self) {
        self.look_after_proxy();
        if let Err(error) = self.look_after_addresses() {
            tracing::error!(error = api::sentence(error.as_ref()), "the node's own addresses are not known");
        }
        if let Err(error) = self.kernel.guard_node() {
            tracing::error!(
                error = api::sentence(error.as_ref()),
                "the node's policy is not asked everywhere"
            );
        }
        if files::identity(&self.config.policies) != self.seen {
            self.read_files();
        }
        let orphan = |workload: &&Workload| workload.owner.is_some_and(|owner| !owner.is_alive());
        let orphans: Vec<u32> =
            self.state.workloads.iter().filter(orphan).map(|workload| workload.id).collect();
        for id in orphans {
            if let Err(error) = self.remove_workload(id) {
                tracing::error!(error = api::sentence(error.as_ref()), "a workload whose owner ended stays");
            }
        }
    }

    /// Notes addresses that the node got or lost.
    fn look_after_addresses(&mut self) -> anyhow::Result<()> {
        let addresses = self.wiring.node_addresses()?;
        let node = self.kernel.world.node();
        if node.addresses != addresses {
            let change = Change::Node(Box::new(Node { addresses, ..node.clone() }));
            self.kernel.apply([change])?;
        }
        Ok(())
    }

    fn look_after_proxy(&mut self) {
        if let Err(error) = self.supervisor.ensure() {
            // Until it runs, what policy sends to it is dropped.
            tracing::error!(error = api::sentence(error.as_ref()), "there is no proxy");
        }
    }

    /// Removes a workload by number.
    pub(crate) fn remove_workload(&mut self, id: u32) -> anyhow::Result<()> {
        let place = self.state.workloads.iter().position(|workload| workload.id == id);
        let place = place.context("there is no such workload")?;
        self.wiring.remove(&mut self.kernel, &self.state.workloads[place])?;
        let workload = self.state.workloads.remove(place);
        self.addresses.release_workload(&workload.wanted.addresses);
        self.remember()
    }
}

/// Takes the workloads of an earlier run back in, with their programs; those that are gone give their addresses back.
fn take_over(
    known: Vec<Workload>,
    wiring: &mut Wiring,
    kernel: &mut Kernel,
    addresses: &mut Addresses,
    changes: &mut Vec<Change>,
) -> anyhow::Result<Vec<Workload>> {
    let mut workloads = Vec::new();
    for workload in known {
        if let Some((change, interface)) = wiring.adopt(&workload)? {
            // Its programs may have been taken off by others.
            kernel.loaded.attach(interface)?;
            changes.push(change);
            workloads.push(workload);
        } else {
            tracing::warn!(name = workload.wanted.name, "a workload's interface is gone, and so is it");
            addresses.release_workload(&workload.wanted.addresses);
            workload::Namespace::delete(&workload.network_namespace)?;
        }
    }
    Ok(workloads)
}

/// What manifests said when they were last right, and what was applied. An agent that cannot read it does not start:
/// what the one before it has put in the kernel stays in force.
fn recall(paths: &Paths, config: &Config, kept: &Kept, objects: &mut Objects) -> anyhow::Result<Vec<Change>> {
    let mut changes = requests::applied::recall(paths, objects)?;
    let texts: Texts = kept.texts()?.into_iter().map(|(file, text)| (file, Ok(text))).collect();
    let directory = &config.policies;
    anyhow::ensure!(
        texts.is_empty() || directory.is_dir(),
        "{} is gone, and policies in force came from it; make it, empty to take them out of force",
        directory.display()
    );
    changes.extend(objects.update(&texts, |_| false));
    let problems = objects.problems();
    anyhow::ensure!(
        problems.is_empty(),
        "what was in force cannot be read any more: {}",
        problems.join("; ")
    );
    Ok(changes)
}

/// Makes the agent's directories and holds them against a second agent.
fn lock(paths: &Paths) -> anyhow::Result<File> {
    let directory = paths.directory();
    for wanted in [directory, paths.lasting()] {
        fs::create_dir_all(wanted).with_context(|| format!("{} cannot be made", wanted.display()))?;
    }
    let file = File::create(paths.lock())?;
    file.try_lock().with_context(|| {
        format!(
            "another agent runs in {}; stop it, or give this one a directory and an instance of its own",
            directory.display()
        )
    })?;
    Ok(file)
}

impl From<Question> for Incident {
    fn from(question: Question) -> Self {
        Self::Question(question)
    }
}
