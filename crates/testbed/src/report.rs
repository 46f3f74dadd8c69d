//! What a run found: one value for each probe and engine, and the sums.

use crate::engine::verdict_name;
use crate::engine_kind::EngineKind;
use manifest::Diagnostic;
use manifest::test::Expect;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// What one engine said of one probe. As JSON it is what `nexin test -o json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The test.
    pub test: String,
    /// The step, by name or number.
    pub step: String,
    /// The file of the test, as it was named.
    pub file: String,
    /// The line in which the probe stands.
    pub line: u32,
    /// The probe in words.
    pub probe: String,
    /// The engine.
    pub engine: EngineKind,
    /// What is right, where the test says.
    pub expect: Option<Judged>,
    /// What the engine said.
    pub verdict: Judged,
    /// The rule that decided; none where the default did.
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
    /// Documents that were not, with what they ask for that is not supported yet.
    pub left_out: Vec<(String, Vec<String>)>,
    /// What engines could not ask, and how many probes each time.
    pub unasked: BTreeMap<(EngineKind, &'static str), usize>,
    /// What each engine found.
    pub engines: BTreeMap<EngineKind, Count>,
}

/// What one engine found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Verdicts that are as expected.
    pub right: usize,
    /// Verdicts that differ.
    pub wrong: usize,
    /// Verdicts of probes that expect nothing.
    pub unjudged: usize,
    /// Probes that the engine could not ask; [`Summary::unasked`] says why.
    pub unasked: usize,
}

impl Verdict {
    /// Whether it is the verdict that is expected; none where nothing is.
    pub fn is_right(&self) -> Option<bool> {
        self.expect.map(|expect| expect == self.verdict)
    }
}

impl Summary {
    /// Nothing was found yet.
    pub(crate) fn of(engines: &[EngineKind]) -> Self {
        Self {
            engines: engines.iter().map(|&engine| (engine, Count::default())).collect(),
            ..Self::default()
        }
    }

    /// Whether no verdict differs from what is expected.
    pub fn is_right(&self) -> bool {
        self.engines.values().all(|count| count.wrong == 0)
    }

    pub(crate) fn count(&mut self, verdict: &Verdict) {
        let count = self.engines.entry(verdict.engine).or_default();
        match verdict.is_right() {
            Some(true) => count.right += 1,
            Some(false) => count.wrong += 1,
            None => count.unjudged += 1,
        }
    }

    pub(crate) fn miss(&mut self, engine: EngineKind, why: &'static str) {
        self.engines.entry(engine).or_default().unasked += 1;
        *self.unasked.entry((engine, why)).or_default() += 1;
    }

    pub(crate) fn leave_out(&mut self, test: &str, findings: &[Diagnostic]) {
        self.left_out.push((test.to_owned(), findings.iter().map(ToString::to_string).collect()));
    }
}

impl fmt::Display for Summary {
    /// A line for each engine, and one for what was left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", documents(self.documents))?;
        for (engine, Count { right, wrong, unjudged, .. }) in &self.engines {
            write!(f, "\n{engine:>8}: {right} as expected, {wrong} not")?;
            if *unjudged > 0 {
                write!(f, ", {unjudged} with no expectation")?;
            }
        }
        for ((engine, why), probes) in &self.unasked {
            write!(f, "\n{engine:>8}: {probes} not asked: {why}")?;
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
