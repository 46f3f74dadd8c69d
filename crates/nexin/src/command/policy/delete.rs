//! `nexin policy delete`: takes objects out of force.

use crate::outcome::Outcome;
use crate::session::Session;
use api::Request;
use clap::Args;

/// Take policies, services or namespaces out of force
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nexin policy delete CiliumNetworkPolicy/default/rule1")]
pub(crate) struct Delete {
    /// What to take out of force: Kind/namespace/name, or Kind/name where there is no namespace
    #[arg(required = true, value_name = "KIND/[NAMESPACE/]NAME", value_parser = object_name)]
    names: Vec<String>,
}

impl Delete {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let deleted: Vec<String> = session.agent()?.call(Request::Delete { names: self.names })?;
        if session.is_json() {
            session.print_json(&deleted)?;
        } else {
            deleted.iter().try_for_each(|name| session.print_line(&format!("{name} no longer in force")))?;
        }
        Ok(Outcome::Holds)
    }
}

fn object_name(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.len() {
        2 | 3 if parts.iter().all(|part| !part.is_empty()) => Ok(text.to_string()),
        _ => Err("a name is Kind/namespace/name, such as NetworkPolicy/default/web, or Kind/name".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_two_or_three_parts() {
        let check = |text: &str, expected: bool| assert_eq!(object_name(text).is_ok(), expected, "{text}");
        check("NetworkPolicy/default/web", true);
        check("Namespace/default", true);
        check("rule1", false);
        check("NetworkPolicy//web", false);
        check("a/b/c/d", false);
    }
}
