//! `nexin service`: the services and their backends.

use crate::outcome::Outcome;
use crate::session::Session;
use crate::table::Table;
use api::{ApiRequest, view};
use clap::{Args, Subcommand};

/// Show the services and their backends
#[derive(Debug, Args)]
pub(crate) struct ServiceCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List services, one line for each frontend, with its backends
    #[command(after_help = "Examples:\n  nexin service list\n  nexin service list -o json")]
    List,
}

impl ServiceCommand {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let Action::List = self.action;
        let services: Vec<view::ServiceSummary> = session.agent()?.call(ApiRequest::Services)?;
        if session.is_json() {
            session.print_json(&services)?;
        } else {
            session.print_table(&table(&services))?;
        }
        Ok(Outcome::Holds)
    }
}

fn table(services: &[view::ServiceSummary]) -> Table<4> {
    let mut table = Table::new(["namespace", "name", "frontend", "backends"]);
    for service in services {
        for frontend in &service.frontends {
            let name = service.name.clone();
            let row =
                [service.namespace.clone(), name, frontend.frontend.clone(), frontend.backends.join(",")];
            table.push(row);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_a_line_for_each_frontend() {
        let frontend = |frontend: &str, backends: &[&str]| view::FrontendSummary {
            frontend: frontend.into(),
            backends: backends.iter().map(ToString::to_string).collect(),
        };
        let frontends = vec![
            frontend("10.96.0.1:80/TCP", &["10.0.0.1:80", "10.0.0.2:80"]),
            frontend("[fd00::1]:80/TCP", &[]),
        ];
        let service = view::ServiceSummary { namespace: "default".into(), name: "web".into(), frontends };
        assert_eq!(
            table(&[service]).lines(None),
            [
                "NAMESPACE   NAME   FRONTEND           BACKENDS",
                "default     web    10.96.0.1:80/TCP   10.0.0.1:80,10.0.0.2:80",
                "default     web    [fd00::1]:80/TCP",
            ]
        );
    }
}
