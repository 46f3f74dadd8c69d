//! The result of a run: one verdict for each probe and engine, and the sums.

use crate::engine::verdict_name;
use crate::engine_kind::EngineKind;
use manifest::Diagnostic;
use manifest::test::Expect;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// The verdict of one engine on one probe. `nexin test -o json` prints this as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeReport {
    /// The test.
    pub test: String,
    /// The step, by name or number.
    pub step: String,
    /// The file of the test, as the user wrote it.
    pub file: String,
    /// The line in which the probe stands.
    pub line: u32,
    /// The probe in words.
    pub probe: String,
    /// The engine.
    pub engine: EngineKind,
    /// The expected verdict; none where the test expects nothing.
    pub expect: Option<Judged>,
    /// The engine's verdict.
    pub verdict: Judged,
    /// The rule that decides; none where no rule does.
    pub rule: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
}

/// A verdict by its word in test files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged(pub Expect);

/// The sums of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Documents that were run.
    pub documents: usize,
    /// Documents that were not run, with the features in them that are not supported yet.
    pub left_out: Vec<(String, Vec<String>)>,
    /// Why engines could not send probes, and how many.
    pub unsent: BTreeMap<(EngineKind, &'static str), usize>,
    /// The counts of each engine.
    pub engines: BTreeMap<EngineKind, Count>,
}

/// The verdicts of one engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Verdicts that are as expected.
    pub right: usize,
    /// Verdicts that differ.
    pub wrong: usize,
    /// Verdicts of probes without an expectation.
    pub unjudged: usize,
    /// Probes that the engine could not send; [`Summary::unsent`] has the reasons.
    pub unsent: usize,
}

impl ProbeReport {
    /// Whether the verdict is the expected one; none without an expectation.
    pub fn is_right(&self) -> Option<bool> {
        self.expect.map(|expect| expect == self.verdict)
    }
}

impl Summary {
    /// The summary before the first verdict.
    pub(crate) fn of(engines: &[EngineKind]) -> Self {
        Self {
            engines: engines.iter().map(|&engine| (engine, Count::default())).collect(),
            ..Self::default()
        }
    }

    /// Whether no verdict differs from its expectation.
    pub fn is_right(&self) -> bool {
        self.engines.values().all(|count| count.wrong == 0)
    }

    pub(crate) fn count(&mut self, verdict: &ProbeReport) {
        let count = self.engines.entry(verdict.engine).or_default();
        match verdict.is_right() {
            Some(true) => count.right += 1,
            Some(false) => count.wrong += 1,
            None => count.unjudged += 1,
        }
    }

    pub(crate) fn miss(&mut self, engine: EngineKind, why: &'static str) {
        self.engines.entry(engine).or_default().unsent += 1;
        *self.unsent.entry((engine, why)).or_default() += 1;
    }

    pub(crate) fn leave_out(&mut self, test: &str, findings: &[Diagnostic]) {
        self.left_out.push((test.to_owned(), findings.iter().map(ToString::to_string).collect()));
    }
}

impl fmt::Display for Summary {
    /// A line for each engine, and one for the documents that were not run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", documents(self.documents))?;
        for (engine, Count { right, wrong, unjudged, .. }) in &self.engines {
            write!(f, "\n{engine:>8}: {right} as expected, {wrong} not")?;
            if *unjudged > 0 {
                write!(f, ", {unjudged} with no expectation")?;
            }
        }
        for ((engine, why), probes) in &self.unsent {
            write!(f, "\n{engine:>8}: {probes} not sent: {why}")?;
        }
        if !self.left_out.is_empty() {
            write!(f, "\nnot supported yet, and not run: {}", documents(self.left_out.len()))?;
        }
        Ok(())
    }
}

fn documents(number: usize) -> String {
    format!("{number} document{}", if number == 1 { "" } else { "s" })
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(verdict_name(self.0))
    }
}

impl Serialize for Judged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
