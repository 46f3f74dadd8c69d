//! `nexin identity`: the identities in use, and their labels.

use crate::listing;
use crate::outcome::Outcome;
use crate::session::Session;
use api::{ApiRequest, view};
use clap::{Args, Subcommand};

/// Show the identities in use
#[derive(Debug, Args)]
pub(crate) struct IdentityCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List identities with their labels and the number of workloads on this node that have each
    #[command(after_help = "Examples:\n  nexin identity list\n  nexin identity list -o json")]
    List,
}

impl IdentityCommand {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let Action::List = self.action;
        let header = ["id", "workloads", "labels"];
        listing::show(session, ApiRequest::Identities, header, |identity: &view::IdentitySummary| {
            [identity.id.to_string(), identity.workloads.to_string(), identity.labels.join(",")]
        })
    }
}
