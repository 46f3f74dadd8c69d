//! A node with an agent of a given binary: a client, and servers with a policy each.

use crate::process::Process;
use crate::rules;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use workload::NetworkNamespace;

/// How long an agent may take to do something.
const PATIENCE: Duration = Duration::from_secs(30);

/// A workload of the node.
pub(crate) struct Workload {
    pub(crate) namespace: NetworkNamespace,
    pub(crate) address: IpAddr,
}

/// A node; dropping it removes everything.
pub(crate) struct Node {
    binary: PathBuf,
    name: String,
    directory: PathBuf,
    children: Vec<Child>,
    pub(crate) agent: Process,
    pub(crate) proxy: Process,
}

/// An observer of all requests, and what it has seen.
pub(crate) struct Observer {
    child: Child,
    pub(crate) process: Process,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    lost: AtomicU64,
}

impl Node {
    /// Starts an agent, a client and one server for each count of HTTP rules; a server with none has a policy for its port.
    pub(crate) fn new(
        binary: &Path,
        number: usize,
        rules: &[Option<usize>],
    ) -> Result<(Self, Workload, Vec<Workload>)> {
        let name = format!("nxb{}x{number}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(directory.join("policies"))?;
        NetworkNamespace::create(&name)?;
        let nobody = Process(0);
        let (binary, children) = (fs::canonicalize(binary)?, Vec::new());
        let mut node = Self { binary, name, directory, children, agent: nobody, proxy: nobody };
        node.start()?;
        let client = node.workload("client")?;
        let mut servers = Vec::new();
        for (index, rules) in rules.iter().enumerate() {
            servers.push(node.workload(&format!("server{index}"))?);
            node.apply(&rules::policy(&format!("server{index}"), *rules))?;
        }
        node.proxy = node.wait("its proxy", |node| {
            let status: Value = node.json(&["status"])?;
            Ok(status["proxy"].as_u64().map(|process| Process(process as u32)))
        })?;
        Ok((node, client, servers))
    }

    fn start(&mut self) -> Result<()> {
        let settings = json!({
            "instance": self.name,
            "directory": self.directory.join("run"),
            "policies": self.directory.join("policies"),
            "networkNamespace": self.name,
        });
        let file = self.directory.join("agent.json");
        fs::write(&file, settings.to_string())?;
        let log = fs::File::create(self.directory.join("agent.log"))?;
        let mut command = Command::new(&self.binary);
        command
            .arg("agent")
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().with_context(|| format!("{} does not start", self.binary.display()))?;
        self.agent = Process(child.id());
        self.children.push(child);
        self.wait("an answer of the agent", |node| Ok(node.json(&["status"]).ok())).map(drop)
    }

    /// A `nexin` command for this node's agent.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--socket")
            .arg(self.directory.join("run/agent.sock"))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.command(arguments).args(["-o", "json"]).output()?;
        // The status fails where it reports a problem.
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!("nexin {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr))
        })
    }

    fn wait<T>(&self, what: &str, mut attempt: impl FnMut(&Self) -> Result<Option<T>>) -> Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(result) = attempt(self)? {
                return Ok(result);
            }
            if Instant::now() > until {
                let log = fs::read_to_string(self.directory.join("agent.log")).unwrap_or_default();
                bail!("{} does not give {what} within {PATIENCE:?}; its log:\n{log}", self.binary.display());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A workload with the label `app: NAME`, in which a command sleeps.
    fn workload(&mut self, name: &str) -> Result<Workload> {
        let label = format!("app={name}");
        let mut command =
            self.command(&["run", "--name", name, "--label", &label, "--", "sleep", "infinity"]);
        self.children.push(command.stdout(Stdio::null()).spawn()?);
        self.wait("a workload", |node| {
            let endpoints: Value = node.json(&["endpoint", "list"])?;
            let all =
                endpoints.as_array().or_else(|| endpoints["endpoints"].as_array()).context("no list")?;
            let Some(endpoint) = all.iter().find(|endpoint| endpoint["name"] == name) else {
                return Ok(None);
            };
            let address = endpoint["addresses"][0].as_str().context("no address")?.parse()?;
            let namespace =
                endpoint["networkNamespace"].as_str().or_else(|| endpoint["network_namespace"].as_str());
            let namespace = NetworkNamespace::open(namespace.context("no namespace")?)?;
            Ok(Some(Workload { namespace, address }))
        })
    }

    fn apply(&self, policy: &str) -> Result<()> {
        let file = self.directory.join("policy.yaml");
        fs::write(&file, policy)?;
        let output = self.command(&["policy", "apply", "-f"]).arg(&file).output()?;
        ensure!(
            output.status.success(),
            "the policy is refused: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// The sum of the agent's counters of lost events.
    pub(crate) fn lost(&self) -> Result<u64> {
        fn sum(value: &Value) -> u64 {
            match value {
                Value::Object(causes) => causes.values().map(sum).sum(),
                other => other.as_u64().unwrap_or(0),
            }
        }
        let status = self.json(&["status"])?;
        Ok(["lost_events", "lostEvents"].iter().map(|name| sum(&status[*name])).sum())
    }

    /// Starts an observer.
    pub(crate) fn observe(&self) -> Result<Observer> {
        let mut command = self.command(&["observe", "--follow", "--type", "l7", "-o", "json"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let process = Process(child.id());
        let output = child.stdout.take().expect("its output is a pipe");
        let counts = Arc::<Counts>::default();
        let seen = Arc::clone(&counts);
        thread::spawn(move || {
            let mut lines = BufReader::with_capacity(1 << 20, output);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                seen.count(&line);
                line.clear();
            }
        });
        // The observer subscribes before the first request.
        thread::sleep(Duration::from_millis(500));
        Ok(Observer { child, process, counts })
    }
}

impl Counts {
    fn count(&self, line: &[u8]) {
        let contains = |text: &[u8]| line.windows(text.len()).any(|bytes| bytes == text);
        if contains(b"\"l7\"") {
            self.requests.fetch_add(1, Ordering::Relaxed);
        } else if let Ok(value) = serde_json::from_slice::<Value>(line) {
            // A string, as Hubble writes it.
            let lost = value["lost_events"]["num_events_lost"].as_str().and_then(|count| count.parse().ok());
            self.lost.fetch_add(lost.unwrap_or(0), Ordering::Relaxed);
        }
    }
}

impl Observer {
    /// Requests that it saw, and events that were reported to it as lost. An observer that is behind gets some time.
    pub(crate) fn wait_for(&self, requests: u64) -> (u64, u64) {
        let until = Instant::now() + Duration::from_secs(3);
        loop {
            let counts =
                (self.counts.requests.load(Ordering::Relaxed), self.counts.lost.load(Ordering::Relaxed));
            if counts.0 + counts.1 >= requests || Instant::now() > until {
                return counts;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The agent is the first child; without it, the commands of the workloads end by themselves.
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let config = agent::AgentConfig {
            instance: self.name.clone(),
            directory: self.directory.join("run"),
            state_directory: self.directory.join("run"),
            network_namespace: Some(self.name.clone()),
            ..agent::AgentConfig::default()
        };
        if let Err(error) = agent::remove(&config) {
            eprintln!("what the agent left cannot be removed: {error:#}");
        }
        let _ = NetworkNamespace::delete(&self.name);
        let _ = fs::remove_dir_all(&self.directory);
    }
}
