//! `nexin endpoint`: the workloads of this node.

use crate::listing;
use crate::outcome::Outcome;
use crate::session::Session;
use api::{Request, view};
use clap::{Args, Subcommand};

/// Look at the workloads of this node
#[derive(Debug, Args)]
pub(crate) struct Endpoint {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List workloads with identity, addresses, interface and what is enforced
    #[command(after_help = "Examples:\n  nexin endpoint list\n  nexin endpoint list -o json")]
    List,
}

impl Endpoint {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let Action::List = self.action;
        let header =
            ["id", "namespace", "name", "identity", "enforces", "policy", "addresses", "interface", "labels"];
        listing::show(session, Request::Endpoints, header, |endpoint: &view::Endpoint| {
            [
                endpoint.id.to_string(),
                endpoint.namespace.clone(),
                endpoint.name.clone(),
                endpoint.identity.to_string(),
                enforced(endpoint).to_string(),
                endpoint.policy.to_string(),
                endpoint.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
                endpoint.interface.clone(),
                endpoint.labels.join(","),
            ]
        })
    }
}

fn enforced(endpoint: &view::Endpoint) -> &'static str {
    match (endpoint.ingress_enforced, endpoint.egress_enforced) {
        (true, true) => "both",
        (true, false) => "ingress",
        (false, true) => "egress",
        (false, false) => "nothing",
    }
}
