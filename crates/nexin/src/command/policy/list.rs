//! `nexin policy list`: the policies of the agent.

use crate::listing;
use crate::outcome::Outcome;
use crate::session::Session;
use api::{ApiRequest, view};
use clap::Args;

/// List the policies of the agent
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin policy list\n  nexin policy list -o json")]
pub(crate) struct List {}

impl List {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let header = ["kind", "namespace", "name", "rules", "endpoints", "source"];
        listing::show(session, ApiRequest::Policies, header, |policy: &view::PolicySummary| {
            [
                policy.kind.clone(),
                policy.namespace.clone().unwrap_or_else(|| "-".into()),
                policy.name.clone(),
                policy.rules.to_string(),
                policy.endpoints.to_string(),
                policy.source.clone(),
            ]
        })
    }
}
