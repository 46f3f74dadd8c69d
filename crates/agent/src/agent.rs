//! The agent itself: one thread that takes what happens, one thing after another, and answers for it.

use crate::addresses::Addresses;
use crate::config::Config;
use crate::events;
use crate::feed::Feed;
use crate::files::{self, Kept};
use crate::kernel::Kernel;
use crate::names::SharedNames;
use crate::objects::Objects;
use crate::paths::Paths;
use crate::server::{self, Question};
use crate::state::{State, Workload};
use crate::supervisor::Supervisor;
use crate::wiring::Wiring;
use crate::{identities, requests};
use anyhow::Context;
use control::{Change, Node};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the agent looks after what nobody tells it of: the proxy, and owners of workloads.
const TICK: Duration = Duration::from_millis(500);

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
    kept: Kept,
    ended: bool,
    /// Held for as long as the agent runs.
    _lock: File,
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
        let (addresses, own) = Addresses::new(&config.workload_addresses, &config.service_addresses, &state)?;
        let (mut wiring, proxy) = Wiring::prepare(&own, config.proxy_port)?;
        let names = SharedNames::default();
        let identities = identities::restore(&state)?;
        let mut kernel = Kernel::open(&paths, config.attach, identities, names.clone())?;
        kernel.loaded.attach_proxy(proxy.interface)?;
        let node = Node { addresses: own, proxy: Some(proxy), report_forwards: true };
        let mut changes = vec![Change::Node(node)];
        let mut workloads = Vec::new();
        for workload in state.workloads {
            match wiring.adopt(&workload)? {
                Some(change) => {
                    changes.push(change);
                    workloads.push(workload);
                }
                None => tracing::warn!(
                    name = workload.wanted.name,
                    "a workload's interface is gone, and so is it"
                ),
            }
        }
        let state = State { workloads, ..state };
        let feed = Feed::new();
        let kept = Kept::new(&paths.kept())?;
        let supervisor = Supervisor::new(&paths, config.proxy_port);
        let objects = Objects::default();
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
            kept,
            ended: false,
            _lock: lock,
        };
        agent.recall(&mut changes)?;
        agent.kernel.apply(changes)?;
        // In force at last; from here on nothing is opened by what was left out above.
        agent.kernel.clean_up_leftovers()?;
        agent.remember()?;
        agent.supervisor.ensure()?;
        events::pump(&agent.kernel.loaded, &agent.paths, names, Arc::clone(&agent.feed))?;
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
                Ok(Incident::Files) => self.read_files(),
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

    /// Puts in force what manifests said when they were last right, and what was applied.
    fn recall(&mut self, changes: &mut Vec<Change>) -> anyhow::Result<()> {
        let applied = requests::applied::recall(self)?;
        changes.extend(applied);
        for (file, text) in self.kept.texts()? {
            match self.objects.read(&file, &text) {
                Ok(read) => changes.extend(self.with_addresses(read)?),
                Err(messages) => {
                    tracing::error!(?messages, file, "what was in force cannot be read any more")
                }
            }
        }
        Ok(())
    }

    /// Reads the directory of manifests; each file that changed takes effect whole, or not at all.
    fn read_files(&mut self) {
        let directory = self.config.policies.clone();
        let found = match files::scan(&directory) {
            Ok(found) => found,
            Err(error) => {
                self.objects.unreadable(&directory.display().to_string(), &error.to_string());
                return;
            }
        };
        let here: Vec<String> = self.objects.files().map(str::to_owned).collect();
        let inside = |file: &String| std::path::Path::new(file).parent() == Some(&directory);
        let gone: BTreeSet<String> =
            here.into_iter().filter(|file| inside(file) && !found.contains_key(file)).collect();
        for file in &gone {
            let changes = self.objects.forget(file);
            self.put_in_force(file, changes);
        }
        for (file, text) in &found {
            let read = text
                .as_ref()
                .map_err(|error| vec![error.clone()])
                .map(|text| (text, self.objects.read(file, text)));
            match read {
                Ok((text, Ok(changes))) => {
                    if self.put_in_force(file, changes)
                        && let Err(error) = self.kept.keep(file, text)
                    {
                        tracing::error!(%error, file, "what is in force could not be kept for the next start");
                    }
                }
                Ok((_, Err(messages))) => tracing::error!("{}", messages.join("\n")),
                Err(error) => self.objects.unreadable(file, &error.join(", ")),
            }
        }
        if let Err(error) = self.kept.keep_only(&found.into_keys().collect()) {
            tracing::error!(%error, "files that are gone could not be forgotten");
        }
    }

    fn put_in_force(&mut self, file: &str, changes: Vec<Change>) -> bool {
        if changes.is_empty() {
            return true;
        }
        let applied = self.with_addresses(changes).and_then(|changes| self.kernel.apply(changes));
        if let Err(error) = &applied {
            tracing::error!(error = api::sentence(error.as_ref()), file, "not in force");
            self.objects.unreadable(file, &api::sentence(error.as_ref()));
        }
        applied.and_then(|()| self.remember()).is_ok()
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
        self.state.save(&self.paths.state())
    }

    /// Starts the proxy again if it ended; removes workloads whose owner ended.
    fn look_after(&mut self) {
        if let Err(error) = self.supervisor.ensure() {
            // Until it runs, what policy sends to it is dropped.
            tracing::error!(error = api::sentence(error.as_ref()), "there is no proxy");
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

    /// Removes a workload by number.
    pub(crate) fn remove_workload(&mut self, id: u32) -> anyhow::Result<()> {
        let place = self.state.workloads.iter().position(|workload| workload.id == id);
        let workload = self.state.workloads.remove(place.context("there is no such workload")?);
        self.wiring.remove(&mut self.kernel, &workload);
        self.addresses.release_workload(&workload.wanted.addresses);
        self.remember()
    }
}

/// Makes the agent's directory and holds it against a second agent.
fn lock(paths: &Paths) -> anyhow::Result<File> {
    let directory = paths.directory();
    fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
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
