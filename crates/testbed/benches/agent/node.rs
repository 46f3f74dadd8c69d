//! A node: one `nexin` program as agent, its directories, its API and its workloads.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use workload::NetworkNamespace;

/// How long an answer of the API may take. The limit of the case ends a longer wait.
const ANSWER: Duration = Duration::from_secs(300);

/// A node with its agent. The sandbox ends what runs on it.
pub(crate) struct Node {
    program: PathBuf,
    pub(crate) directory: PathBuf,
    pub(crate) instance: String,
    agent: Option<Child>,
}

/// A workload of the node.
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) namespace: NetworkNamespace,
    pub(crate) address: IpAddr,
}

impl Node {
    /// A node whose agent is not started yet.
    pub(crate) fn new(program: &Path, directory: &Path, instance: &str) -> Result<Self> {
        let node = Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            instance: instance.to_owned(),
            agent: None,
        };
        for made in [node.policies(), node.directory.join("run"), node.state()] {
            fs::create_dir_all(made)?;
        }
        let settings = json!({
            "instance": instance,
            "directory": node.directory.join("run"),
            "stateDirectory": node.state(),
            "policies": node.policies(),
        });
        fs::write(node.directory.join("agent.json"), settings.to_string())?;
        Ok(node)
    }

    /// The watched directory.
    pub(crate) fn policies(&self) -> PathBuf {
        self.directory.join("policies")
    }

    /// The directory of what outlasts a reboot.
    pub(crate) fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Starts the agent and waits until it answers; returns how long that took.
    pub(crate) fn start(&mut self) -> Result<Duration> {
        let log = File::options().create(true).append(true).open(self.directory.join("agent.log"))?;
        let began = Instant::now();
        let mut command = Command::new(&self.program);
        command.arg("agent").arg("--config").arg(self.directory.join("agent.json"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let agent = self.agent.insert(command.spawn()?);
        let socket = self.directory.join("run/agent.sock");
        loop {
            if let Some(status) = agent.try_wait()? {
                bail!("the agent ended: {status}");
            }
            // A socket of an earlier agent may still be there.
            if UnixStream::connect(&socket).is_ok_and(|stream| ask(&stream, json!({"ask": "status"})).is_ok())
            {
                return Ok(began.elapsed());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the agent by a signal of `kill`, and waits for its end.
    pub(crate) fn stop(&mut self, signal: &str) -> Result<()> {
        let mut agent = self.agent.take().context("no agent runs")?;
        kill(signal, agent.id())?;
        agent.wait()?;
        Ok(())
    }

    /// Sends the agent a request, and returns its answer.
    pub(crate) fn ask(&self, request: Value) -> Result<Value> {
        ask(&UnixStream::connect(self.directory.join("run/agent.sock"))?, request)
    }

    /// The agent's status.
    pub(crate) fn status(&self) -> Result<Value> {
        self.ask(json!({"ask": "status"}))
    }

    /// A command of the program that uses the agent.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--socket").arg(self.directory.join("run/agent.sock")).args(arguments);
        command
    }

    /// Runs `policy apply -f` of a file; returns how long that took.
    pub(crate) fn apply(&self, file: &Path) -> Result<Duration> {
        let began = Instant::now();
        let path = file.to_string_lossy();
        let output = self.command(&["policy", "apply", "-f", &path]).output()?;
        ensure!(output.status.success(), "policy apply: {}", String::from_utf8_lossy(&output.stderr));
        Ok(began.elapsed())
    }

    /// Makes a workload with the label `app: NAME` that ends with a process.
    pub(crate) fn workload(&self, name: &str, owner: u32) -> Result<Workload> {
        let labels = json!({"app": name});
        let made = self.ask(json!({
            "ask": "create-workload", "namespace": "default", "name": name, "labels": labels, "owner": owner,
        }))?;
        let namespace = made["network_namespace"].as_str().context("a workload has a network namespace")?;
        let address = made["addresses"][0].as_str().context("a workload has an address")?;
        let (namespace, address) = (NetworkNamespace::open(namespace)?, address.parse()?);
        Ok(Workload { name: name.to_owned(), namespace, address })
    }

    /// The agent's process.
    pub(crate) fn agent(&self) -> Result<u32> {
        self.agent.as_ref().map(Child::id).context("no agent runs")
    }

    /// The proxy's process.
    pub(crate) fn proxy(&self) -> Result<u32> {
        let process = self.status()?["proxy"].as_u64().context("no proxy runs")?;
        Ok(u32::try_from(process)?)
    }

    /// The end of the agent's log.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(self.directory.join("agent.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

/// The CPU time that a process has taken, with all its threads, in steps of 10 ms.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Fields are counted from behind the command in parentheses: user and system time are the 14th and 15th of all.
    let fields = stat.rsplit_once(')').context("a stat file has a command in parentheses")?.1;
    let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = times.sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Sends a signal of `kill`.
pub(crate) fn kill(signal: &str, process: u32) -> Result<()> {
    let sent = Command::new("kill").args([signal, &process.to_string()]).status()?;
    ensure!(sent.success(), "kill {signal} {process}: {sent}");
    Ok(())
}

fn ask(stream: &UnixStream, mut request: Value) -> Result<Value> {
    request["version"] = 1.into();
    stream.set_read_timeout(Some(ANSWER))?;
    let (mut lines, mut writer) = (BufReader::new(stream), stream);
    writer.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let mut answer: Value = serde_json::from_str(&line).context("the agent closed the connection")?;
    match answer.get_mut("ok") {
        Some(answer) => Ok(answer.take()),
        None => bail!("{answer}"),
    }
}
