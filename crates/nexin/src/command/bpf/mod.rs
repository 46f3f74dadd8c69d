//! `nexin bpf`: what is loaded and attached, and the rows of the maps, read from the kernel itself.

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

/// Look at what is loaded and attached in the kernel, and at the rows of its maps
///
/// Everything is read from the kernel, so it is true also while no agent runs. Where an agent answers, numbers get names.
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
    Policy(policy::PolicyRows),
    Net(net::Net),
}

impl Bpf {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        match self.action {
            Action::Progs(progs) => progs.run(session),
            Action::Maps(maps) => maps.run(session),
            Action::Ct(connections) => connections.run(session),
            Action::Policy(policy) => policy.run(session),
            Action::Net(net) => net.run(session),
        }
    }
}
