//! `nexin agent`: the node agent.

use crate::outcome::Outcome;
use crate::session::Session;
use clap::Args;
use std::path::PathBuf;

/// Run the node agent: keeps the kernel's maps as policies, services and workloads ask
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin agent\n  nexin agent --config /etc/nexin/agent.json")]
pub(crate) struct Agent {
    /// Configuration; what it leaves out is as a single host needs it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Agent {
    pub(crate) fn run(self, _session: &Session) -> anyhow::Result<Outcome> {
        anyhow::bail!("the agent is not part of this build yet: {:?}", self.config)
    }
}
