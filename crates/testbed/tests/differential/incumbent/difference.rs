//! A difference that is not on purpose: made small, and written down as a PolicyTest that shows it.

use super::opinions::{self, Read, Verdict, of_model, of_rows};
use super::process::Incumbent;
use super::{documents, readings, smallest};
use crate::yaml;
use serde_json::{Value, json};
use std::fmt::Write;
use testbed::{Judged, Name};

/// Between whom a difference is.
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

/// The test with what the three say of its one probe, and of whom.
fn described(incumbent: &mut Incumbent, mut test: Value) -> Option<String> {
    let Read { state, probes } = opinions::read(&test).ok()?;
    let probe = &probes[0];
    let heard = heard(incumbent, &test)?;
    test["spec"]["probes"][0]["expect"] = Judged(heard.expected()).to_string().into();
    let mut text = yaml::text(&test);
    let crossing = opinions::crossing(&state, probe)?;
    for (side, party, address) in
        [("from", &probe.from, crossing.source), ("to", &probe.to, crossing.destination)]
    {
        writeln!(text, "# {side} {} at {address}", Name(party.clone())).ok()?;
    }
    for (who, answer) in [("model", of_model(&state, probe)?), ("native", of_rows(&state, probe)?)] {
        writeln!(text, "# {who}: {} ({})", Judged(answer.verdict), answer.reason).ok()?;
    }
    writeln!(text, "# incumbent: {heard:?}").ok()?;
    Some(text)
}

/// Whether the one probe of a test shows a difference to the incumbent that is not on purpose.
fn differs_from(incumbent: &mut Incumbent, test: &Value) -> bool {
    let ours = opinions::read(test).ok().and_then(|read| of_model(&read.state, read.probes.first()?));
    let (Some(ours), Some(heard)) = (ours, heard(incumbent, test)) else { return false };
    !heard.agrees(ours.verdict) && readings::explain(test, 0, heard).is_none()
}

/// Whether the one probe of a test shows a difference between the model and rows.
fn differ(test: &Value) -> bool {
    let Ok(Read { state, probes }) = opinions::read(test) else { return false };
    let Some(probe) = probes.first() else { return false };
    let (model, rows) = (of_model(&state, probe), of_rows(&state, probe));
    model.zip(rows).is_some_and(|(model, rows)| model.verdict != rows.verdict)
}

/// What the incumbent says of the one probe of a test, where it reads it.
fn heard(incumbent: &mut Incumbent, test: &Value) -> Option<Verdict> {
    let reply = incumbent.ask(&modern(test)).expect("it answered before");
    reply.verdicts.first().map(|heard| Verdict::from(*heard))
}

/// The spec of a test as the incumbent can read it.
pub(super) fn modern(test: &Value) -> Value {
    let mut spec = test["spec"].clone();
    let documents = spec["policies"].as_array().map(Vec::as_slice).unwrap_or_default();
    spec["policies"] = documents::as_cluster_policies(documents).into();
    spec
}
