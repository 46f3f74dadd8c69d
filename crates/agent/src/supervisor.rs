//! The proxy's process: started, adopted after a restart of the agent, and started again when it ends.

use crate::paths::Paths;
use crate::state::{Owner, replace};
use anyhow::Context;
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
    process: Option<Owner>,
    /// Where this agent started the process, so that its end is noticed and nothing of it is left.
    child: Option<Child>,
}

impl Supervisor {
    /// Takes over the proxy of an earlier agent if it runs; starts none.
    pub(crate) fn new(paths: &Paths, port: u16) -> Self {
        Self { paths: paths.clone(), port, process: running(paths), child: None }
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
        replace(&self.paths.proxy(), &serde_json::to_vec(&process)?)?;
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
        Ok(())
    }
}

/// The proxy that runs for the agent with these files.
pub(crate) fn running(paths: &Paths) -> Option<Owner> {
    let process: Owner = serde_json::from_slice(&fs::read(paths.proxy()).ok()?).ok()?;
    process.is_alive().then_some(process)
}
