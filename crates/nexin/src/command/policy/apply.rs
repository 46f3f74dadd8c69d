//! `nexin policy apply`: applies manifests.

use super::manifest_files::{self, Depth, ManifestFile, Origin};
use crate::outcome::{BadInput, Outcome};
use crate::session::Session;
use api::{ApiRequest, view};
use clap::Args;
use manifest::{Diagnostic, Object};
use std::path::PathBuf;
use std::slice;

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
        let files = readable(&self.files, self.depth)?;
        let applied = match &files[..] {
            [file] => apply_one(session, file)?,
            _ => apply_all(session, &files)?,
        };
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

/// Applies several files, once all of them are checked.
fn apply_all(session: &Session, files: &[ManifestFile]) -> anyhow::Result<Vec<String>> {
    check(files)?.print_notes(session);
    let mut agent = session.agent()?;
    let mut applied = Vec::new();
    for file in files {
        let view::Applied { objects, .. } = agent.call(request(file))?;
        applied.extend(print_results(session, objects)?);
    }
    Ok(applied)
}

/// Applies one file. The agent refuses a file with an error and returns the warnings, so only the agent parses the file.
fn apply_one(session: &Session, file: &ManifestFile) -> anyhow::Result<Vec<String>> {
    let answer = session.agent().and_then(|mut agent| agent.call(request(file)));
    let view::Applied { objects, warnings, skipped } = answer.or_else(|error| {
        // An error in the file is reported without an agent, too.
        check(slice::from_ref(file))?;
        anyhow::Ok(Err(error)?)
    })?;
    print_notes(session, warnings, skipped);
    print_results(session, objects)
}

/// Prints warnings, and the number of skipped objects.
fn print_notes(session: &Session, warnings: impl IntoIterator<Item = impl ToString>, skipped: usize) {
    warnings.into_iter().for_each(|warning| session.print_error_line(&warning.to_string()));
    manifest_files::skipped(skipped).iter().for_each(|line| session.print_error_line(line));
}

fn request(file: &ManifestFile) -> ApiRequest {
    ApiRequest::Apply { file: file.name.clone(), text: file.text.clone(), results: true }
}

/// Prints what happened to the objects of a file; returns their names.
fn print_results(session: &Session, results: Vec<view::AppliedObject>) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for view::AppliedObject { name, result } in results {
        if !session.is_json() {
            session.print_line(&format!("{name} {result}"))?;
        }
        names.push(name);
    }
    Ok(names)
}

/// The contents of valid files.
#[derive(Debug)]
struct Checked {
    /// The names of each file's objects, without workloads.
    names: Vec<Vec<String>>,
    warnings: Vec<Diagnostic>,
    skipped: usize,
}

impl Checked {
    /// Prints warnings, and the number of skipped objects.
    fn print_notes(&self, session: &Session) {
        print_notes(session, &self.warnings, self.skipped);
    }
}

/// Reads and checks files, and prints warnings; returns the names of each file's objects, without workloads.
pub(super) fn object_names(
    session: &Session,
    paths: &[PathBuf],
    depth: Depth,
) -> anyhow::Result<Vec<Vec<String>>> {
    let checked = check(&readable(paths, depth)?)?;
    checked.print_notes(session);
    Ok(checked.names)
}

/// Reads files. PolicyTest files in directories are skipped; one that is named is an error, which parsing reports.
fn readable(paths: &[PathBuf], depth: Depth) -> anyhow::Result<Vec<ManifestFile>> {
    let mut files = manifest_files::read(paths, depth)?;
    files.retain(|file| file.origin == Origin::Named || !file.is_test());
    Ok(files)
}

/// Checks files; an error in one file refuses all.
fn check(files: &[ManifestFile]) -> Result<Checked, BadInput> {
    let mut checked = Checked { names: Vec::new(), warnings: Vec::new(), skipped: 0 };
    let mut wrong = Vec::new();
    for file in files {
        match manifest::parse(&file.name, &file.text) {
            Ok(manifest) => {
                // Workloads are started, not applied.
                let applicable =
                    manifest.objects.iter().filter(|object| !matches!(object, Object::Workload(_)));
                let names: Vec<String> = applicable.map(|object| object.name().to_string()).collect();
                checked.skipped += manifest.skipped + manifest.objects.len() - names.len();
                checked.warnings.extend(manifest.warnings);
                checked.names.push(names);
            }
            Err(findings) => wrong.extend(findings),
        }
    }
    if wrong.is_empty() {
        return Ok(checked);
    }
    let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    Err(BadInput(lines.join("\n")))
}
