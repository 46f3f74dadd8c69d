//! The agent itself: one thread that takes what happens, one thing after another, and answers for it.

use crate::addresses::Addresses;
use crate::config::Config;
use crate::descriptors;
use crate::events;
use crate::feed::Feed;
use crate::files::{self, Kept};
use crate::kernel::Kernel;
use crate::locks::Locks;
use crate::objects::{Objects, Texts};
use crate::outside::Outside;
use crate::paths::Paths;
use crate::server::{self, Question};
use crate::state::State;
use crate::supervisor::Supervisor;
use crate::troubles::Troubles;
use crate::wiring::Wiring;
use crate::workloads::take_over;
use crate::{families, identities, requests};
use control::{Change, Node, Proxy};
use std::collections::VecDeque;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the agent looks after what nobody tells it of: the proxy, and owners of workloads.
const TICK: Duration = Duration::from_millis(500);

/// How long manifests are left alone after a change before they are read.
const QUIET: Duration = Duration::from_millis(20);

/// How long manifests that could not be read, or not be put in force, are left alone before they are tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How many workloads are removed together at most; others wait meanwhile.
const MOST_TOGETHER: usize = 1024;

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
    /// What is wrong beside manifests.
    pub(crate) troubles: Troubles,
    /// What the agent does without on this host.
    pub(crate) notes: Vec<String>,
    /// The directory of manifests as it was when all of it was last read, and put in force; none where it was not.
    seen: Option<files::Identity>,
    /// Not to be tried again before.
    retry: Instant,
    /// Problems of manifests that were logged.
    logged: Vec<String>,
    /// What came while something else was gathered, oldest first.
    postponed: VecDeque<Incident>,
    ended: bool,
    _locks: Locks,
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
    fn start(mut config: Config, tell: &Sender<Incident>) -> anyhow::Result<Self> {
        let clients = descriptors::clients(descriptors::raise());
        let paths = config.paths();
        let mut wiring = Wiring::claim(&paths)?;
        let locks = Locks::take(&paths)?;
        let mut notes = families::fit(&mut config, wiring.ipv6())?;
        notes.extend(wiring.find_groups());
        notes.iter().for_each(|note| tracing::warn!("{note}"));
        let state = State::load(&paths.state())?;
        let (mut addresses, own) =
            Addresses::new(&config.workload_addresses, &config.service_addresses, &state)?;
        let proxy = wiring.prepare(&own, config.proxy_port)?;
        let identities = identities::restore(&state)?;
        let numbers = (identities, state.last_rule_set);
        let outside = Outside::new(config.host_devices.clone())?;
        let mut kernel = Kernel::open(&paths, (config.attach, outside), numbers)?;
        kernel.loaded.attach_proxy(proxy.interface)?;
        let mut changes = vec![Change::Node(Box::new(node(&config, wiring.node_addresses()?, proxy)))];
        let workloads = take_over(state.workloads, (&mut wiring, &mut kernel), &mut addresses, &mut changes)?;
        let state = State { workloads, ..state };
        let feed = Feed::new();
        let kept = Kept::new(&paths.kept())?;
        let supervisor = Supervisor::new(&paths, config.proxy_port)?;
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
            kept,
            troubles: Troubles::default(),
            notes,
            seen: None,
            retry: Instant::now(),
            logged: Vec::new(),
            postponed: VecDeque::new(),
            ended: false,
            _locks: locks,
        };
        changes.extend(agent.with_addresses(recalled)?);
        agent.kernel.apply(changes)?;
        agent.begin(tell, clients)?;
        Ok(agent)
    }

    /// Begins with everything but the packet path, which is in force at last: from here on nothing is opened by what was
    /// left out before.
    fn begin(&mut self, tell: &Sender<Incident>, clients: usize) -> anyhow::Result<()> {
        self.kernel.clean_up_leftovers()?;
        self.look_for_strays();
        self.remember()?;
        self.look_after_proxy();
        events::pump(&self.kernel.loaded, &self.paths, self.kernel.names.clone(), Arc::clone(&self.feed))?;
        let changed = tell.clone();
        files::watch(&self.config.policies, move || drop(changed.send(Incident::Files)))?;
        self.read_files();
        crate::signals::forward(tell.clone())?;
        server::serve(&self.paths.socket(), tell.clone(), Arc::clone(&self.feed), clients)
    }

    /// Takes one incident after another until the agent is to end.
    fn attend(&mut self, incidents: &Receiver<Incident>) {
        let mut tick = Instant::now() + TICK;
        while !self.ended {
            let due = self.kernel.clean_up_due().map_or(tick, |due| due.min(tick));
            let postponed = self.postponed.pop_front().map(Ok);
            let wait = || incidents.recv_timeout(due.saturating_duration_since(Instant::now()));
            match postponed.unwrap_or_else(wait) {
                Ok(Incident::Question(question)) if question.is_removal() => self.remove(question, incidents),
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

    /// Removes a workload, and those that others ask to be removed meanwhile: together they take hardly longer.
    fn remove(&mut self, question: Question, incidents: &Receiver<Incident>) {
        let mut questions = vec![question];
        for incident in self.postponed.drain(..).collect::<Vec<_>>().into_iter().chain(incidents.try_iter()) {
            match incident {
                Incident::Question(question) if question.is_removal() && questions.len() < MOST_TOGETHER => {
                    questions.push(question);
                }
                other => self.postponed.push_back(other),
            }
        }
        let (requests, replies): (Vec<_>, Vec<_>) =
            questions.into_iter().map(|Question { request, reply }| (request, reply)).unzip();
        for (answer, reply) in requests::remove(self, &requests).into_iter().zip(replies) {
            // The client may have left.
            let _ = reply.send(answer);
        }
    }

    /// Reads the directory of manifests; what changed takes effect together. Where something could not be read, or not be
    /// put in force, all of it is tried again after a while: what hindered it may pass without a change of the directory.
    fn read_files(&mut self) {
        let begun = Instant::now();
        let seen = files::identity(&self.config.policies);
        self.seen = if self.take_files() { seen } else { None };
        // An agent that only reads would answer no request.
        self.retry = Instant::now() + RETRY.max(20 * begun.elapsed());
        let problems = self.objects.problems();
        let new = problems.iter().filter(|problem| !self.logged.contains(problem));
        new.for_each(|problem| tracing::error!("{problem}"));
        self.logged = problems;
    }

    /// Takes over what the manifests say; whether all of it was read, and is in force and kept.
    fn take_files(&mut self) -> bool {
        let directory = self.config.policies.clone();
        let name = directory.display().to_string();
        let texts = match files::scan(&directory) {
            Ok(texts) => texts,
            Err(error) => {
                self.objects.note(&name, &error.to_string());
                return false;
            }
        };
        let mut objects = self.objects.clone();
        let inside = |file: &str| file == name || Path::new(file).parent() == Some(&directory);
        let changes = objects.update(&texts, inside);
        if let Err(error) = self.put_in_force(objects, changes) {
            let error = api::sentence(error.as_ref());
            self.objects.note(&name, &format!("manifests that changed are not in force: {error}"));
            return false;
        }
        let kept = self.keep(&texts);
        let is_kept = kept.is_ok();
        self.troubles.note("what is in force could not be kept for the next start", kept);
        is_kept && texts.values().all(Result::is_ok)
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
        let known = self.look_after_addresses();
        self.troubles.note("the node's own addresses are not known", known.map_err(said));
        let guarded = self.kernel.guard_node();
        self.troubles.note("the node's policy is not asked everywhere", guarded.map_err(said));
        let is_new = files::identity(&self.config.policies) != self.seen;
        if is_new && (self.seen.is_some() || Instant::now() >= self.retry) {
            self.read_files();
        }
        self.look_after_workloads();
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
        let runs = self.supervisor.ensure();
        self.troubles.note("there is no proxy, and what policy sends to it is dropped", runs.map_err(said));
    }
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

/// An error as the troubles have it.
pub(crate) fn said(error: anyhow::Error) -> String {
    api::sentence(error.as_ref())
}

impl From<Question> for Incident {
    fn from(question: Question) -> Self {
        Self::Question(question)
    }
}
