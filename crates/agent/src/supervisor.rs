//! The proxy's process: started, adopted after a restart of the agent, and started again when it ends.

use crate::paths::Paths;
use crate::state::{Owner, replace};
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a proxy may take until it listens.
const START: Duration = Duration::from_secs(5);

/// The proxy of this node.
#[derive(Debug)]
pub(crate) struct Supervisor {
    paths: Paths,
    port: u16,
    /// Numbers of the maps that it must read: those that are in force.
    maps: Vec<u32>,
    process: Option<Owner>,
    /// Where this agent started the process, so that its end is noticed and nothing of it is left.
    child: Option<Child>,
}

impl Supervisor {
    /// Takes over the proxy of an earlier agent if it runs and does what this one wants, else ends it; starts none.
    ///
    /// The maps that are pinned must be those in force. One that reads others, since their pins were removed, is ended.
    pub(crate) fn new(paths: &Paths, port: u16) -> anyhow::Result<Self> {
        let mut maps = loader::inspect::pinned_maps(&paths.pins())?;
        maps.sort_unstable();
        let fits =
            |running: &Running| (running.port, running.layout, &running.maps) == (port, abi::LAYOUT, &maps);
        let process = running(paths)?.filter(fits).map(|running| running.process);
        if process.is_none() {
            end(paths)?;
        }
        Ok(Self { paths: paths.clone(), port, maps, process, child: None })
    }

    /// Process number of the proxy, where it runs.
    pub(crate) fn process(&self) -> Option<u32> {
        self.process.filter(|process| !process.has_ended()).map(|process| process.process)
    }

    /// Starts the proxy if it does not run, and waits until it listens.
    pub(crate) fn ensure(&mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            tracing::error!(%status, log = %self.paths.proxy_log().display(), "the proxy ended; starting it again");
            self.child = None;
        }
        if self.process().is_some() {
            return Ok(());
        }
        let mut child = self.start().context("the proxy could not be started")?;
        match self.note(child.id()) {
            Ok(process) => (self.child, self.process) = (Some(child), Some(process)),
            Err(error) => {
                // One that is not written down would be started beside.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(error);
            }
        }
        self.wait_until_it_listens()
    }

    /// Writes down which process the proxy is, for the next agent.
    fn note(&self, process: u32) -> anyhow::Result<Owner> {
        let process = Owner::of(process)?.context("the proxy ended at once")?;
        let running = Running { process, port: self.port, layout: abi::LAYOUT, maps: self.maps.clone() };
        replace(&self.paths.proxy(), &serde_json::to_vec(&running)?)?;
        Ok(process)
    }

    fn start(&self) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(self.paths.proxy_log())?;
        // A group of its own: what ends the agent, from a terminal too, does not end the proxy.
        Ok(Command::new(std::env::current_exe()?)
            .arg("proxy")
            .arg("--directory")
            .arg(self.paths.directory())
            .arg("--instance")
            .arg(self.paths.instance())
            .arg("--port")
            .arg(self.port.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?)
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if self.process().is_none() || Instant::now() > deadline {
                let log = fs::read_to_string(self.paths.proxy_log()).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it said nothing").to_string();
                anyhow::bail!("the proxy does not listen at {address}: {last}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        anyhow::ensure!(
            self.process().is_some(),
            "another program listens at {address}; give the proxy another port"
        );
        Ok(())
    }
}

/// A proxy and what it was started for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Running {
    process: Owner,
    port: u16,
    /// Of the maps that it reads.
    layout: u32,
    /// Their numbers, in order; none known of one that an earlier release started.
    #[serde(default)]
    maps: Vec<u32>,
}

/// Ends the proxy that runs for the agent with these files, if there is one.
pub(crate) fn end(paths: &Paths) -> anyhow::Result<()> {
    let Some(running) = running(paths)? else { return Ok(()) };
    let process = i32::try_from(running.process.process).ok().and_then(Pid::from_raw);
    Ok(kill_process(process.context("a process number that cannot be")?, Signal::KILL)?)
}

fn running(paths: &Paths) -> anyhow::Result<Option<Running>> {
    let file = paths.proxy();
    let bytes = match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let running: Option<Running> = serde_json::from_slice(&bytes).ok();
    Ok(running.filter(|running| !running.process.has_ended()))
}
