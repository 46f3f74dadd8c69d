//! The watches of an API server, on a thread of their own.

use crate::connection::Connection;
use crate::definitions::{self, DefinitionView, Definitions};
use crate::events::Events;
use crate::kind::WatchedKind;
use crate::known::KnownObjects;
use crate::load::{Load, ServerLoad};
use crate::request::Endpoint;
use crate::watch::{Moment, Occurrence, Report, Request, Step, Watch};
use crate::write_queue::ObjectWrite;
use crate::writes::{WriteTrouble, send_all};
use kube::Client;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

/// How long the server keeps a stream open: between this and twice as long, so that streams of many nodes end at different times.
const STREAM: Duration = Duration::from_secs(290);
/// How often a kubeconfig or a service account that cannot be used is read again.
const CONNECTION: Duration = Duration::from_secs(5);
/// Within which time the watches of a node return to a server that is back.
const RETURN: Duration = Duration::from_millis(500);

/// A kind to watch, and which of its objects the caller knows.
#[derive(Clone, Debug)]
pub struct WatchRequest {
    /// The kind.
    pub kind: WatchedKind,
    /// The objects that the caller has from an earlier process. What differs from them is reported.
    pub known: KnownObjects,
}

/// What the watches tell the caller, on their thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterEvent {
    /// A report about the kind with this index.
    Report(usize, Report),
    /// There is no client of the API server, and why; none once there is one.
    Connection(Option<String>),
    /// A write failed.
    Write(WriteTrouble),
}

/// The watches of an API server, and writes to it. They end when this is dropped.
#[derive(Debug)]
pub struct ClusterWatches {
    load: Load,
    writes: UnboundedSender<ObjectWrite>,
    /// Ends the thread when it is dropped.
    _stop: oneshot::Sender<()>,
}

/// What the tasks of the thread share.
struct Shared<F> {
    deliver: F,
    load: Load,
    begin: Instant,
    /// The server answers a watch again that had failed.
    is_back: Notify,
}

impl ClusterWatches {
    /// Starts to watch. `deliver` is called on the watches' thread and must not wait.
    pub fn start(
        connection: Connection,
        requests: Vec<WatchRequest>,
        deliver: impl Fn(ClusterEvent) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let load = Load::default();
        let (stop, stopped) = oneshot::channel();
        let (writes, written) = unbounded_channel();
        let shared =
            Arc::new(Shared { deliver, load: load.clone(), begin: Instant::now(), is_back: Notify::new() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("kubernetes".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = watch_all(connection, requests, written, shared) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { load, writes, _stop: stop })
    }

    /// Sends a write, after those that were not sent yet; it replaces one to the same path. What it changes is seen by a watch; a failure
    /// is an event.
    pub fn write(&self, write: ObjectWrite) {
        // The thread ends with this value only.
        let _ = self.writes.send(write);
    }

    /// What the watches and writes asked of the API server so far.
    pub fn load(&self) -> ServerLoad {
        self.load.now()
    }
}

async fn watch_all<F>(
    connection: Connection,
    requests: Vec<WatchRequest>,
    written: UnboundedReceiver<ObjectWrite>,
    shared: Arc<Shared<F>>,
) where
    F: Fn(ClusterEvent) + Send + Sync + 'static,
{
    let client = connect(&connection, &shared.deliver).await;
    let mut tasks = JoinSet::new();
    let definitions = Arc::new(Definitions::default());
    let endpoint = |kind| Endpoint { client: client.clone(), kind, load: shared.load.clone() };
    for (index, WatchRequest { kind, known }) in requests.into_iter().enumerate() {
        let definition = kind.definition().map(|name| definitions.view(name));
        let shared = Arc::clone(&shared);
        let deliver = {
            let shared = Arc::clone(&shared);
            move |report| (shared.deliver)(ClusterEvent::Report(index, report))
        };
        tasks.spawn(watch_one(endpoint(kind), (known, definition), shared, deliver));
    }
    if definitions.are_needed() {
        let deliver = move |report| definitions.take(report);
        let none = (KnownObjects::default(), None);
        tasks.spawn(watch_one(endpoint(definitions::KIND), none, Arc::clone(&shared), deliver));
    }
    let writer = Arc::clone(&shared);
    tasks.spawn(async move {
        let deliver = |trouble| (writer.deliver)(ClusterEvent::Write(trouble));
        send_all(client, written, writer.load.clone(), (writer.begin, random), deliver).await;
    });
    // No task ends by itself.
    while tasks.join_next().await.is_some() {}
}

/// Reads the configuration of the client until that succeeds: its files may be mounted later.
async fn connect(connection: &Connection, deliver: &impl Fn(ClusterEvent)) -> Client {
    let mut failed = false;
    loop {
        match connection.client().await {
            Ok(client) => {
                if failed {
                    deliver(ClusterEvent::Connection(None));
                }
                return client;
            }
            Err(error) => {
                failed = true;
                deliver(ClusterEvent::Connection(Some(error.to_string())));
            }
        }
        tokio::time::sleep(CONNECTION).await;
    }
}

/// Carries out what the state machine of one kind decides.
async fn watch_one<F>(
    endpoint: Endpoint,
    (known, mut definition): (KnownObjects, Option<DefinitionView>),
    shared: Arc<Shared<F>>,
    deliver: impl Fn(Report),
) {
    let (mut watch, mut request) = Watch::new(endpoint.kind.versions.len(), known);
    let mut events: Option<Events> = None;
    let mut has_failed = false;
    loop {
        let occurrence = match request {
            Request::List { version, rest, is_paged } => {
                if let Some(definition) = &mut definition {
                    definition.mark();
                }
                endpoint.list(version, rest.as_deref(), is_paged).await
            }
            Request::Check { version } => endpoint.check(version).await,
            Request::Watch { version, after } => {
                let lasting = STREAM + share(STREAM);
                match endpoint.watch(version, &after, lasting).await {
                    Ok(body) => {
                        events = Some(Events::new(body, version));
                        Occurrence::Opened
                    }
                    Err(failure) => Occurrence::Failed(failure),
                }
            }
            Request::Read => match &mut events {
                Some(events) => events.next(&endpoint.kind, &endpoint.load).await,
                None => Occurrence::Ended,
            },
            Request::Wait(wait) => {
                // A stream that failed is closed meanwhile.
                events = None;
                tokio::time::sleep(wait).await;
                Occurrence::Due
            }
            Request::WaitForServer(wait) => {
                events = None;
                wait_for_server(&shared.is_back, wait).await
            }
            Request::WaitForDefinition(wait) => {
                events = None;
                wait_for_definition(definition.as_mut(), wait).await
            }
        };
        if let Occurrence::Failed(failure) = &occurrence {
            has_failed = failure.may_end_with_others();
        } else if !matches!(occurrence, Occurrence::Due | Occurrence::Redefined)
            && std::mem::take(&mut has_failed)
        {
            shared.is_back.notify_waiters();
        }
        let moment = Moment { at: shared.begin.elapsed(), random: random() };
        let Step { reports, request: next } = watch.on(occurrence, moment);
        reports.into_iter().for_each(&deliver);
        request = next;
    }
}

/// Waits, but not longer than until the server answers another watch again.
async fn wait_for_server(is_back: &Notify, wait: Duration) -> Occurrence {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = is_back.notified() => tokio::time::sleep(share(RETURN)).await,
    }
    Occurrence::Due
}

/// Waits for a kind that the API server does not serve.
async fn wait_for_definition(definition: Option<&mut DefinitionView>, wait: Duration) -> Occurrence {
    let Some(definition) = definition else {
        tokio::time::sleep(wait).await;
        return Occurrence::Due;
    };
    if definition.changed(wait).await { Occurrence::Redefined } else { Occurrence::Due }
}

/// A random share of a time.
fn share(time: Duration) -> Duration {
    time.mul_f64(f64::from(random()) / f64::from(u32::MAX))
}

/// A random number of the hash tables' seeds, which suffices to spread requests.
fn random() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}
