//! The agent itself: one thread that takes what happens, one thing after another, and answers for it.

use crate::addresses::Addresses;
use crate::config::Config;
use crate::descriptors;
use crate::events;
use crate::feed::Feed;
use crate::files::{Copies, Files};
use crate::host_devices::HostDevices;
use crate::journal::Journal;
use crate::kernel::Kernel;
use crate::locks::Locks;
use crate::manifests;
use crate::objects::Objects;
use crate::occupancy::LatestOccupancy;
use crate::paths::Paths;
use crate::problems::Problems;
use crate::server::{self, PendingRequest};
use crate::state::State;
use crate::storage::{self, Identity};
use crate::supervisor::Supervisor;
use crate::wiring::Wiring;
use crate::workloads::take_over;
use crate::{families, identities, requests};
use anyhow::Context;
use control::{Change, Node, Proxy};
use std::collections::VecDeque;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the agent looks after what nobody tells it of: the proxy, and owners of workloads.
const TICK: Duration = Duration::from_millis(500);

/// How long manifests are left alone after a change before they are read.
const QUIET: Duration = Duration::from_millis(20);

/// How many workloads are removed together at most; others wait meanwhile.
const MOST_TOGETHER: usize = 1024;

/// What cannot be done while there is no socket, as the log names it.
const API: &str = "requests cannot be taken";

/// What the agent is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody asks.
    PendingRequest(PendingRequest),
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
    pub(crate) places: LatestOccupancy,
    pub(crate) files: Files,
    pub(crate) copies: Copies,
    /// What was applied, on disk.
    pub(crate) journal: Journal,
    /// What cannot be done for now.
    pub(crate) problems: Problems,
    /// What the agent does without on this host.
    pub(crate) notes: Vec<String>,
    /// Where incidents come in.
    tell: Sender<Event>,
    /// What came while something else was gathered, oldest first.
    postponed: VecDeque<Event>,
    /// The socket that requests come in by, where there is one: others may remove it.
    socket: Option<Identity>,
    /// How many clients may be connected at once.
    clients: usize,
    ended: bool,
    _locks: Locks,
}

/// The node as its configuration describes it.
fn node(config: &Config, addresses: Vec<IpAddr>, proxy: Proxy) -> Node {
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    Node {
        name: config.node_name.clone().unwrap_or_else(host),
        cluster: config.cluster_name.clone(),
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
    let socket = agent.paths.socket();
    match agent.socket {
        Some(_) => tracing::info!(socket = %socket.display(), "ready"),
        None => tracing::warn!(socket = %socket.display(), "policy is in force, and {API} yet"),
    }
    agent.attend(&incidents);
    agent.feed.end();
    // Nobody listens at the socket any more; the file would only say otherwise.
    let _ = fs::remove_file(agent.paths.socket());
    Ok(())
}

impl Agent {
    fn start(mut config: Config, tell: &Sender<Event>) -> anyhow::Result<Self> {
        let clients = descriptors::clients(descriptors::raise());
        let paths = config.paths();
        let mut wiring = Wiring::claim(&paths)?;
        let mut problems = Problems::default();
        let locks = Locks::take(&paths, &mut problems)?;
        let mut notes = families::fit(&mut config, wiring.ipv6())?;
        notes.extend(wiring.find_groups());
        notes.iter().for_each(|note| tracing::warn!("{note}"));
        let state = State::load(&paths.state())?;
        let (journal, applied) = Journal::load(&paths.applied())?;
        let (copies, texts, damaged) = Copies::load(&paths.copies())
            .with_context(|| format!("{} cannot be read", paths.copies().display()))?;
        let mut objects = Objects::default();
        let recalled = manifests::recall(&config, &applied, (texts, &damaged), &mut objects)?;
        let (mut addresses, own) = Addresses::new(&config, &state)?;
        let proxy = wiring.prepare(&own, config.proxy_port)?;
        let identities = identities::restore(&state)?;
        let numbers = (identities, state.last_rule_set);
        let outside = HostDevices::new(config.host_devices.clone())?;
        let mut kernel = Kernel::open(&paths, (config.attach, outside), numbers)?;
        kernel.loaded.attach_proxy(proxy.interface)?;
        let mut changes = vec![Change::Node(Box::new(node(&config, wiring.node_addresses()?, proxy)))];
        let workloads = take_over(state.workloads, (&mut wiring, &mut kernel), &mut addresses, &mut changes)?;
        let changed = tell.clone();
        let mut agent = Self {
            state: State { workloads, ..state },
            supervisor: Supervisor::new(&paths, (config.proxy_port, config.proxy))?,
            files: Files::watch(&config.policies, move || drop(changed.send(Event::Files)))?,
            config,
            paths,
            kernel,
            objects,
            addresses,
            wiring,
            feed: Feed::new(),
            places: LatestOccupancy::default(),
            copies,
            journal,
            problems,
            notes,
            tell: tell.clone(),
            postponed: VecDeque::new(),
            socket: None,
            clients,
            ended: false,
            _locks: locks,
        };
        changes.extend(agent.with_addresses(recalled)?);
        agent.kernel.apply(changes)?;
        Copies::discard(&damaged);
        agent.begin()?;
        Ok(agent)
    }

    /// Begins with everything but the packet path, which is in force at last: from here on nothing is opened by what was
    /// left out before, and what cannot be done is noted and tried again.
    fn begin(&mut self) -> anyhow::Result<()> {
        self.kernel.clean_up_leftovers();
        if let Err(error) = loader::remove_other_layouts(&self.paths.pins()) {
            tracing::warn!(%error, "maps of an earlier release could not be removed");
        }
        self.look_for_orphans();
        self.remember_or_note();
        self.look_after_proxy();
        let sinks = (Arc::clone(&self.feed), self.places.clone());
        events::pump(&self.kernel.loaded, &self.paths, self.kernel.names.clone(), sinks)?;
        self.read_files();
        crate::signals::forward(self.tell.clone())?;
        self.listen();
        Ok(())
    }

    /// Listens for requests, if that can be.
    fn listen(&mut self) {
        let (socket, feed) = (self.paths.socket(), Arc::clone(&self.feed));
        let listening = server::serve(&socket, self.tell.clone(), feed, self.clients);
        self.socket = listening.as_ref().ok().copied();
        self.problems.note(API, listening.map(drop).map_err(said));
    }

    /// Takes one incident after another until the agent is to end.
    fn attend(&mut self, incidents: &Receiver<Event>) {
        let mut tick = Instant::now() + TICK;
        while !self.ended {
            let due =
                [self.kernel.clean_up_due(), self.files.due()].into_iter().flatten().fold(tick, Instant::min);
            let postponed = self.postponed.pop_front().map(Ok);
            let wait = || incidents.recv_timeout(due.saturating_duration_since(Instant::now()));
            match postponed.unwrap_or_else(wait) {
                Ok(Event::PendingRequest(question)) if question.is_removal() => {
                    self.remove(question, incidents)
                }
                Ok(Event::PendingRequest(question)) => self.answer(question),
                Ok(Event::Files) => {
                    // Whoever writes one file may be about to write another, or more of this one.
                    std::thread::sleep(QUIET);
                    self.read_files();
                }
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => self.ended = true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if self.kernel.clean_up_due().is_some_and(|due| due <= now) {
                self.kernel.clean_up();
            }
            if self.files.due().is_some_and(|due| due <= now) {
                self.read_files();
            }
            if now >= tick {
                self.look_after();
                tick = now + TICK;
            }
        }
    }

    fn answer(&mut self, PendingRequest { request, reply }: PendingRequest) {
        self.ended |= matches!(request, api::Request::Stop);
        let answer = requests::answer(self, request);
        // Whoever asked may have gone.
        let _ = reply.send(answer);
    }

    /// Removes a workload, and those that others ask to be removed meanwhile: together they take hardly longer.
    fn remove(&mut self, question: PendingRequest, incidents: &Receiver<Event>) {
        let mut questions = vec![question];
        for incident in self.postponed.drain(..).collect::<Vec<_>>().into_iter().chain(incidents.try_iter()) {
            match incident {
                Event::PendingRequest(question)
                    if question.is_removal() && questions.len() < MOST_TOGETHER =>
                {
                    questions.push(question);
                }
                other => self.postponed.push_back(other),
            }
        }
        let (requests, replies): (Vec<_>, Vec<_>) =
            questions.into_iter().map(|PendingRequest { request, reply }| (request, reply)).unzip();
        for (answer, reply) in requests::remove(self, &requests).into_iter().zip(replies) {
            // The client may have left.
            let _ = reply.send(answer);
        }
    }

    /// Gives services their addresses: first those that ask for some, so that no other takes these.
    pub(crate) fn with_addresses(&mut self, mut changes: Vec<Change>) -> anyhow::Result<Vec<Change>> {
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

    /// Writes down what must be found again.
    pub(crate) fn remember(&mut self) -> anyhow::Result<()> {
        identities::record(self.kernel.world.identities(), &mut self.state);
        let last = self.kernel.world.enforcement().book().last_set();
        self.state.last_rule_set = self.state.last_rule_set.max(last);
        self.state.save(&self.paths.state())
    }

    /// Starts the proxy again if it ended; removes workloads whose owner ended.
    fn look_after(&mut self) {
        let written = self.kernel.look_after_rule_sets();
        self.problems.note("requests cannot be judged", written.map_err(said));
        self.look_after_proxy();
        let known = self.look_after_addresses();
        self.problems.note("the node's own addresses are not known", known.map_err(said));
        let guarded = self.kernel.guard_node();
        self.problems.note("the node's policy is not asked everywhere", guarded.map_err(said));
        if self.files.has_changed() {
            self.read_files();
        }
        self.retry();
        if self.socket.is_none() || self.socket != storage::identity(&self.paths.socket()).ok() {
            self.listen();
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
        self.problems.note("there is no proxy, and what policy sends to it is dropped", runs.map_err(said));
        let recorded = self.supervisor.recorded();
        self.problems.note("the proxy is not on record; the next agent searches for it", recorded);
    }
}

/// An error as the problems have it.
pub(crate) fn said(error: anyhow::Error) -> String {
    api::sentence(error.as_ref())
}

impl From<PendingRequest> for Event {
    fn from(question: PendingRequest) -> Self {
        Self::PendingRequest(question)
    }
}
