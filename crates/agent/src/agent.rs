//! The agent: its parts, and the thread that takes one turn after another from the queue.

use crate::addresses::Addresses;
use crate::cluster_objects::{ClusterObjects, StoredCluster, recover};
use crate::command::Command;
use crate::config::AgentConfig;
use crate::feed::Feed;
use crate::files::{Copies, KnownFiles};
use crate::grace::GracePeriods;
use crate::host_devices::HostDevices;
use crate::journal::Journal;
use crate::kernel::Kernel;
use crate::locks::Locks;
use crate::node_health::NodeHealth;
use crate::node_network::NodeNetwork;
use crate::node_pods::NodePods;
use crate::node_routes::NodeRoutes;
use crate::notifier::Notifier;
use crate::objects::Objects;
use crate::occupancy::LatestOccupancy;
use crate::paths::Paths;
use crate::policy_files::PolicyFiles;
use crate::problems::{Problem, Problems, message};
use crate::published::{Publication, Published};
use crate::queue::{PendingCommand, Queue, Turn};
use crate::reader::Reader;
use crate::reconciler::Reconciler;
use crate::server::ApiServer;
use crate::source::ChangeSource;
use crate::state::State;
use crate::state_log::StateLog;
use crate::status::StatusParts;
use crate::supervisor::Supervisor;
use crate::wiring::Wiring;
use crate::workloads::{Lifecycle, Workloads};
use crate::{
    cni_install, descriptors, events, families, identities, map_usage, masquerade, node_ports, recall,
    requests, signals, upkeep, workloads,
};
use anyhow::Context;
use control::{Change, Node, ProxyLocation};
use service::BackendSource;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the agent checks what it gets no event of (the files of rule sets, the socket of the API, sources that it polls),
/// and retries what failed.
const TICK: Duration = Duration::from_millis(500);

/// The index of the source [`Workloads`].
const WORKLOADS: usize = 0;

/// The failures, as status and log name them.
const API: Problem =
    Problem::new("the API does not accept requests", "the agent tries again until that succeeds");
const RULE_SETS: Problem = Problem::new(
    "requests cannot be judged",
    "the agent writes the rule sets twice a second until that succeeds; make their directory writable",
);

/// What is repaired, before the number of files.
const RESTORED: &str = "files of HTTP rule sets were missing or changed, requests may have been refused, and they are written again";

/// The agent's thread and its queue.
#[derive(Debug)]
struct Agent {
    reconciler: Reconciler,
    /// The sources of changes; the queue names a source by its index.
    sources: Vec<Box<dyn ChangeSource>>,
    supervisor: Arc<Supervisor>,
    feed: Arc<Feed>,
    occupancy: LatestOccupancy,
    queue: Queue,
    publication: Publication,
    /// Answers the queries of clients.
    reader: Arc<Reader>,
    /// None until the agent can listen. Another program may remove its socket.
    server: Option<ApiServer>,
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
    let mut agent = Agent::start(config, Queue::default())?;
    let socket = agent.reconciler.paths.socket();
    match agent.server {
        Some(_) => tracing::info!(socket = %socket.display(), "ready"),
        None => tracing::warn!(socket = %socket.display(), "policy is enforced, but {} yet", API.what()),
    }
    agent.process();
    agent.reconciler.wiring.end();
    agent.reconciler.problems.end();
    agent.queue.close();
    agent.supervisor.end();
    agent.feed.end();
    // Without an agent a client must not find the socket.
    let _ = fs::remove_file(socket);
    Ok(())
}

/// The sources of changes besides the API. A new source has a file of its own and a line here.
fn sources(
    config: &AgentConfig,
    (copies, known, cluster): (Copies, KnownFiles, Option<StoredCluster>),
    kernel: &mut Kernel,
    (queue, problems): (&Queue, &Problems),
) -> anyhow::Result<Vec<Box<dyn ChangeSource>>> {
    let mut sources: Vec<Box<dyn ChangeSource>> = Vec::new();
    let notifier = |sources: &Vec<_>| Notifier::new(queue.clone(), sources.len());
    sources.push(Box::new(Workloads));
    sources.push(Box::new(NodeNetwork::watch(kernel.devices(), notifier(&sources), problems)?));
    sources.push(Box::new(PolicyFiles::watch(
        &config.policies,
        (copies, known),
        (notifier(&sources), problems),
    )?));
    if let (Some(kubernetes), Some(stored)) = (&config.kubernetes, cluster) {
        let connection = (kubernetes.kubeconfig.clone(), config.name_of_node());
        sources.push(Box::new(ClusterObjects::watch(connection, stored, notifier(&sources))?));
    }
    kernel.notify_of_nodes(notifier(&sources));
    sources.push(Box::new(NodeRoutes::new()?));
    Ok(sources)
}

/// What was last known of the cluster, if the node is in one. Objects that are lost or damaged are read again. Waits as long as something is in
/// force that is not known.
fn stored_cluster(
    (config, paths): (&AgentConfig, &Paths),
    (wiring, state): (&mut Wiring, &State),
    notes: &mut Vec<String>,
) -> anyhow::Result<Option<StoredCluster>> {
    let Some(kubernetes) = &config.kubernetes else { return Ok(None) };
    workloads::await_lost_sandboxes(wiring, state, paths)?;
    let (mut stored, damage) = StoredCluster::load(paths, &config.name_of_node())?;
    let has_pods = state.workloads.values().any(|workload| workload.sandbox.is_some());
    let loss = || format!("the stored objects of the API server in {} are lost", paths.cluster().display());
    if let Some(why) = damage.or_else(|| (has_pods && stored.is_empty()).then(loss)) {
        notes.push(recover(&mut stored, kubernetes.kubeconfig.clone(), &why));
    }
    Ok(Some(stored))
}

/// Adds the changes that put in force what was last known of the cluster.
fn recall_cluster(
    stored: Option<&StoredCluster>,
    wiring: &mut Wiring,
    objects: &mut Objects,
    changes: &mut Vec<Change>,
) -> anyhow::Result<()> {
    if let Some(stored) = stored {
        changes.extend(stored.recall(objects, &wiring.node_addresses()?)?);
    }
    Ok(())
}

/// The node as its configuration and its network describe it.
fn own_node(
    config: &AgentConfig,
    (kernel, wiring): (&mut Kernel, &mut Wiring),
    proxy: ProxyLocation,
    problems: &Problems,
) -> anyhow::Result<Change> {
    let masquerade = masquerade::wanted(config, kernel, problems);
    let node = Node { masquerade, ..node(config, wiring.node_addresses()?, proxy) };
    Ok(Change::Node(Box::new(node)))
}

/// The node as its configuration describes it.
fn node(config: &AgentConfig, addresses: Vec<IpAddr>, proxy: ProxyLocation) -> Node {
    Node {
        name: config.name_of_node(),
        cluster: config.cluster_name.clone(),
        addresses,
        labels: config.node_labels.clone(),
        pod_blocks: Vec::new(),
        cluster_blocks: config.pod_addresses.clone(),
        masquerade: None,
        backends: match config.kubernetes {
            Some(_) => BackendSource::Lists,
            None => BackendSource::Selector,
        },
        proxy: Some(proxy),
        monitor_aggregation: config.monitor_aggregation,
        mode: config.enforcement,
        audit: config.audit,
    }
}

/// What answers the queries of clients.
fn reader(
    reconciler: &Reconciler,
    publication: &Publication,
    outputs: (Arc<Feed>, LatestOccupancy, Arc<Supervisor>),
) -> Reader {
    let Reconciler { config, paths, kernel, problems, pods, .. } = reconciler;
    let health = NodeHealth::start(publication.clone());
    let parts = StatusParts::new((config, paths), kernel, (problems.clone(), health), outputs);
    Reader::new(publication.clone(), parts, pods.clone())
}

/// What is in force.
fn published(reconciler: &Reconciler, sources: &[Box<dyn ChangeSource>]) -> Published {
    let mut problems = reconciler.objects.problems();
    problems.extend(sources.iter().flat_map(|source| source.problems()));
    let notes = sources.iter().flat_map(|source| source.notes());
    Published {
        at: Instant::now(),
        world: reconciler.world().snapshot(),
        objects: reconciler.objects.by_name(),
        unready: unready(reconciler, sources),
        workloads: reconciler.state.workloads.clone(),
        server_load: sources.iter().find_map(|source| source.server_load()),
        problems,
        notes: reconciler.notes.iter().cloned().chain(notes).collect(),
    }
}

/// Why no attachment can be made now, one sentence each.
fn unready(reconciler: &Reconciler, sources: &[Box<dyn ChangeSource>]) -> Vec<String> {
    let mut reasons = reconciler.unready();
    reasons.extend(sources.iter().flat_map(|source| source.unready()));
    reasons
}

impl Agent {
    fn start(mut config: AgentConfig, queue: Queue) -> anyhow::Result<Self> {
        let max_clients = descriptors::clients(descriptors::raise());
        let paths = config.paths();
        let mut wiring = Wiring::claim(&paths)?;
        let problems = Problems::default();
        let locks = Locks::take(&paths, &problems)?;
        let mut notes = families::fit(&mut config, wiring.ipv6())?;
        notes.extend(wiring.find_groups().into_iter().chain(node_ports::notes(&config)));
        let grace_periods = GracePeriods::new(wiring.expediter());
        notes.extend(grace_periods.note().into_iter().chain(masquerade::note(&config)));
        notes.iter().for_each(|note| tracing::warn!("{note}"));
        let (state_log, state) = StateLog::load(&paths)?;
        let cluster = stored_cluster((&config, &paths), (&mut wiring, &state), &mut notes)?;
        let (mut journal, applied) = Journal::load(&paths.applied())?;
        let (copies, texts, damaged) = Copies::load(&paths.copies())
            .with_context(|| format!("{} cannot be read", paths.copies().display()))?;
        let mut objects = Objects::default();
        let recalled = recall::recall(&config, (&mut journal, &applied), (&texts, &damaged), &mut objects)?;
        let known = KnownFiles::new(&objects, &texts);
        let (mut addresses, own) = Addresses::new(&config, &state)?;
        let proxy = wiring.prepare(&own, config.proxy_port)?;
        let numbers = (identities::restore(&state, config.kubernetes.is_some())?, state.last_rule_set);
        let devices = HostDevices::new(config.host_devices.clone())?;
        let mut kernel = Kernel::open(&paths, (config.attach, devices), numbers, grace_periods)?;
        kernel.attach_proxy(proxy.interface)?;
        let mut changes = vec![own_node(&config, (&mut kernel, &mut wiring), proxy, &problems)?];
        let taken =
            workloads::take_over(state.workloads, (&mut wiring, &kernel), &mut addresses, &mut changes)?;
        changes.extend(recalled);
        recall_cluster(cluster.as_ref(), &mut wiring, &mut objects, &mut changes)?;
        let feed = Arc::new(Feed::new(kernel.names()));
        let settings = (config.proxy_port, config.proxy);
        let supervisor = Arc::new(Supervisor::start(&paths, settings, (&feed, &problems))?);
        let lifecycle = Lifecycle::new(
            state_log,
            &wiring,
            kernel.attacher(),
            (Notifier::new(queue.clone(), WORKLOADS), &problems),
        )?;
        let sources = sources(&config, (copies, known, cluster), &mut kernel, (&queue, &problems))?;
        let mut reconciler = Reconciler {
            config,
            paths,
            state: State { workloads: taken, ..state },
            kernel,
            addresses,
            wiring,
            lifecycle,
            journal,
            problems,
            notes,
            objects,
            pods: NodePods::default(),
        };
        reconciler.apply(changes)?;
        Copies::discard(&damaged);
        let mut agent = Self::new(reconciler, sources, (supervisor, feed), (queue, max_clients), locks);
        agent.begin()?;
        Ok(agent)
    }

    /// An agent whose policy is in force.
    fn new(
        reconciler: Reconciler,
        sources: Vec<Box<dyn ChangeSource>>,
        (supervisor, feed): (Arc<Supervisor>, Arc<Feed>),
        (queue, max_clients): (Queue, usize),
        locks: Locks,
    ) -> Self {
        let occupancy = LatestOccupancy::default();
        let publication = Publication::new(published(&reconciler, &sources));
        let outputs = (Arc::clone(&feed), occupancy.clone(), Arc::clone(&supervisor));
        let reader = Arc::new(reader(&reconciler, &publication, outputs));
        Self {
            reconciler,
            sources,
            supervisor,
            feed,
            occupancy,
            queue,
            reader,
            publication,
            server: None,
            max_clients,
            is_stopping: false,
            _locks: locks,
        }
    }

    /// Starts everything but the packet path, which enforces policy already. From here on a failure is a problem of the
    /// status and is retried.
    fn begin(&mut self) -> anyhow::Result<()> {
        self.reconciler.kernel.clean_up_leftovers();
        if let Err(error) = loader::remove_other_layouts(&self.reconciler.paths.pins()) {
            tracing::warn!(%error, "maps of an earlier release could not be removed");
        }
        workloads::start(&mut self.reconciler);
        self.reconciler.save_soon();
        let Reconciler { kernel, problems, .. } = &self.reconciler;
        upkeep::start(kernel.upkeep(), kernel.attachment(), problems)?;
        map_usage::start(kernel.usage(), problems)?;
        self.supervisor.wait_for_first();
        let socket = self.reconciler.paths.request_events();
        let outputs = (Arc::clone(&self.feed), self.occupancy.clone());
        events::start(kernel.events()?, socket, outputs, problems)?;
        self.sources.iter_mut().for_each(|source| source.deliver(&mut self.reconciler));
        signals::forward(self.queue.clone(), &self.reconciler.problems)?;
        self.publish();
        workloads::save(&mut self.reconciler);
        self.listen();
        let Reconciler { config, paths, problems, .. } = &self.reconciler;
        if let Some(cni) = config.cni.clone() {
            cni_install::start(cni, paths, (self.publication.clone(), problems))?;
        }
        Ok(())
    }

    /// Listens for requests; a failure is retried at the next tick.
    fn listen(&mut self) {
        let Reconciler { paths, problems, .. } = &self.reconciler;
        let listening = match &mut self.server {
            Some(server) => server.listen_again(),
            None => {
                let answers = (self.queue.clone(), Arc::clone(&self.reader));
                let feed = Arc::clone(&self.feed);
                let started = ApiServer::start(paths.socket(), answers, feed, self.max_clients, problems);
                started.map(|server| self.server = Some(server))
            }
        };
        problems.note(API, listening.map_err(message));
    }

    /// Takes one turn after another until the agent is stopped.
    fn process(&mut self) {
        let mut tick = Instant::now() + TICK;
        while !self.is_stopping {
            let sources = self.sources.iter().filter_map(|source| source.due());
            let due = sources.chain(self.reconciler.kernel.clean_up_due()).fold(tick, Instant::min);
            match self.queue.next(due) {
                Some(Turn::Commands(commands)) => self.carry_out(commands),
                Some(Turn::Sources(sources)) => {
                    sources.into_iter().for_each(|source| self.sources[source].deliver(&mut self.reconciler));
                }
                Some(Turn::Stop) => self.is_stopping = true,
                None => {}
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
            self.publish();
            workloads::save(&mut self.reconciler);
            self.sources.iter_mut().for_each(|source| source.report(&self.reconciler));
        }
        let saved = self.reconciler.save();
        self.reconciler.note_saved(saved.map_err(message));
    }

    /// Publishes what is in force now. It costs the same whatever is stored.
    fn publish(&mut self) {
        self.publication.publish(published(&self.reconciler, &self.sources));
    }

    fn carry_out(&mut self, commands: Vec<PendingCommand>) {
        let (mut others, mut replies) = (Vec::new(), Vec::new());
        for (command, reply) in commands.into_iter().map(PendingCommand::split) {
            match command {
                // Answered once the workload is complete, or gone.
                Command::CreateWorkload(wanted) => workloads::create(&mut self.reconciler, wanted, reply),
                Command::RemoveWorkload { namespace, name } => {
                    workloads::remove(&mut self.reconciler, &namespace, &name, reply);
                }
                Command::Attachment(command) => {
                    workloads::carry_out_attachment(&mut self.reconciler, command, reply);
                }
                other => {
                    others.push(other);
                    replies.push(reply);
                }
            }
        }
        self.is_stopping |= others.iter().any(|command| matches!(command, Command::Stop));
        let answers = requests::carry_out(&mut self.reconciler, others);
        // A client that has its answer must find its change.
        self.publish();
        replies.into_iter().zip(answers).for_each(|(reply, answer)| reply.send(answer));
    }

    /// Checks what the agent gets no event of, and retries what failed.
    fn tick(&mut self) {
        let reconciler = &mut self.reconciler;
        let restored = reconciler.kernel.restore_rule_sets();
        if let Ok(files @ 1..) = restored {
            reconciler.problems.note_repair(format!("{RESTORED}: {files}"));
        }
        reconciler.problems.note(RULE_SETS, restored.map(drop).map_err(message));
        let reconciler = &mut self.reconciler;
        self.sources.iter_mut().for_each(|source| source.poll(reconciler));
        reconciler.retry();
        if !self.server.as_ref().is_some_and(ApiServer::is_reachable) {
            self.listen();
        }
    }
}
