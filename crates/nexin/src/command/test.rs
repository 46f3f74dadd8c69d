//! `nexin test`: runs PolicyTest files on the engines, and reports verdicts that differ from the expected ones.

use crate::interrupt::{Interrupt, Interrupted};
use crate::outcome::{BadInput, Outcome};
use crate::progress::Progress;
use crate::session::{Session, Tone};
use clap::Args;
use std::io::{self, Write};
use std::path::PathBuf;
use testbed::{EngineKind, Observer, ProbeReport, RunError, Suite, Summary};

/// Run PolicyTest files: check the expected verdicts on all engines
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin test examples/tutorial\n  nexin test --engine model,native -o json \
                        shop.test.yaml\n\nEngines: model (the reference), native (compiled rows and the packet \
                        path in memory), kernel (the same through the loaded programs), live (workloads in network \
                        namespaces, with real servers and clients), cluster (the same in pods of the Kubernetes cluster \
                        that kubectl reaches, whose nodes run on this machine)."
)]
pub(crate) struct Test {
    /// PolicyTest files, or directories of files that end in .test.yaml
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Engines to run [default: model,native and, as root, kernel]
    #[arg(short, long = "engine", value_name = "ENGINES", value_delimiter = ',')]
    engines: Vec<EngineKind>,
    /// Run the first documents only
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Print every verdict, not only those that differ from the expected ones
    #[arg(short, long)]
    verbose: bool,
}

impl Test {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let mut suite = Suite::read(&self.paths).map_err(|error| BadInput(error.to_string()))?;
        for warning in &suite.warnings {
            session.print_error_line(&warning.to_string());
        }
        if let Some(limit) = self.limit.filter(|limit| *limit < suite.documents.len()) {
            let all = suite.documents.len();
            session.print_error_line(&format!("only the first {limit} of {all} documents are run"));
            suite.documents.truncate(limit);
        }
        let (engines, without) = match self.engines.is_empty() {
            true => EngineKind::usual(),
            false => (self.engines, None),
        };
        if let Some(reason) = without {
            session.print_error_line(&format!("the kernel engine is not run: {reason}"));
        }
        let mut printer = Printer {
            session,
            verbose: self.verbose,
            failure: None,
            progress: Progress::start(),
            interrupt: Interrupt::watch()?,
        };
        let result = testbed::run(&suite, &engines, &mut printer);
        printer.progress.clear();
        if let Some(error) = printer.failure {
            return Err(error.into());
        }
        let summary = result.map_err(|error| match error {
            RunError::Test { .. } => BadInput(error.to_string()).into(),
            RunError::Interrupted => Interrupted.into(),
            RunError::Engine { .. } => anyhow::Error::from(error),
        })?;
        print_summary(session, &summary)?;
        Ok(if summary.is_right() { Outcome::Holds } else { Outcome::Fails })
    }
}

/// Prints verdicts as they arrive.
struct Printer<'a> {
    session: &'a Session,
    verbose: bool,
    /// The first error of printing; nothing is printed after it.
    failure: Option<io::Error>,
    progress: Progress,
    interrupt: Interrupt,
}

impl Observer for Printer<'_> {
    fn begin(&mut self, name: &str, done: usize, all: usize) {
        self.progress.show(name, done, all);
    }

    fn continues(&self) -> bool {
        self.interrupt.check().is_ok() && self.failure.is_none()
    }

    fn verdict(&mut self, verdict: &ProbeReport) {
        let wanted = self.verbose || self.session.is_json() || verdict.is_right() != Some(true);
        if wanted && self.failure.is_none() {
            self.progress.clear();
            self.failure = self.print(verdict).err();
        }
    }
}

impl Printer<'_> {
    fn print(&self, verdict: &ProbeReport) -> io::Result<()> {
        if self.session.is_json() {
            let mut out = io::stdout().lock();
            serde_json::to_writer(&mut out, verdict)?;
            return writeln!(out);
        }
        let ProbeReport { test, step, file, line, probe, engine, verdict: actual, .. } = verdict;
        let (tone, text) = match (verdict.is_right(), verdict.expect) {
            (Some(false), Some(expect)) => (Tone::Bad, format!("{actual}, expected {expect}")),
            (Some(_), _) => (Tone::Good, actual.to_string()),
            (None, _) => (Tone::Strong, actual.to_string()),
        };
        let text = self.session.paint(tone, &text);
        self.session.print_line(&format!("{file}:{line}: {test}, {step}: {probe}: {engine}: {text}"))?;
        let by = verdict.rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default();
        self.session.print_line(&self.session.paint(Tone::Faint, &format!("    {}{by}", verdict.reason)))
    }
}

/// Prints the summary. With JSON output only what was not run is printed, on standard error.
fn print_summary(session: &Session, summary: &Summary) -> io::Result<()> {
    for (test, findings) in &summary.left_out {
        session.print_error_line(&format!("{test}: not supported yet and not run"));
        findings.iter().for_each(|finding| session.print_error_line(&format!("    {finding}")));
    }
    if session.is_json() {
        for ((engine, why), probes) in &summary.unsent {
            session.print_error_line(&format!("{engine}: {probes} probes not sent: {why}"));
        }
        return Ok(());
    }
    let tone = if summary.is_right() { Tone::Good } else { Tone::Bad };
    session.print_line(&session.paint(tone, &summary.to_string()))
}
