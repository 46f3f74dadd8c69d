//! `nexin policy apply`: puts manifests in force.

use super::manifest_files;
use crate::outcome::Outcome;
use crate::session::Session;
use api::Request;
use clap::Args;
use std::path::PathBuf;

/// Put policies, services and namespaces in force; a file is taken whole or not at all
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin policy apply -f rule1.yaml\n  cat *.yaml | nexin policy apply -f -"
)]
pub(crate) struct Apply {
    /// Manifests: a file, a directory, or - for standard input; may be repeated
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
}

impl Apply {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let files = manifest_files::read(&self.files)?;
        let mut agent = session.agent()?;
        let mut applied: Vec<String> = Vec::new();
        for file in files {
            let names: Vec<String> = agent.call(Request::Apply { file: file.name, text: file.text })?;
            if !session.is_json() {
                names.iter().try_for_each(|name| session.print_line(&format!("{name} in force")))?;
            }
            applied.extend(names);
        }
        if session.is_json() {
            session.print_json(&applied)?;
        }
        Ok(Outcome::Holds)
    }
}
