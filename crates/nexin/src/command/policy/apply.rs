//! `nexin policy apply`: applies manifests.

use super::manifest_files::{self, Depth, ManifestFile, Origin};
use crate::outcome::{BadInput, Outcome};
use crate::session::Session;
use api::{ApiRequest, view};
use clap::Args;
use manifest::Object;
use std::path::PathBuf;

/// Apply policies, services and namespaces; each file is applied whole or not at all
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
            let request = ApiRequest::Apply { file: file.name, text: file.text, results: true };
            for view::AppliedObject { name, result } in agent.call::<Vec<_>>(request)? {
                if !session.is_json() {
                    session.print_line(&format!("{name} {result}"))?;
                }
                applied.push(name);
            }
        }
        if applied.is_empty() {
            session.print_error_line(
                "no objects found: the files contain no policy and no object that policies refer to",
            );
        }
        if session.is_json() {
            session.print_json(&applied)?;
        }
        Ok(Outcome::Holds)
    }
}

/// A valid file, and the names of its objects, without workloads.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) file: ManifestFile,
    pub(super) names: Vec<String>,
}

/// Reads and checks files; an error in one file refuses all. Prints warnings.
pub(super) fn checked(session: &Session, paths: &[PathBuf], depth: Depth) -> anyhow::Result<Vec<Checked>> {
    let mut files = manifest_files::read(paths, depth)?;
    // PolicyTest files in directories are skipped. One that is named is an error, which parsing reports.
    files.retain(|file| file.origin == Origin::Named || !file.is_test());
    let (mut checked, mut wrong, mut warnings, mut skipped) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for file in files {
        match manifest::parse(&file.name, &file.text) {
            Ok(manifest) => {
                // Workloads are started, not applied.
                let applicable =
                    manifest.objects.iter().filter(|object| !matches!(object, Object::Workload(_)));
                let names: Vec<String> = applicable.map(|object| object.name().to_string()).collect();
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
