//! `nexin bpf`: the loaded and attached programs, and the maps' entries, read from the kernel.

mod choices;
mod connections;
mod maps;
mod names;
mod net;
mod place;
mod policy;
mod progs;
mod rows;

use crate::outcome::Outcome;
use crate::session::Session;
use clap::{Args, Subcommand};

/// Show the loaded and attached programs, and the entries of maps
///
/// All data is read from the kernel, also while no agent runs. A running agent adds names to numbers.
#[derive(Debug, Args)]
pub(crate) struct Bpf {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Progs(progs::Progs),
    Maps(maps::Maps),
    Ct(connections::Connections),
    Choices(choices::Choices),
    Policy(policy::PolicyEntries),
    Net(net::Net),
}

impl Bpf {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        match self.action {
            Action::Progs(progs) => progs.run(session),
            Action::Maps(maps) => maps.run(session),
            Action::Ct(connections) => connections.run(session),
            Action::Choices(choices) => choices.run(session),
            Action::Policy(policy) => policy.run(session),
            Action::Net(net) => net.run(session),
        }
    }
}
