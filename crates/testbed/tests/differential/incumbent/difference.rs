//! Reduces a difference that is not intended, and writes the smallest PolicyTest that still shows it.

use super::opinions::{self, IncumbentVerdict, Read, of_model, of_rows};
use super::process::Incumbent;
use super::{documents, readings, smallest};
use crate::yaml;
use serde_json::{Value, json};
use std::fmt::Write;
use testbed::{Judged, WrittenEnd};

/// The two sides that differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Between {
    /// The model and the incumbent.
    Incumbent,
    /// The model and compiled rows.
    Ours,
}

/// The smallest test that shows the difference of a probe, as text; none where a fresh start does not show it.
pub(super) fn small(
    incumbent: &mut Incumbent,
    test: &Value,
    probe: usize,
    between: Between,
) -> Option<String> {
    let mut alone = test.clone();
    alone["spec"]["probes"] = json!([test["spec"]["probes"][probe]]);
    let mut shows = |test: &Value| match between {
        Between::Incumbent => differs_from(incumbent, test),
        Between::Ours => differ(test),
    };
    if !shows(&alone) {
        return None;
    }
    let small = smallest::smallest(&alone, shows);
    described(incumbent, small)
}

/// The test with the three verdicts on its one probe.
fn described(incumbent: &mut Incumbent, mut test: Value) -> Option<String> {
    let Read { state, probes } = opinions::read(&test).ok()?;
    let probe = &probes[0];
    let theirs = theirs(incumbent, &test)?;
    test["spec"]["probes"][0]["expect"] = Judged(theirs.expected()).to_string().into();
    let mut text = yaml::text(&test);
    let crossing = opinions::crossing(&state, probe)?;
    for (side, party, address) in
        [("from", &probe.from, crossing.source), ("to", &probe.to, crossing.destination)]
    {
        writeln!(text, "# {side} {} at {address}", WrittenEnd(party.clone())).ok()?;
    }
    for (who, answer) in [("model", of_model(&state, probe)?), ("native", of_rows(&state, probe)?)] {
        writeln!(text, "# {who}: {} ({})", Judged(answer.verdict), answer.reason).ok()?;
    }
    writeln!(text, "# incumbent: {theirs:?}").ok()?;
    Some(text)
}

/// Whether the one probe of a test shows a difference to the incumbent that is not intended.
fn differs_from(incumbent: &mut Incumbent, test: &Value) -> bool {
    let ours = opinions::read(test).ok().and_then(|read| of_model(&read.state, read.probes.first()?));
    let (Some(ours), Some(theirs)) = (ours, theirs(incumbent, test)) else { return false };
    !theirs.agrees(ours.verdict) && readings::explain(test, 0, theirs).is_none()
}

/// Whether the one probe of a test shows a difference between the model and rows.
fn differ(test: &Value) -> bool {
    let Ok(Read { state, probes }) = opinions::read(test) else { return false };
    let Some(probe) = probes.first() else { return false };
    let (model, rows) = (of_model(&state, probe), of_rows(&state, probe));
    model.zip(rows).is_some_and(|(model, rows)| model.verdict != rows.verdict)
}

/// The incumbent's verdict on the one probe of a test; none where it refuses the test.
fn theirs(incumbent: &mut Incumbent, test: &Value) -> Option<IncumbentVerdict> {
    let reply = incumbent.ask(&modern(test)).expect("the incumbent answered this before");
    reply.verdicts.first().map(|theirs| IncumbentVerdict::from(*theirs))
}

/// The spec of a test as the incumbent can read it.
pub(super) fn modern(test: &Value) -> Value {
    let mut spec = test["spec"].clone();
    let documents = spec["policies"].as_array().map(Vec::as_slice).unwrap_or_default();
    spec["policies"] = documents::as_cluster_policies(documents).into();
    spec
}
