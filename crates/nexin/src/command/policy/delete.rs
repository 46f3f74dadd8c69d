//! `nexin policy delete`: deletes objects.

use super::manifest_files::Depth;
use crate::outcome::{BadInput, Outcome};
use crate::session::Session;
use api::ApiRequest;
use clap::Args;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Delete policies, services or namespaces
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin policy delete CiliumNetworkPolicy/default/rule1\n  \
        nexin policy delete cnp/default/rule1 netpol/shop/web\n  nexin policy delete -f rule1.yaml")]
pub(crate) struct Delete {
    /// Objects to delete: Kind/namespace/name, or Kind/name for kinds without namespace; short names of kinds are
    /// accepted
    #[arg(required_unless_present = "files", value_name = "KIND/[NAMESPACE/]NAME", value_parser = object_name)]
    names: Vec<String>,
    /// Delete the objects of these manifests: a file, a directory, or - for standard input; may be repeated
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    depth: Depth,
}

impl Delete {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let mut names = self.names;
        names.extend(super::apply::object_names(session, &self.files, self.depth)?.into_iter().flatten());
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        if names.is_empty() {
            return Err(BadInput(
                "no objects found: the files contain no policy and no object that policies refer to".into(),
            )
            .into());
        }
        let deleted: Vec<String> = session.agent()?.call(ApiRequest::Delete { names })?;
        if session.is_json() {
            session.print_json(&deleted)?;
        } else {
            deleted.iter().try_for_each(|name| session.print_line(&format!("{name} deleted")))?;
        }
        Ok(Outcome::Holds)
    }
}

fn object_name(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.len() {
        2 | 3 if parts.iter().all(|part| !part.is_empty()) => {
            let kind = manifest::kind_named(parts[0]).unwrap_or(parts[0]);
            Ok([&[kind], &parts[1..]].concat().join("/"))
        }
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
        assert_eq!(object_name("cnp/default/web").as_deref(), Ok("CiliumNetworkPolicy/default/web"));
        check("a/b/c/d", false);
    }
}
