//! The proxy's process: started, adopted after a restart of the agent, and started again when it ends.

use crate::limits::ProxyLimits;
use crate::paths::Paths;
use crate::state::{Owner, replace};
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
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
    limits: ProxyLimits,
    process: Option<Owner>,
    /// Where this agent started the process, so that its end is noticed and nothing of it is left.
    child: Option<Child>,
}

impl Supervisor {
    /// Takes over the proxy of an earlier agent if it runs and does what this one wants, else ends it; starts none.
    pub(crate) fn new(paths: &Paths, (port, limits): (u16, ProxyLimits)) -> anyhow::Result<Self> {
        let fits =
            |running: &Running| (running.port, running.layout, running.limits) == (port, abi::LAYOUT, limits);
        let process = running(paths).filter(fits).map(|running| running.process);
        if process.is_none() {
            end(paths)?;
        }
        Ok(Self { paths: paths.clone(), port, limits, process, child: None })
    }

    /// Process number of the proxy, where it runs.
    pub(crate) fn process(&self) -> Option<u32> {
        self.process.filter(|process| process.is_alive()).map(|process| process.process)
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
        let child = self.start().context("the proxy could not be started")?;
        let process = Owner::of(child.id()).context("the proxy ended at once")?;
        let running = Running { process, port: self.port, layout: abi::LAYOUT, limits: self.limits };
        replace(&self.paths.proxy(), &serde_json::to_vec(&running)?)?;
        (self.child, self.process) = (Some(child), Some(process));
        self.wait_until_it_listens()
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
            .arg("--limits")
            .arg(serde_json::to_string(&self.limits)?)
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
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Running {
    process: Owner,
    port: u16,
    /// Of the maps that it reads.
    layout: u32,
    #[serde(default)]
    limits: ProxyLimits,
}

/// Ends the proxy that runs for the agent with these files, if there is one.
pub(crate) fn end(paths: &Paths) -> anyhow::Result<()> {
    let Some(running) = running(paths) else { return Ok(()) };
    let process = i32::try_from(running.process.process).ok().and_then(Pid::from_raw);
    Ok(kill_process(process.context("a process number that cannot be")?, Signal::KILL)?)
}

fn running(paths: &Paths) -> Option<Running> {
    let running: Running = serde_json::from_slice(&fs::read(paths.proxy()).ok()?).ok()?;
    running.process.is_alive().then_some(running)
}
