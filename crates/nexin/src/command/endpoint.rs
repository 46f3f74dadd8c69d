//! `nexin endpoint`: the workloads of this node.

use crate::listing;
use crate::outcome::{BadInput, Outcome};
use crate::session::Session;
use api::{ApiRequest, view};
use clap::{Args, Subcommand};

/// The only setting of a workload, as Cilium calls it.
const AUDIT: &str = "PolicyAuditMode";

/// Show and configure the workloads of this node
#[derive(Debug, Args)]
pub(crate) struct EndpointCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List workloads with identity, enforcement, addresses and interface
    #[command(after_help = "Examples:\n  nexin endpoint list\n  nexin endpoint list -o json")]
    List,
    /// Change a setting of a workload; it outlasts a restart of the agent
    ///
    /// With PolicyAuditMode=Enabled, traffic that policy denies at layers 3 and 4 is forwarded, and `nexin observe`
    /// shows it as AUDITED.
    #[command(after_help = "Examples:\n  nexin endpoint config app1 PolicyAuditMode=Enabled\n  \
        nexin endpoint config team-a/web PolicyAuditMode=Disabled")]
    Config {
        /// The workload
        #[arg(value_name = "[NAMESPACE/]NAME")]
        workload: String,
        /// The setting
        #[arg(value_name = "PolicyAuditMode=Enabled|Disabled")]
        setting: String,
    },
}

impl EndpointCommand {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        match self.action {
            Action::List => list(session),
            Action::Config { workload, setting } => {
                let (namespace, name) = workload.split_once('/').unwrap_or(("default", &workload));
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                let request = ApiRequest::ConfigureWorkload { namespace, name, audit: audit(&setting)? };
                let endpoint: view::EndpointSummary = session.agent()?.call(request)?;
                if session.is_json() {
                    session.print_json(&endpoint)?;
                } else {
                    let word = if endpoint.audit { "Enabled" } else { "Disabled" };
                    session
                        .print_line(&format!("{}/{} {AUDIT}={word}", endpoint.namespace, endpoint.name))?;
                }
                Ok(Outcome::Holds)
            }
        }
    }
}

fn audit(setting: &str) -> Result<bool, BadInput> {
    match setting.split_once('=') {
        Some((AUDIT, "Enabled")) => Ok(true),
        Some((AUDIT, "Disabled")) => Ok(false),
        _ => Err(BadInput(format!("{setting:?} should be {AUDIT}=Enabled or {AUDIT}=Disabled"))),
    }
}

fn list(session: &Session) -> anyhow::Result<Outcome> {
    let header =
        ["id", "namespace", "name", "identity", "enforces", "policy", "addresses", "interface", "labels"];
    listing::show(session, ApiRequest::Endpoints, header, |endpoint: &view::EndpointSummary| {
        [
            endpoint.id.to_string(),
            endpoint.namespace.clone(),
            endpoint.name.clone(),
            endpoint.identity.to_string(),
            enforced(endpoint),
            endpoint.policy.to_string(),
            endpoint.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            endpoint.interface.clone(),
            endpoint.labels.join(","),
        ]
    })
}

fn enforced(endpoint: &view::EndpointSummary) -> String {
    let directions = match (endpoint.ingress_enforced, endpoint.egress_enforced) {
        (true, true) => "both",
        (true, false) => "ingress",
        (false, true) => "egress",
        (false, false) => "nothing",
    };
    if endpoint.audit { format!("{directions} (audit)") } else { directions.into() }
}
