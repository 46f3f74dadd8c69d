//! `nexin exec`: runs a command inside a running workload.

use crate::inside::{self, Signals};
use crate::outcome::Outcome;
use crate::session::Session;
use anyhow::anyhow;
use api::ApiRequest;
use api::view;
use clap::Args;
use std::ffi::OsString;

/// Run a command inside a running workload: in its network namespace, under its policy
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin exec app2 -- curl -s http://app1-service/public\n  \
    nexin exec team-a/web -- ss -tln")]
pub(crate) struct Exec {
    /// The workload
    #[arg(value_name = "[NAMESPACE/]NAME")]
    workload: String,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Exec {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let signals = Signals::hold()?;
        let mut agent = session.agent()?;
        let endpoints: Vec<view::EndpointSummary> = agent.call(ApiRequest::Endpoints)?;
        let endpoint = find(&endpoints, &self.workload)?;
        let services: Vec<view::ServiceSummary> = agent.call(ApiRequest::Services)?;
        let mut command = inside::command(&self.command);
        inside::enter(endpoint, &services, &mut command)?;
        let child = inside::start(&mut command)?;
        inside::pass_through(child, signals).map(Outcome::Passes)
    }
}

/// Finds a workload by name, in `default` without a namespace.
fn find<'a>(
    endpoints: &'a [view::EndpointSummary],
    named: &str,
) -> anyhow::Result<&'a view::EndpointSummary> {
    let (namespace, name) = named.split_once('/').unwrap_or(("default", named));
    endpoints.iter().find(|endpoint| endpoint.namespace == namespace && endpoint.name == name).ok_or_else(
        || {
            let known: Vec<_> =
                endpoints.iter().map(|known| format!("{}/{}", known.namespace, known.name)).collect();
            anyhow!("there is no workload {namespace}/{name}; there are: {}", known.join(", "))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_found_by_namespace_and_name() {
        let endpoint = |namespace: &str, name: &str| view::EndpointSummary {
            id: 1,
            namespace: namespace.into(),
            name: name.into(),
            identity: 256,
            labels: vec![],
            addresses: vec![],
            named_ports: vec![],
            interface: String::new(),
            network_namespace: String::new(),
            group: None,
            ingress_enforced: false,
            egress_enforced: false,
            policy: 0,
            audit: false,
        };
        let endpoints = [endpoint("other", "web"), endpoint("default", "web"), endpoint("other", "db")];
        assert_eq!(find(&endpoints, "web").unwrap().namespace, "default");
        assert_eq!(find(&endpoints, "other/web").unwrap().namespace, "other");
        let error = find(&endpoints, "db").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no workload default/db; there are: other/web, default/web, other/db"
        );
    }
}
