//! `nexin policy`: applies, lists, checks, explains and compares policies.

mod apply;
mod cluster;
mod count;
mod delete;
mod diff;
mod explain;
mod list;
mod manifest_files;
mod scenario;
mod validate;

use crate::outcome::Outcome;
use crate::session::Session;
use clap::{Args, Subcommand};

/// Apply, list, check, explain and compare policies
#[derive(Debug, Args)]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Apply(apply::Apply),
    Delete(delete::Delete),
    Diff(diff::Diff),
    Explain(explain::Explain),
    List(list::List),
    Validate(validate::Validate),
}

impl PolicyCommand {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        match self.action {
            Action::Apply(apply) => apply.run(session),
            Action::Delete(delete) => delete.run(session),
            Action::Diff(diff) => diff.run(session),
            Action::Explain(explain) => explain.run(session),
            Action::List(list) => list.run(session),
            Action::Validate(validate) => validate.run(session),
        }
    }
}
