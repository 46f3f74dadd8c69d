//! The node that the demo plays on: a network namespace, an agent in it, and nothing of the host's own.

use super::client::Fetched;
use super::play::{Ended, Runner};
use super::script::FILES;
use super::sweep;
use crate::command::agent::Settings;
use crate::interrupt::Interrupt;
use anyhow::{Context, bail};
use api::view::{Explanation, Status};
use api::{CallError, HttpProbe, Probe, Request};
use flow::Flow;
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use workload::Namespace;

/// Name of the demo's agent.
const INSTANCE: &str = "demo";
/// The node's network namespace.
const NAMESPACE: &str = "nexin-demo-node";
/// What the names of all its namespaces begin with, for the agent names those of workloads after itself.
const PREFIX: &str = "nexin-demo-";
/// Everything else that is made, but for what is pinned in the BPF file system.
const DIRECTORY: &str = "/run/nexin-demo";
/// There where a demo was kept, so that the next one does not take it for one that crashed.
const KEPT: &str = "/run/nexin-demo/stays-up";
/// Held by the one demo that plays.
const LOCK: &str = "/run/nexin-demo.lock";
/// How long an agent may take to answer.
const STARTING: Duration = Duration::from_secs(20);

/// A node that is set up; dropping it removes everything, unless it is kept.
#[derive(Debug)]
pub(super) struct DemoNode {
    program: PathBuf,
    socket: PathBuf,
    interrupt: Interrupt,
    /// What the commands are told of colours.
    color: &'static str,
    agent: Option<Child>,
    kept: bool,
    _lock: File,
}

impl DemoNode {
    /// Removes what an earlier demo left behind, and sets a node up.
    pub(super) fn start(interrupt: Interrupt, color: &'static str) -> anyhow::Result<Self> {
        let lock = lock()?;
        let is_kept = Path::new(KEPT).exists();
        anyhow::ensure!(!is_kept, "a demo was kept up; end it first: nexin demo --down");
        remove()?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let socket = Path::new(DIRECTORY).join("agent.sock");
        let mut node = Self { program, socket, interrupt, color, agent: None, kept: false, _lock: lock };
        node.write_files()?;
        let namespace = Namespace::create(NAMESPACE)?;
        node.start_agent(&namespace)?;
        Ok(node)
    }

    /// Removes a node that was kept, or that a crash left behind.
    pub(super) fn down() -> anyhow::Result<()> {
        let _lock = lock()?;
        remove()
    }

    /// Leaves everything as it is when this value is dropped, until [`Self::down`].
    pub(super) fn keep(&mut self) -> anyhow::Result<()> {
        File::create(KEPT).with_context(|| format!("cannot make {KEPT}"))?;
        self.kept = true;
        Ok(())
    }

    /// Where its agent listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The flows to the port of the service, so far.
    pub(super) fn flows(&self) -> anyhow::Result<Vec<Flow>> {
        let filters = vec!["to-port=80".to_string()];
        let request = Request::Observe { last: 100, follow: false, filters };
        let flows = self.client()?.follow::<Flow>(request)?;
        Ok(flows.collect::<Result<_, _>>()?)
    }

    fn client(&self) -> Result<api::Client, CallError> {
        api::Client::connect(&self.socket)
    }

    fn write_files(&self) -> anyhow::Result<()> {
        let directory = Path::new(DIRECTORY);
        let policies = directory.join("policies");
        fs::create_dir_all(&policies).with_context(|| format!("cannot make {}", policies.display()))?;
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

    /// Starts the agent in the node's namespace, and waits until it answers.
    fn start_agent(&mut self, namespace: &Namespace) -> anyhow::Result<()> {
        let directory = Path::new(DIRECTORY);
        let log = directory.join("agent.log");
        let output = File::create(&log)?;
        let mut command = Command::new(&self.program);
        command.arg("agent").arg("--config").arg(directory.join("agent.json")).current_dir(directory);
        // What is typed at the terminal is for the demo, which ends its agent in its own time.
        command.process_group(0).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let agent =
            self.agent.insert(namespace.enter(|| command.spawn())?.context("cannot start the agent")?);
        let until = Instant::now() + STARTING;
        loop {
            let answer = api::Client::connect(&self.socket)
                .and_then(|mut client| client.call::<Status>(Request::Status));
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

    /// Runs this program with the node's agent to speak to.
    fn call(&self, words: &[&str]) -> anyhow::Result<Output> {
        self.interrupt.check()?;
        let own = self.program.to_string_lossy();
        // The script says `nexin` where a workload's command is this program too.
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
    fn nexin(&mut self, words: &[&str]) -> anyhow::Result<Ended> {
        let Output { status, stdout, stderr } = self.call(words)?;
        let output = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_string());
        let output = output.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
        Ok(Ended { output, success: status.success() })
    }

    fn fetch(&mut self, from: &str, url: &str, patience: &str) -> anyhow::Result<Fetched> {
        let words = ["exec", from, "--", "nexin", "demo-client", "-o", "json", "-m", patience, url];
        let output = self.call(&words)?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!("`nexin exec {from}` did not run: {}", String::from_utf8_lossy(&output.stderr).trim_end())
        })
    }

    fn explain(&mut self, from: &str, to: &str, path: &str) -> anyhow::Result<Explanation> {
        let host = super::script::SERVICE.to_string();
        let http = HttpProbe { method: "GET".into(), path: path.into(), host, headers: vec![] };
        let (from, to) = (from.into(), to.into());
        let protocol = "TCP".into();
        let probe = Probe { from, to, port: 80, port_name: None, protocol, family: None, http: Some(http) };
        Ok(self.client()?.call(Request::Explain(Box::new(probe)))?)
    }
}

impl Drop for DemoNode {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = remove() {
            // The next demo removes it, or says again why it cannot.
            eprintln!("error: the demo leaves something behind: {error:#}");
        }
        if let Some(agent) = &mut self.agent {
            // It was ended with its namespace; only its exit code is left to be fetched.
            let _ = agent.wait();
        }
    }
}

/// Waits for no one: two demos would be in each other's way.
fn lock() -> anyhow::Result<File> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "the demo needs root, for it makes network namespaces and loads eBPF programs: sudo nexin demo"
    );
    let file = File::create(LOCK).with_context(|| format!("cannot open {LOCK}"))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => bail!("another demo is being played; wait for its end"),
        Err(error) => Err(error).with_context(|| format!("cannot lock {LOCK}")),
    }
}

/// Removes everything that a demo makes; that there is nothing is not an error.
fn remove() -> anyhow::Result<()> {
    let pins = loader::pin_directory(INSTANCE);
    let maps = loader::inspect::pinned_maps(&pins)?;
    sweep::namespaces(PREFIX)?;
    ::agent::remove_groups(INSTANCE)?;
    loader::remove_pins(&pins)?;
    sweep::await_maps(&maps)?;
    sweep::directory(Path::new(DIRECTORY))
}

/// The end of a log, where whatever went wrong stands.
fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
