//! The node of the demo: a network namespace with an agent, apart from the host's network.

use super::client::Fetched;
use super::play::{Ended, Runner};
use super::script::FILES;
use super::sweep;
use crate::command::agent::Settings;
use crate::interrupt::Interrupt;
use anyhow::{Context, bail};
use api::view::{Explanation, Status};
use api::{ApiRequest, CallError, ExplainProbe, HttpProbe};
use flow::{Flow, Observed};
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use workload::NetworkNamespace;

/// Name of the demo's agent.
const INSTANCE: &str = "demo";
/// A backend of the service.
const BACKEND: &str = "app1-a";
/// The node's network namespace.
const NAMESPACE: &str = "nexin-demo-node";
/// Prefix of the names of all its network namespaces: the agent's name is part of the workloads' namespace names.
const PREFIX: &str = "nexin-demo-";
/// Directory of all other files, except for pinned BPF objects.
const DIRECTORY: &str = "/run/nexin-demo";
/// Exists while a demo is kept, to distinguish it from a demo that crashed.
const KEPT: &str = "/run/nexin-demo/stays-up";
/// The lock of the running demo.
const LOCK: &str = "/run/nexin-demo.lock";
/// Time until the agent must answer.
const STARTING: Duration = Duration::from_secs(20);

/// A running node; dropping it removes everything, unless it is kept.
#[derive(Debug)]
pub(super) struct DemoNode {
    program: PathBuf,
    socket: PathBuf,
    interrupt: Interrupt,
    /// The value of `--color` for commands.
    color: &'static str,
    agent: Option<Child>,
    kept: bool,
    _lock: File,
}

impl DemoNode {
    /// Removes the remains of an earlier demo, and starts a node.
    pub(super) fn start(interrupt: Interrupt, color: &'static str) -> anyhow::Result<Self> {
        let lock = lock()?;
        let is_kept = Path::new(KEPT).exists();
        anyhow::ensure!(!is_kept, "a demo is kept running; remove it first: nexin demo --down");
        remove()?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let socket = Path::new(DIRECTORY).join("agent.sock");
        let mut node = Self { program, socket, interrupt, color, agent: None, kept: false, _lock: lock };
        node.write_files()?;
        let namespace = NetworkNamespace::create(NAMESPACE)?;
        node.start_agent(&namespace)?;
        Ok(node)
    }

    /// Removes a node that was kept, or that crashed.
    pub(super) fn down() -> anyhow::Result<()> {
        let _lock = lock()?;
        remove()
    }

    /// Keeps everything when this value is dropped, until [`Self::down`].
    pub(super) fn keep(&mut self) -> anyhow::Result<()> {
        File::create(KEPT).with_context(|| format!("cannot create {KEPT}"))?;
        self.kept = true;
        Ok(())
    }

    /// The agent's socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The flows to the service's port so far.
    pub(super) fn flows(&self) -> anyhow::Result<Vec<Flow>> {
        let filters = vec!["to-port=80".to_string()];
        let request = ApiRequest::Observe { last: 100, follow: false, filters };
        let observed = self.client()?.follow::<Observed>(request)?;
        Ok(observed.filter_map(|one| one.map(Observed::into_flow).transpose()).collect::<Result<_, _>>()?)
    }

    fn client(&self) -> Result<api::Client, CallError> {
        api::Client::connect(&self.socket)
    }

    fn write_files(&self) -> anyhow::Result<()> {
        let directory = Path::new(DIRECTORY);
        let policies = directory.join("policies");
        fs::create_dir_all(&policies).with_context(|| format!("cannot create {}", policies.display()))?;
        for (name, text) in FILES {
            fs::write(directory.join(name), text)?;
        }
        let settings = Settings {
            instance: Some(INSTANCE.into()),
            directory: Some(directory.into()),
            policies: Some(policies),
            ..Settings::default()
        };
        Ok(fs::write(directory.join("agent.json"), serde_json::to_vec_pretty(&settings)?)?)
    }

    /// Starts the agent in the node's network namespace, and waits until it answers.
    fn start_agent(&mut self, namespace: &NetworkNamespace) -> anyhow::Result<()> {
        let directory = Path::new(DIRECTORY);
        let log = directory.join("agent.log");
        let output = File::create(&log)?;
        let mut command = Command::new(&self.program);
        command.arg("agent").arg("--config").arg(directory.join("agent.json")).current_dir(directory);
        // Signals of the terminal go to the demo only, which stops its agent itself.
        command.process_group(0).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let agent =
            self.agent.insert(namespace.enter(|| command.spawn())?.context("cannot start the agent")?);
        let until = Instant::now() + STARTING;
        loop {
            let answer = api::Client::connect(&self.socket)
                .and_then(|mut client| client.call::<Status>(ApiRequest::Status));
            match answer {
                Ok(_) => return Ok(()),
                Err(CallError::Unreachable { .. }) if Instant::now() < until => {}
                Err(error) => return Err(error).context(last_lines(&log)),
            }
            if let Some(status) = agent.try_wait()? {
                bail!("the agent ended with {status}:\n{}", last_lines(&log));
            }
            self.interrupt.check()?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs this program with the socket of the node's agent.
    fn call(&self, words: &[&str]) -> anyhow::Result<Output> {
        self.interrupt.check()?;
        let own = self.program.to_string_lossy();
        // In the script, `nexin` stands for this program, also as a workload's command.
        let words = words.iter().map(|word| if *word == "nexin" { own.as_ref() } else { word });
        let mut command = Command::new(&self.program);
        command
            .arg("--socket")
            .arg(&self.socket)
            .args(["--color", self.color])
            .args(words)
            .current_dir(DIRECTORY)
            .stdin(Stdio::null());
        let output = command.output().with_context(|| format!("cannot run {own}"))?;
        self.interrupt.check()?;
        Ok(output)
    }
}

impl Runner for DemoNode {
    fn run(&mut self, words: &[&str]) -> anyhow::Result<Ended> {
        // The program is this one.
        Ok(self.call(&words[1..])?.into())
    }

    fn request_line(&self, from: &str, url: &str, patience: &str) -> String {
        format!("nexin exec {from} -- curl -sS -m {patience} {url}")
    }

    /// `nexin policy apply` returns when the policy is in force.
    fn settling(&self) -> Duration {
        Duration::ZERO
    }

    fn fetch(&mut self, from: &str, url: &str, patience: &str) -> anyhow::Result<Fetched> {
        let words = ["exec", from, "--", "nexin", "demo-client", "-o", "json", "-m", patience, url];
        let output = self.call(&words)?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!("`nexin exec {from}` did not run: {}", String::from_utf8_lossy(&output.stderr).trim_end())
        })
    }

    fn explain(&mut self, from: &str, path: &str) -> anyhow::Result<Explanation> {
        let host = super::script::SERVICE.to_string();
        let http = HttpProbe { method: "GET".into(), path: path.into(), host, headers: vec![] };
        let (from, to) = (from.into(), BACKEND.into());
        let protocol = "TCP".into();
        let probe =
            ExplainProbe { from, to, port: 80, port_name: None, protocol, family: None, http: Some(http) };
        Ok(self.client()?.call(ApiRequest::Explain(Box::new(probe)))?)
    }
}

impl Drop for DemoNode {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = remove() {
            // The next demo retries it.
            eprintln!("error: the demo could not remove everything: {error:#}");
        }
        if let Some(agent) = &mut self.agent {
            // The agent was killed with its namespace; it must still be waited for.
            let _ = agent.wait();
        }
    }
}

/// Takes the lock without waiting: two demos would use the same names.
fn lock() -> anyhow::Result<File> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "the demo needs root, since it creates network namespaces and loads eBPF programs: sudo nexin demo"
    );
    let file = File::create(LOCK).with_context(|| format!("cannot open {LOCK}"))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => bail!("another demo is running; wait for its end"),
        Err(error) => Err(error).with_context(|| format!("cannot lock {LOCK}")),
    }
}

/// Removes everything that a demo creates; missing parts are not errors.
fn remove() -> anyhow::Result<()> {
    let pins = loader::pin_directory(INSTANCE);
    let maps = loader::inspect::pinned_maps(&pins)?;
    sweep::namespaces(PREFIX)?;
    ::agent::remove(&::agent::AgentConfig {
        instance: INSTANCE.into(),
        directory: DIRECTORY.into(),
        state_directory: DIRECTORY.into(),
        network_namespace: Some(NAMESPACE.into()),
        ..::agent::AgentConfig::default()
    })?;
    sweep::await_maps(&maps)
}

/// The last lines of a log.
fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
