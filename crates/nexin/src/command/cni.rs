//! `nexin cni`: what a person who runs the CNI plugin reads. Container runtimes never come here: see `cni_plugin`.

use crate::cni_plugin::USAGE;
use crate::outcome::Outcome;
use crate::session::Session;
use clap::Args;

/// Attach containers to the network, as the CNI plugin that container runtimes run
///
/// The request is in the environment (CNI_COMMAND and others) and on standard input, as the CNI specification defines. The
/// same binary is the plugin under the name nexin-cni. An agent with a "cni" object in its configuration installs it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  CNI_COMMAND=VERSION nexin cni")]
pub(crate) struct CniCommand {}

impl CniCommand {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        session.print_line(USAGE)?;
        Ok(Outcome::Holds)
    }
}
