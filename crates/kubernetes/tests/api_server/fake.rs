//! An API server over HTTP on a loopback address: lists, watches, writes that it only records, and faults on demand.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// What goes wrong with every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Connections are closed without an answer.
    Away,
    /// 429, with this wait.
    Busy {
        seconds: u64,
    },
    /// 500.
    Internal,
    /// 404 for policies: their kind is not defined.
    NotServed,
}

/// The collection of the objects that tests know by name and spec.
const POLICIES: &str = "/apis/cilium.io/v2/ciliumnetworkpolicies";

/// The path of a collection, and the namespace and name of an object.
type ObjectKey = (String, (String, String));

/// The objects at one time: a version, and each object with its version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    version: u64,
    objects: BTreeMap<ObjectKey, Value>,
    /// Version, collection, type and object of each event.
    events: Vec<(u64, String, &'static str, Value)>,
    /// Events up to this version are forgotten.
    compacted: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    store: Store,
    fault: Fault,
    page: usize,
    /// The number of lists and watches of policies.
    requests: usize,
    /// Watches of an earlier generation end.
    generation: usize,
    streams: Vec<TcpStream>,
    /// The number of watches of policies that were opened.
    watches: usize,
    /// The number of other watches that were opened.
    other_watches: usize,
    /// Paths and bodies of the writes.
    writes: Vec<(String, String)>,
}

/// The server; it runs until the test's process ends.
pub(crate) struct FakeServer {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl FakeServer {
    pub(crate) fn start() -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// A server at this socket, which may be of another network namespace.
    pub(crate) fn at(listener: TcpListener) -> Self {
        let shared = Arc::new(Shared { state: Mutex::new(State::new()), changed: Condvar::new() });
        let address = listener.local_addr().unwrap();
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                thread::spawn(move || serve(&served, stream));
            }
        });
        Self { shared, address }
    }

    /// A kubeconfig for the server.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        let name = format!("nexin-fake-{}-{}", std::process::id(), self.address.port());
        let path = std::env::temp_dir().join(name);
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "clusters": [{"name": "fake", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "fake", "user": {"token": "fake"}}],
        });
        std::fs::write(&path, text.to_string()).unwrap();
        path
    }

    pub(crate) fn put(&self, name: &str, spec: &str) {
        self.lock().store.put(name, spec);
        self.shared.changed.notify_all();
    }

    pub(crate) fn delete(&self, name: &str) {
        self.lock().store.delete(name);
        self.shared.changed.notify_all();
    }

    /// Adds or changes an object of the collection with this path.
    #[allow(dead_code, reason = "not every test has other objects than policies")]
    pub(crate) fn put_object(&self, collection: &str, object: Value) {
        self.lock().store.put_object(collection, object);
        self.shared.changed.notify_all();
    }

    /// Deletes an object of the collection with this path.
    #[allow(dead_code, reason = "not every test has other objects than policies")]
    pub(crate) fn delete_object(&self, collection: &str, namespace: &str, name: &str) {
        self.lock().store.delete_object((collection.into(), (namespace.into(), name.into())));
        self.shared.changed.notify_all();
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    pub(crate) fn page_of(&self, objects: usize) {
        self.lock().page = objects;
    }

    pub(crate) fn requests(&self) -> usize {
        self.lock().requests
    }

    /// The bodies of the writes to a path.
    pub(crate) fn writes_to(&self, path: &str) -> Vec<String> {
        let state = self.lock();
        let writes = state.writes.iter().filter(|(to, _)| to == path);
        writes.map(|(_, body)| body.clone()).collect()
    }

    /// The paths of the writes so far.
    #[allow(dead_code, reason = "not every test expects that something is not written")]
    pub(crate) fn written_paths(&self) -> Vec<String> {
        self.lock().writes.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Waits until this many watches of policies were opened since the start, and one of definitions.
    pub(crate) fn wait_for_watches(&self, count: usize) {
        let mut state = self.lock();
        while state.watches < count || state.other_watches == 0 {
            state = self.shared.changed.wait(state).unwrap();
        }
    }

    pub(crate) fn backup(&self) -> Store {
        self.lock().store.clone()
    }

    /// Puts an earlier store in place, as a restored etcd does; watches end.
    pub(crate) fn restore(&self, store: Store) {
        self.lock().store = store;
        self.drop_streams();
    }

    /// Ends all connections in the middle.
    pub(crate) fn drop_streams(&self) {
        let mut state = self.lock();
        state.drop_streams();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Ends all connections, makes changes, and forgets the events up to these.
    pub(crate) fn compact_and_drop_streams(&self, change: impl FnOnce(&mut Store)) {
        let mut state = self.lock();
        state.drop_streams();
        change(&mut state.store);
        state.store.compacted = state.store.version;
        drop(state);
        self.shared.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl State {
    fn new() -> Self {
        Self {
            store: Store { version: 100, ..Store::default() },
            fault: Fault::None,
            page: 500,
            requests: 0,
            generation: 0,
            streams: Vec::new(),
            watches: 0,
            other_watches: 0,
            writes: Vec::new(),
        }
    }

    fn drop_streams(&mut self) {
        self.generation += 1;
        for stream in self.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Store {
    pub(crate) fn put(&mut self, name: &str, spec: &str) {
        self.put_object(POLICIES, policy(name, spec));
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.delete_object((POLICIES.into(), ("shop".into(), name.into())));
    }

    fn put_object(&mut self, collection: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (collection.to_owned(), (text("namespace"), text("name")));
        let is_new = self.objects.insert(key, object.clone()).is_none();
        let event = if is_new { "ADDED" } else { "MODIFIED" };
        self.events.push((self.version, collection.to_owned(), event, object));
    }

    fn delete_object(&mut self, key: ObjectKey) {
        self.version += 1;
        let mut object = self.objects.remove(&key).unwrap();
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.events.push((self.version, key.0, "DELETED", object));
    }
}

/// A policy; a spec that is not a JSON object is a text.
fn policy(name: &str, spec: &str) -> Value {
    let spec = serde_json::from_str(spec).ok().filter(Value::is_object).unwrap_or_else(|| spec.into());
    json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1}, "spec": spec})
}

/// Serves the requests of a connection.
fn serve(shared: &Shared, stream: TcpStream) {
    shared.state.lock().unwrap().streams.push(stream.try_clone().unwrap());
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some((request, body)) = read_request(&mut reader) {
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let answered = match method {
            "GET" => answer(shared, &stream, path),
            _ => write(shared, &stream, (path, body)),
        };
        if answered.is_none() {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// Reads the first line of a request, and its body.
fn read_request(reader: &mut impl BufRead) -> Option<(String, String)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|length| *length > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first, String::from_utf8(body).ok()?))
}

fn write(shared: &Shared, stream: &TcpStream, (path, body): (&str, String)) -> Option<()> {
    let path = path.split('?').next().unwrap_or_default().to_owned();
    let mut state = shared.state.lock().unwrap();
    if state.fault != Fault::None {
        return None;
    }
    state.writes.push((path, body));
    drop(state);
    send(stream, "200 OK", "", &json!({}))
}

/// Answers one request; none to close the connection.
fn answer(shared: &Shared, stream: &TcpStream, path: &str) -> Option<()> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let mut state = shared.state.lock().unwrap();
    let of_policies = path == POLICIES;
    state.requests += usize::from(of_policies);
    let status = |code: u16| json!({"kind": "Status", "code": code, "message": format!("fault {code}")});
    let not_found = |stream| send(stream, "404 Not Found", "", &json!("404 page not found"));
    match state.fault {
        Fault::None => {}
        Fault::Away => return None,
        Fault::Busy { seconds } => {
            return send(
                stream,
                "429 Too Many Requests",
                &format!("Retry-After: {seconds}\r\n"),
                &status(429),
            );
        }
        Fault::Internal => return send(stream, "500 Internal Server Error", "", &status(500)),
        Fault::NotServed if of_policies => return not_found(stream),
        Fault::NotServed => {}
    }
    if path.starts_with("/apis/policy.networking.k8s.io/") {
        return not_found(stream);
    }
    if query.contains_key("watch") {
        let after: u64 = query["resourceVersion"].parse().unwrap();
        // Other kinds lose no event when events are forgotten.
        let is_expired = of_policies && after < state.store.compacted;
        drop(state);
        return watch(shared, stream, (path, after, is_expired));
    }
    let list = list(&state, path, &query);
    drop(state);
    send(stream, "200 OK", "", &list)
}

fn list(state: &State, path: &str, query: &BTreeMap<&str, &str>) -> Value {
    let begin: usize = query.get("continue").map_or(0, |rest| rest.parse().unwrap());
    let limit = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap()).min(state.page);
    let of_path = state.store.objects.iter().filter(|((collection, _), _)| collection == path);
    let objects: Vec<Value> = of_path.map(|(_, object)| object.clone()).collect();
    let end = begin.saturating_add(limit).min(objects.len());
    let rest = if end < objects.len() { end.to_string() } else { String::new() };
    json!({
        "metadata": {"resourceVersion": state.store.version.to_string(), "continue": rest},
        "items": objects[begin..end],
    })
}

/// Sends events until the connection is dropped. A version that this store has not reached waits, as the real one does.
fn watch(
    shared: &Shared,
    mut stream: &TcpStream,
    (path, after, is_expired): (&str, u64, bool),
) -> Option<()> {
    let mut state = shared.state.lock().unwrap();
    let generation = state.generation;
    let header = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(header.as_bytes()).ok()?;
    if is_expired {
        let expired = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
        chunk(stream, &json!({"type": "ERROR", "object": expired}))?;
        return None;
    }
    let watches = if path == POLICIES { &mut state.watches } else { &mut state.other_watches };
    *watches += 1;
    shared.changed.notify_all();
    let mut sent = after;
    while state.generation == generation {
        let last = sent;
        let news = state.store.events.iter().filter(|(version, of, ..)| *version > last && of == path);
        for (version, _, kind, object) in news {
            chunk(stream, &json!({"type": kind, "object": object}))?;
            sent = *version;
        }
        state = shared.changed.wait(state).unwrap();
    }
    None
}

fn chunk(mut stream: &TcpStream, event: &Value) -> Option<()> {
    let line = format!("{event}\n");
    stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).ok()
}

fn send(mut stream: &TcpStream, status: &str, headers: &str, body: &Value) -> Option<()> {
    let body = body.to_string();
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).ok()
}
