//! `nexin test`: runs PolicyTest files on the engines, and tells what differs from what they expect.

use crate::interrupt::{Interrupt, Interrupted};
use crate::outcome::{BadInput, Outcome};
use crate::progress::Progress;
use crate::session::{Session, Tone};
use clap::Args;
use std::io::{self, Write};
use std::path::PathBuf;
use testbed::{EngineKind, Observer, RunError, Suite, Summary, Verdict};

/// Run tests of policies: does what they say hold, and do all engines agree?
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin test examples/tutorial\n  nexin test --engine model,native -o json \
                        shop.test.yaml\n\nEngines: model (the reference), native (compiled rows and the packet \
                        path in memory), kernel (the same through the loaded programs), live (workloads in network \
                        namespaces, with real servers and clients)."
)]
pub(crate) struct Test {
    /// Files of PolicyTest documents, or directories of files that end in .test.yaml
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Engines to ask [default: model,native and, as root, kernel]
    #[arg(short, long = "engine", value_name = "ENGINES", value_delimiter = ',')]
    engines: Vec<EngineKind>,
    /// Print every verdict, not only those that differ from what is expected
    #[arg(short, long)]
    verbose: bool,
}

impl Test {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let suite = Suite::read(&self.paths).map_err(|error| BadInput(error.to_string()))?;
        for warning in &suite.warnings {
            session.print_error_line(&warning.to_string());
        }
        let (engines, without) = match self.engines.is_empty() {
            true => EngineKind::usual(),
            false => (self.engines, None),
        };
        if let Some(reason) = without {
            session.print_error_line(&format!("not asking the kernel: {reason}"));
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

/// Prints verdicts as they are found.
struct Printer<'a> {
    session: &'a Session,
    verbose: bool,
    /// The first that went wrong in printing; nothing is printed after it.
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

    fn verdict(&mut self, verdict: &Verdict) {
        let wanted = self.verbose || self.session.is_json() || verdict.is_right() != Some(true);
        if wanted && self.failure.is_none() {
            self.progress.clear();
            self.failure = self.print(verdict).err();
        }
    }
}

impl Printer<'_> {
    fn print(&self, verdict: &Verdict) -> io::Result<()> {
        if self.session.is_json() {
            let mut out = io::stdout().lock();
            serde_json::to_writer(&mut out, verdict)?;
            return writeln!(out);
        }
        let Verdict { test, step, file, line, probe, engine, verdict: said, .. } = verdict;
        let (tone, said) = match (verdict.is_right(), verdict.expect) {
            (Some(false), Some(expect)) => (Tone::Bad, format!("{said}, expected {expect}")),
            (Some(_), _) => (Tone::Good, said.to_string()),
            (None, _) => (Tone::Strong, said.to_string()),
        };
        let said = self.session.paint(tone, &said);
        self.session.print_line(&format!("{file}:{line}: {test}, {step}: {probe}: {engine}: {said}"))?;
        let by = verdict.rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default();
        self.session.print_line(&self.session.paint(Tone::Faint, &format!("    {}{by}", verdict.reason)))
    }
}

/// Prints the sums; for machines, who count for themselves, only what was left out, and not among the verdicts.
fn print_summary(session: &Session, summary: &Summary) -> io::Result<()> {
    for (test, findings) in &summary.left_out {
        session.print_error_line(&format!("{test}: not supported yet, and not run"));
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
