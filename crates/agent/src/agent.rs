//! The agent: one thread that takes events from a queue, hands changes to the reconciler and answers requests.

use crate::addresses::Addresses;
use crate::config::AgentConfig;
use crate::event::{Event, PendingRequest};
use crate::feed::Feed;
use crate::files::{Copies, KnownFiles};
use crate::host_devices::HostDevices;
use crate::journal::Journal;
use crate::kernel::Kernel;
use crate::locks::Locks;
use crate::node_addresses::NodeAddresses;
use crate::objects::Objects;
use crate::occupancy::LatestOccupancy;
use crate::policy_files::PolicyFiles;
use crate::problems::{Problems, message};
use crate::reconciler::Reconciler;
use crate::source::{ChangeSource, Notifier};
use crate::state::State;
use crate::status::Parts;
use crate::storage::{self, DeviceInode};
use crate::supervisor::Supervisor;
use crate::wiring::Wiring;
use crate::{descriptors, events, families, identities, recall, requests, server, signals, workloads};
use anyhow::Context;
use api::ApiRequest;
use control::{Change, Node, ProxyLocation};
use loader::EventSignal;
use std::collections::VecDeque;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the agent checks what it gets no event of: the proxy, owners of workloads, sources that it polls.
const TICK: Duration = Duration::from_millis(500);

/// Maximum number of workloads that are removed together; requests of other kinds wait meanwhile.
const MAX_REMOVALS: usize = 1024;

/// The failures, as status and log name them.
const API: &str = "the API does not accept requests";
const RULE_SETS: &str = "requests cannot be judged";
const GUARD: &str = "the node's policy is not enforced at every interface";

/// The agent's thread and its queue.
#[derive(Debug)]
struct Agent {
    reconciler: Reconciler,
    /// The sources of changes; an event names a source by its index.
    sources: Vec<Box<dyn ChangeSource>>,
    supervisor: Supervisor,
    feed: Arc<Feed>,
    occupancy: LatestOccupancy,
    queue: Sender<Event>,
    /// Events that arrived while removals were collected, oldest first.
    postponed: VecDeque<Event>,
    /// The socket of the API, if the agent listens. Another program may remove it.
    socket: Option<DeviceInode>,
    max_clients: usize,
    is_stopping: bool,
    _locks: Locks,
}

/// Runs an agent until it is stopped. Its programs and maps stay in the kernel and keep enforcing policy.
pub fn run(config: AgentConfig) -> anyhow::Result<()> {
    match &config.network_namespace {
        None => run_here(config),
        Some(name) => {
            let namespace = workload::NetworkNamespace::open(name)?;
            namespace.enter(|| run_here(config))?
        }
    }
}

fn run_here(config: AgentConfig) -> anyhow::Result<()> {
    let (queue, events) = channel();
    let mut agent = Agent::start(config, &queue)?;
    let socket = agent.reconciler.paths.socket();
    match agent.socket {
        Some(_) => tracing::info!(socket = %socket.display(), "ready"),
        None => tracing::warn!(socket = %socket.display(), "policy is enforced, but {API} yet"),
    }
    agent.process(&events);
    agent.feed.end();
    // Without an agent a client must not find the socket.
    let _ = fs::remove_file(socket);
    Ok(())
}

/// The sources of changes besides the API. A new source has a file of its own and a line here.
fn sources(
    config: &AgentConfig,
    (copies, known): (Copies, KnownFiles),
    queue: &Sender<Event>,
) -> anyhow::Result<Vec<Box<dyn ChangeSource>>> {
    let mut sources: Vec<Box<dyn ChangeSource>> = Vec::new();
    let notifier = |sources: &Vec<_>| Notifier::new(queue.clone(), sources.len());
    sources.push(Box::new(NodeAddresses));
    sources.push(Box::new(PolicyFiles::watch(&config.policies, (copies, known), notifier(&sources))?));
    Ok(sources)
}

/// The node as its configuration describes it.
fn node(config: &AgentConfig, addresses: Vec<IpAddr>, proxy: ProxyLocation) -> Node {
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    Node {
        name: config.node_name.clone().unwrap_or_else(host),
        cluster: config.cluster_name.clone(),
        addresses,
        labels: config.node_labels.clone(),
        proxy: Some(proxy),
        monitor_aggregation: config.monitor_aggregation,
        mode: config.enforcement,
        audit: config.audit,
    }
}

impl Agent {
    fn start(mut config: AgentConfig, queue: &Sender<Event>) -> anyhow::Result<Self> {
        let max_clients = descriptors::clients(descriptors::raise());
        let paths = config.paths();
        let mut wiring = Wiring::claim(&paths)?;
        let mut problems = Problems::default();
        let locks = Locks::take(&paths, &mut problems)?;
        let mut notes = families::fit(&mut config, wiring.ipv6())?;
        notes.extend(wiring.find_groups());
        notes.iter().for_each(|note| tracing::warn!("{note}"));
        let state = State::load(&paths.state())?;
        let (mut journal, applied) = Journal::load(&paths.applied())?;
        let (copies, texts, damaged) = Copies::load(&paths.copies())
            .with_context(|| format!("{} cannot be read", paths.copies().display()))?;
        let mut objects = Objects::default();
        let recalled = recall::recall(&config, (&mut journal, &applied), (&texts, &damaged), &mut objects)?;
        let known = KnownFiles::new(&objects, &texts);
        let (mut addresses, own) = Addresses::new(&config, &state)?;
        let proxy = wiring.prepare(&own, config.proxy_port)?;
        let numbers = (identities::restore(&state)?, state.last_rule_set);
        let devices = HostDevices::new(config.host_devices.clone())?;
        let mut kernel = Kernel::open(&paths, (config.attach, devices), numbers)?;
        kernel.attach_proxy(proxy.interface)?;
        let mut changes = vec![Change::Node(Box::new(node(&config, wiring.node_addresses()?, proxy)))];
        let taken =
            workloads::take_over(state.workloads, (&mut wiring, &mut kernel), &mut addresses, &mut changes)?;
        changes.extend(recalled);
        let supervisor = Supervisor::start(&paths, (config.proxy_port, config.proxy))?;
        let sources = sources(&config, (copies, known), queue)?;
        let state = State { workloads: taken, ..state };
        let mut reconciler =
            Reconciler { config, paths, state, kernel, addresses, wiring, journal, problems, notes, objects };
        reconciler.apply(changes)?;
        Copies::discard(&damaged);
        let events = reconciler.kernel.events()?;
        let signal = events.signal()?;
        let feed = Arc::new(Feed::new(reconciler.kernel.names(), Some(events)));
        let mut agent = Self {
            reconciler,
            sources,
            supervisor,
            feed,
            occupancy: LatestOccupancy::default(),
            queue: queue.clone(),
            postponed: VecDeque::new(),
            socket: None,
            max_clients,
            is_stopping: false,
            _locks: locks,
        };
        agent.begin(signal)?;
        Ok(agent)
    }

    /// Starts everything but the packet path, which enforces policy already. From here on a failure is a problem of the
    /// status and is retried.
    fn begin(&mut self, events: EventSignal) -> anyhow::Result<()> {
        self.reconciler.kernel.clean_up_leftovers();
        if let Err(error) = loader::remove_other_layouts(&self.reconciler.paths.pins()) {
            tracing::warn!(%error, "maps of an earlier release could not be removed");
        }
        workloads::remove_orphans(&mut self.reconciler);
        self.reconciler.save_or_note();
        self.supervisor.wait_for_first();
        let socket = self.reconciler.paths.request_events();
        let outputs = (Arc::clone(&self.feed), self.occupancy.clone());
        events::start(events, socket, outputs)?;
        self.sources.iter_mut().for_each(|source| source.deliver(&mut self.reconciler));
        signals::forward(self.queue.clone())?;
        self.listen();
        Ok(())
    }

    /// Listens for requests; a failure is retried at the next tick.
    fn listen(&mut self) {
        let (socket, feed) = (self.reconciler.paths.socket(), Arc::clone(&self.feed));
        let listening = server::serve(&socket, self.queue.clone(), feed, self.max_clients);
        self.socket = listening.as_ref().ok().copied();
        self.reconciler.problems.note(API, listening.map(drop).map_err(message));
    }

    /// Takes one event after another until the agent is stopped.
    fn process(&mut self, events: &Receiver<Event>) {
        let mut tick = Instant::now() + TICK;
        while !self.is_stopping {
            let sources = self.sources.iter().filter_map(|source| source.due());
            let due = sources.chain(self.reconciler.kernel.clean_up_due()).fold(tick, Instant::min);
            let postponed = self.postponed.pop_front().map(Ok);
            let wait = || events.recv_timeout(due.saturating_duration_since(Instant::now()));
            match postponed.unwrap_or_else(wait) {
                Ok(Event::Request(request)) if request.is_removal() => self.remove(request, events),
                Ok(Event::Request(request)) => self.answer(request),
                Ok(Event::Changed(source)) => self.sources[source].deliver(&mut self.reconciler),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => self.is_stopping = true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
            if is_due(self.reconciler.kernel.clean_up_due()) {
                self.reconciler.kernel.clean_up();
            }
            for source in self.sources.iter_mut().filter(|source| is_due(source.due())) {
                source.deliver(&mut self.reconciler);
            }
            if now >= tick {
                self.tick();
                tick = now + TICK;
            }
        }
    }

    fn answer(&mut self, PendingRequest { request, reply }: PendingRequest) {
        self.is_stopping |= matches!(request, ApiRequest::Stop);
        let answer = match request {
            ApiRequest::Status => {
                workloads::check_interfaces(&mut self.reconciler);
                requests::status(&self.reconciler, &self.status_parts())
            }
            request => requests::answer(&mut self.reconciler, request),
        };
        // The client may have disconnected.
        let _ = reply.send(answer);
    }

    fn status_parts(&self) -> Parts<'_> {
        Parts {
            sources: &self.sources,
            supervisor: &self.supervisor,
            feed: &self.feed,
            occupancy: &self.occupancy,
        }
    }

    /// Removes a workload together with the workloads of all removal requests in the queue: a removal of many takes
    /// hardly longer than a removal of one.
    fn remove(&mut self, first: PendingRequest, events: &Receiver<Event>) {
        let mut removals = vec![first];
        for event in self.postponed.drain(..).collect::<Vec<_>>().into_iter().chain(events.try_iter()) {
            match event {
                Event::Request(request) if request.is_removal() && removals.len() < MAX_REMOVALS => {
                    removals.push(request);
                }
                other => self.postponed.push_back(other),
            }
        }
        let (requests, replies): (Vec<_>, Vec<_>) =
            removals.into_iter().map(|PendingRequest { request, reply }| (request, reply)).unzip();
        for (answer, reply) in requests::remove(&mut self.reconciler, &requests).into_iter().zip(replies) {
            // The client may have disconnected.
            let _ = reply.send(answer);
        }
    }

    /// Checks what the agent gets no event of, and retries what failed.
    fn tick(&mut self) {
        let reconciler = &mut self.reconciler;
        let restored = reconciler.kernel.restore_rule_sets();
        reconciler.problems.note(RULE_SETS, restored.map_err(message));
        let reconciler = &mut self.reconciler;
        self.sources.iter_mut().for_each(|source| source.poll(reconciler));
        let guarded = reconciler.kernel.guard_node();
        reconciler.problems.note(GUARD, guarded.map_err(message));
        reconciler.retry();
        if self.socket.is_none() || self.socket != storage::identity(&self.reconciler.paths.socket()).ok() {
            self.listen();
        }
        workloads::check(&mut self.reconciler);
    }
}
