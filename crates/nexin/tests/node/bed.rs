//! A node of a test's own: a network namespace, an agent in it, workloads that speak HTTP.

use api::view::{Endpoint, Status};
use api::{Client, Request};
use serde::de::DeserializeOwned;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use workload::{Namespace, Node, Plan, Route, RouteKind};

/// How long something may take that is expected to happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How long to wait for an answer that may not come.
const PATIENCE: Duration = Duration::from_millis(700);

/// A node; dropping it removes all of it.
pub(crate) struct Bed {
    name: String,
    directory: PathBuf,
    agent: Option<Child>,
}

impl Bed {
    /// A node with a running agent. `name` sets it apart from other tests'.
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, serde_json::json!({}))
    }

    /// The same with limits of its proxy.
    pub(crate) fn with(name: &str, proxy: serde_json::Value) -> Self {
        let name = format!("nxt{}{name}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(directory.join("policies")).unwrap();
        let mut settings = serde_json::json!({
            "instance": name,
            "directory": directory.join("run"),
            "policies": directory.join("policies"),
            "networkNamespace": name,
        });
        if proxy != serde_json::json!({}) {
            settings["proxy"] = proxy;
        }
        fs::write(directory.join("agent.json"), settings.to_string()).unwrap();
        Namespace::create(&name).unwrap();
        let mut bed = Self { name, directory, agent: None };
        bed.start();
        bed
    }

    /// Starts the agent and waits until it answers.
    pub(crate) fn start(&mut self) {
        let log =
            fs::File::options().create(true).append(true).open(self.directory.join("agent.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexin"));
        command.arg("agent").arg("--config").arg(self.directory.join("agent.json"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.agent = Some(command.spawn().unwrap());
        let answers = eventually(|| Client::connect(&self.socket()).ok());
        assert!(answers.is_some(), "{}", self.log());
    }

    /// Starts the agent where none runs; false where one does.
    pub(crate) fn try_start(&mut self) -> bool {
        let start = self.agent.is_none();
        if start {
            self.start();
        }
        start
    }

    /// Ends the agent as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Asks the agent.
    pub(crate) fn ask<T: DeserializeOwned>(&self, request: Request) -> T {
        Client::connect(&self.socket()).unwrap().call(request).unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        self.ask(Request::Status)
    }

    pub(crate) fn apply(&self, text: &str) {
        self.try_apply(text).unwrap();
    }

    pub(crate) fn try_apply(&self, text: &str) -> Result<Vec<String>, api::CallError> {
        let request = Request::Apply { file: "test.yaml".into(), text: text.into() };
        Client::connect(&self.socket())?.call(request)
    }

    pub(crate) fn delete(&self, name: &str) {
        let _: Vec<String> = self.ask(Request::Delete { names: vec![name.into()] });
    }

    /// Writes a manifest into the directory that the agent watches.
    pub(crate) fn write_policy(&self, file: &str, text: &str) {
        fs::write(self.directory.join("policies").join(file), text).unwrap();
    }

    /// A workload, labelled `app: NAME`, that answers HTTP requests on port 80 with its name.
    pub(crate) fn workload(&self, name: &str) -> Host {
        let host = self.bare_workload(name);
        host.serve(name);
        host
    }

    /// A workload, labelled `app: NAME`, in which nothing runs.
    pub(crate) fn bare_workload(&self, name: &str) -> Host {
        let wanted = api::Workload {
            namespace: "default".into(),
            name: name.into(),
            labels: [("app".to_string(), name.to_string())].into(),
            addresses: Vec::new(),
            named_ports: Default::default(),
            owner: None,
        };
        let endpoint: Endpoint = self.ask(Request::CreateWorkload(wanted));
        let namespace = Namespace::open(&endpoint.network_namespace).unwrap();
        Host { namespace, addresses: endpoint.addresses }
    }

    /// The node itself, by the addresses that the agent gives it.
    pub(crate) fn node(&self) -> Host {
        let addresses = ["10.244.0.1", "fd00:10:244::1"].map(|address| address.parse().unwrap());
        Host { namespace: Namespace::open(&self.name).unwrap(), addresses: addresses.to_vec() }
    }

    /// A host outside, where the node's default route leads.
    pub(crate) fn outside(&self) -> Host {
        let namespace = Namespace::anonymous().unwrap();
        let addresses = vec!["198.51.100.7".parse().unwrap()];
        let mut node = Node::of(Namespace::open(&self.name).unwrap()).unwrap();
        let plan = Plan { host: "out0", addresses: &addresses, mtu: 1500, index: None };
        let wired = node.wire(&namespace, &plan).unwrap();
        node.up(&wired).unwrap();
        let anywhere = Route {
            destination: Ipv4Addr::UNSPECIFIED.into(),
            prefix: 0,
            interface: wired.interface,
            kind: RouteKind::Direct,
            table: Route::MAIN,
        };
        node.network().add_route(&anywhere).unwrap();
        Host { namespace, addresses }
    }

    /// What the agent said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("agent.log")).unwrap_or_default()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("run/agent.sock")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the agent said:\n{}", self.log());
            let seen = Request::Observe { last: 20, follow: false, filters: Vec::new() };
            let flows = Client::connect(&self.socket()).and_then(|client| client.follow::<flow::Flow>(seen));
            for flow in flows.into_iter().flatten().flatten() {
                eprintln!("{}", flow::line(&flow, flow::Paint::Plain));
            }
        }
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        let config = agent::Config {
            instance: self.name.clone(),
            directory: self.directory.join("run"),
            state_directory: self.directory.join("run"),
            network_namespace: Some(self.name.clone()),
            ..agent::Config::default()
        };
        let removed = agent::remove(&config);
        let _ = Namespace::delete(&self.name);
        let _ = fs::remove_dir_all(&self.directory);
        if !thread::panicking() {
            removed.unwrap();
        }
    }
}

/// A workload and what speaks for it.
pub(crate) struct Host {
    namespace: Namespace,
    pub(crate) addresses: Vec<IpAddr>,
}

/// An open connection that asks one request after another.
pub(crate) struct Conversation(BufReader<TcpStream>);

impl Host {
    /// Does something in the workload's network namespace.
    #[allow(dead_code, reason = "not every test that has a bed sends bytes of its own")]
    pub(crate) fn enter<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        self.namespace.enter(run).unwrap()
    }

    /// Answers HTTP requests on port 80, in both families, with a name.
    pub(crate) fn serve(&self, name: &str) {
        let listener = self.namespace.enter(|| TcpListener::bind("[::]:80")).unwrap().unwrap();
        let name = name.to_string();
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(stream, name.clone())));
    }

    /// Connects to port 80 by IPv4, or says that it got no connection.
    pub(crate) fn connect(&self, to: &Host) -> Option<Conversation> {
        self.connect_to(SocketAddr::new(to.addresses[0], 80))
    }

    pub(crate) fn connect_to(&self, to: SocketAddr) -> Option<Conversation> {
        let stream = self.namespace.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap().ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Conversation(BufReader::new(stream)))
    }

    /// A connection for any bytes, or none where it got none.
    #[allow(dead_code, reason = "not every test that has a bed sends bytes of its own")]
    pub(crate) fn stream_to(&self, to: SocketAddr) -> Option<TcpStream> {
        let stream = self.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).ok()?;
        stream.set_read_timeout(Some(2 * PATIENCE)).ok()?;
        Some(stream)
    }

    /// The status of the answer to a GET; none where there is no connection or no answer.
    pub(crate) fn fetch(&self, to: &Host, path: &str) -> Option<u16> {
        self.connect(to)?.fetch(path)
    }
}

impl Conversation {
    /// The status of the answer to a GET; none where no answer comes.
    pub(crate) fn fetch(&mut self, path: &str) -> Option<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).ok()?;
        let mut status = String::new();
        self.0.read_line(&mut status).ok()?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).ok()?;
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().ok()?,
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        self.0.read_exact(&mut vec![0; length]).ok()?;
        status.split(' ').nth(1)?.parse().ok()
    }
}

/// Tries until something is there, for as long as may be.
pub(crate) fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + SOON;
    loop {
        match attempt() {
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            result => return result,
        }
    }
}

fn serve(stream: TcpStream, name: String) {
    thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
            if line.trim_end().is_empty() {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
                if lines.get_mut().write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            line.clear();
        }
    });
}
