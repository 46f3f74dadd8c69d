//! The checks of `cargo xtask tidy`, on every file and every crate.

mod arrows;
mod attributes;
mod clashes;
mod drawing;
mod finding;
mod language;
mod length;
mod links;
mod manifests;
mod names;
mod prose;
mod purity;

use crate::circles::{self, Circle};
use crate::tree::{Crate, File};
pub(crate) use finding::Finding;

/// Runs every check; findings come ordered by place.
pub(crate) fn check(files: &[File], crates: &[Crate]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = files.iter().flat_map(of_file).collect();
    findings.extend(links::broken(files));
    findings.extend(arrows::outward(crates));
    findings.extend(manifests::incomplete(crates, files));
    findings.extend(purity::unforbidden(crates, files));
    findings.extend(purity::effects(crates, files));
    findings.extend(drawing::stale(crates, files));
    findings.extend(clashes::names(crates, files));
    findings.extend(language::private_words(files));
    findings.extend(circles::find(files).iter().map(circle));
    findings.sort();
    findings
}

fn circle(circle: &Circle) -> Finding {
    let message = format!("a circle of {} files: `cargo xtask circles` shows it", circle.files());
    finding::at(circle.first_file(), 1, message)
}

/// The checks that need one file alone.
fn of_file(file: &File) -> Vec<Finding> {
    let mut findings = prose::machine_paths(file);
    findings.extend(names::banned(file));
    findings.extend(prose::first_sentence(file));
    if file.path.ends_with(".rs") {
        findings.extend(length::excesses(file));
        findings.extend(attributes::unreasoned(file));
        findings.extend(attributes::unproven(file));
        findings.extend(attributes::skipped(file));
    }
    findings
}
