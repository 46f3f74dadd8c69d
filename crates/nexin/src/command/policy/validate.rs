//! `nexin policy validate`: checks manifests for errors and likely mistakes, without an agent.

mod api_server;
mod finding;

use super::cluster::{self, ClusterOptions};
use super::count::count;
use super::manifest_files::{self, Depth, ManifestFile};
use crate::outcome::Outcome;
use crate::session::{Session, Tone};
use clap::Args;
use finding::Finding;
use manifest::{Diagnostic, Manifest, Object, PolicyPositions, Severity};
use policy::lint;
use policy::rule::{Policy, PolicyId};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Check manifests for errors and likely mistakes, by file, line and field; needs no agent
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin policy validate rule1.yaml\n  nexin policy validate --strict policies/\n  \
        kubectl get netpol -A -o yaml | nexin policy validate -\n  nexin policy validate --cluster\n  nexin policy validate -o json policies/\n\n\
    Warnings report valid manifests that are likely mistakes: selectors that cannot select any workload, rules that another rule \
    makes redundant, HTTP rules that another rule overrides. All files are checked together; objects of kinds that have \
    nothing to do with policy are skipped, and *.test.yaml files are checked as PolicyTests. Each finding is one line, \
    `file:line:column: [warning:] field: message [code]`. Exit codes: 0 no errors; 1 warnings and --strict; \
    2 errors."
)]
pub(crate) struct Validate {
    /// Manifests: a file, a directory, or - for standard input
    #[arg(required_unless_present = "cluster", value_name = "PATH")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    depth: Depth,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Exit with 1 if there are warnings
    #[arg(long)]
    strict: bool,
}

/// The files that were read, and the findings.
#[derive(Default)]
struct Validation {
    /// The names of the files, in order.
    files: Vec<String>,
    objects: usize,
    tests: usize,
    /// Number of documents of other kinds.
    skipped: usize,
    policies: BTreeMap<PolicyId, Policy>,
    positions: PolicyPositions,
    /// Whether an address of an API server is listed.
    knows_api_server: bool,
    findings: Vec<Finding>,
}

impl Validate {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let mut validation = Validation::default();
        let files = manifest_files::read(&self.files, self.depth)?;
        for file in cluster::applied(self.cluster.read()?, files) {
            validation.files.push(file.name.clone());
            if let Err(found) = validation.read(&file) {
                validation.findings.extend(found.into_iter().map(Finding::from));
            }
        }
        validation.lint();
        validation.print(session)?;
        let worst = validation.findings.iter().map(|finding| finding.diagnostic.severity).max();
        Ok(match worst {
            None => Outcome::Holds,
            Some(Severity::Warning) if !self.strict => Outcome::Holds,
            Some(Severity::Warning) => Outcome::Fails,
            Some(Severity::NotSupportedYet | Severity::Error) => Outcome::Refuses,
        })
    }
}

impl Validation {
    fn read(&mut self, file: &ManifestFile) -> Result<(), Vec<Diagnostic>> {
        if !file.is_test() {
            self.take(manifest::parse(&file.name, &file.text)?);
            return Ok(());
        }
        let tests = file.tests()?;
        self.tests += tests.documents.len();
        let unsupported = tests.documents.into_iter().filter_map(|document| document.test.err()).flatten();
        self.findings.extend(tests.warnings.into_iter().chain(unsupported).map(Finding::from));
        Ok(())
    }

    /// Adds the contents of a file; of a policy with several definitions the last counts.
    fn take(&mut self, parsed: Manifest) {
        self.objects += parsed.objects.len();
        self.skipped += parsed.skipped;
        self.findings.extend(parsed.warnings.into_iter().map(Finding::from));
        for object in parsed.objects {
            self.knows_api_server |= api_server::is_listed_by(&object);
            let Object::Policy(policy) = object else { continue };
            let (id, before) = (policy.id.clone(), self.positions.position_of(&policy.id, "").cloned());
            if self.policies.insert(id.clone(), policy).is_some()
                && let Some(place) = parsed.positions.position_of(&id, "")
            {
                let before = before.map(|place| format!(" at {place}")).unwrap_or_default();
                self.findings.push(Finding::repeated(&id, place, &before));
            }
        }
        self.positions.extend(parsed.positions);
    }

    /// Looks for likely mistakes, and sorts all findings by file.
    fn lint(&mut self) {
        let lints = lint::lint(self.policies.values());
        self.findings.extend(lints.iter().map(|lint| Finding::of_lint(lint, &self.positions)));
        if !self.knows_api_server {
            let rules = api_server::rules(self.policies.values());
            self.findings
                .extend(rules.map(|(id, rule)| Finding::without_api_server(id, rule, &self.positions)));
        }
        let number = |file: &str| self.files.iter().position(|known| known == file);
        self.findings.sort_by_cached_key(|Finding { diagnostic, .. }| {
            (number(&diagnostic.file), diagnostic.line, diagnostic.column)
        });
    }

    fn print(&self, session: &Session) -> anyhow::Result<()> {
        let skipped = manifest_files::skipped(self.skipped);
        if session.is_json() {
            session.print_json(&self.findings)?;
            skipped.iter().for_each(|line| session.print_error_line(line));
            return Ok(());
        }
        self.findings.iter().for_each(|finding| session.print_error_line(&finding.to_string()));
        let is_warning = |one: &&Finding| one.diagnostic.severity == Severity::Warning;
        let warnings = self.findings.iter().filter(is_warning).count();
        let (tone, found) = match (self.findings.len() - warnings, warnings) {
            (0, 0) => (Tone::Good, format!("{}, nothing wrong", self.read_so_far())),
            (0, _) => (Tone::Strong, format!("{}, {}", self.read_so_far(), count(warnings, "warning"))),
            (errors, _) => (Tone::Bad, format!("{}, {}", count(errors, "error"), count(warnings, "warning"))),
        };
        let skipped = skipped.map(|skipped| format!("; {skipped}")).unwrap_or_default();
        session.print_line(&session.paint(tone, &format!("{found}{skipped}")))?;
        Ok(())
    }

    /// The number of objects and tests read.
    fn read_so_far(&self) -> String {
        match (self.objects, self.tests) {
            (objects, 0) => count(objects, "object"),
            (0, tests) => count(tests, "test"),
            (objects, tests) => format!("{} and {}", count(objects, "object"), count(tests, "test")),
        }
    }
}
