//! `nexin policy validate`: what is wrong with manifests, without an agent.

use super::manifest_files;
use crate::outcome::Outcome;
use crate::session::{Session, Tone};
use clap::Args;
use manifest::{Diagnostic, Severity};
use serde::Serialize;
use std::path::PathBuf;

/// Say what is wrong with manifests, by file, line and field; needs no agent
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin policy validate rule1.yaml\n  nexin policy validate -o json policies/"
)]
pub(crate) struct Validate {
    /// Manifests: a file, a directory, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    files: Vec<PathBuf>,
}

/// A finding, as it is printed for machines.
#[derive(Serialize)]
struct Finding<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    field: &'a str,
    severity: &'static str,
    message: &'a str,
}

impl Validate {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let mut diagnostics = Vec::new();
        let mut objects = 0;
        for file in manifest_files::read(&self.files)? {
            match manifest::parse(&file.name, &file.text) {
                Ok(parsed) => {
                    objects += parsed.objects.len();
                    diagnostics.extend(parsed.warnings);
                }
                Err(found) => diagnostics.extend(found),
            }
        }
        print(session, &diagnostics, objects)?;
        let refused = diagnostics.iter().any(|diagnostic| diagnostic.severity > Severity::Warning);
        Ok(if refused { Outcome::Refuses } else { Outcome::Holds })
    }
}

fn print(session: &Session, diagnostics: &[Diagnostic], objects: usize) -> anyhow::Result<()> {
    if session.is_json() {
        session.print_json(&diagnostics.iter().map(Finding::of).collect::<Vec<_>>())?;
        return Ok(());
    }
    for diagnostic in diagnostics {
        session.print_error_line(&diagnostic.to_string());
    }
    if diagnostics.iter().all(|diagnostic| diagnostic.severity == Severity::Warning) {
        let noun = if objects == 1 { "object" } else { "objects" };
        session.print_line(&session.paint(Tone::Good, &format!("{objects} {noun}, nothing wrong")))?;
    }
    Ok(())
}

impl<'a> Finding<'a> {
    fn of(diagnostic: &'a Diagnostic) -> Self {
        Self {
            file: &diagnostic.file,
            line: diagnostic.line,
            column: diagnostic.column,
            field: &diagnostic.field,
            severity: match diagnostic.severity {
                Severity::Warning => "warning",
                Severity::NotSupportedYet => "not-supported-yet",
                Severity::Error => "error",
            },
            message: &diagnostic.message,
        }
    }
}
