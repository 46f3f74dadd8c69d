//! `nexin policy apply`: puts manifests in force.

use super::manifest_files::{self, Depth, ManifestFile, Origin};
use crate::outcome::{BadInput, Outcome};
use crate::session::Session;
use api::Request;
use clap::Args;
use manifest::Object;
use std::path::PathBuf;

/// Put policies, services and namespaces in force; a file is taken whole or not at all
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin policy apply -f rule1.yaml\n  cat *.yaml | nexin policy apply -f -\n  \
        nexin policy apply -R -f deploy/"
)]
pub(crate) struct Apply {
    /// Manifests: a file, a directory, or - for standard input; may be repeated
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    depth: Depth,
}

impl Apply {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let files = checked(session, &self.files, self.depth)?;
        let mut agent = session.agent()?;
        let mut applied: Vec<String> = Vec::new();
        for Checked { file, .. } in files {
            let names: Vec<String> = agent.call(Request::Apply { file: file.name, text: file.text })?;
            if !session.is_json() {
                names.iter().try_for_each(|name| session.print_line(&format!("{name} in force")))?;
            }
            applied.extend(names);
        }
        if applied.is_empty() {
            session.print_error_line(
                "nothing was put in force: there is no policy, nor anything that policies refer to",
            );
        }
        if session.is_json() {
            session.print_json(&applied)?;
        }
        Ok(Outcome::Holds)
    }
}

/// A file that is right, and what it describes that can be in force.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) file: ManifestFile,
    pub(super) names: Vec<String>,
}

/// The files, where all of them are right: what is wrong in one of them keeps the others back too. Tells what is worth
/// knowing about them.
pub(super) fn checked(session: &Session, paths: &[PathBuf], depth: Depth) -> anyhow::Result<Vec<Checked>> {
    let mut files = manifest_files::read(paths, depth)?;
    // Tests beside policies set nothing; one that was named is a mistake, which reading it tells.
    files.retain(|file| file.origin == Origin::Named || !file.is_test());
    let (mut checked, mut wrong, mut warnings, mut skipped) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for file in files {
        match manifest::parse(&file.name, &file.text) {
            Ok(manifest) => {
                // Workloads are started, not applied.
                let held = manifest.objects.iter().filter(|object| !matches!(object, Object::Workload(_)));
                let names: Vec<String> = held.map(|object| object.name().to_string()).collect();
                skipped += manifest.skipped + manifest.objects.len() - names.len();
                warnings.extend(manifest.warnings);
                checked.push(Checked { file, names });
            }
            Err(findings) => wrong.extend(findings),
        }
    }
    if !wrong.is_empty() {
        let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        return Err(BadInput(lines.join("\n")).into());
    }
    warnings.iter().for_each(|warning| session.print_error_line(&warning.to_string()));
    manifest_files::skipped(skipped).iter().for_each(|line| session.print_error_line(line));
    Ok(checked)
}
