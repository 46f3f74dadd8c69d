//! Runs documents on engines, and reports each verdict to an observer at once.

use crate::crossing::{Crossing, WrittenEnd};
use crate::engine::{Engine, EngineAnswer, EngineError, worst};
use crate::engine_kind::EngineKind;
use crate::report::{Judged, ProbeReport, Summary};
use crate::state::TestState;
use crate::suite::Suite;
use manifest::test::{Expect, PolicyTest, Probe, TestStep};
use std::fmt;
use std::time::Instant;

/// Why a run ended early. A verdict that differs from its expectation does not end a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A step or probe of a test that cannot be carried out.
    #[error("test {test}, {place}: {message}")]
    Test {
        /// The test.
        test: String,
        /// The step, or the line of the probe.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// The observer ended the run.
    #[error("interrupted")]
    Interrupted,
    /// An engine without a verdict.
    #[error("engine {engine}: {source}")]
    Engine {
        /// The engine.
        engine: EngineKind,
        /// Why.
        source: EngineError,
    },
}

/// Receives the progress and the verdicts of a run.
pub trait Observer {
    /// A document starts; `done` of `all` documents are done.
    fn begin(&mut self, name: &str, done: usize, all: usize);
    /// Whether the run continues; called before each document and step.
    fn continues(&self) -> bool {
        true
    }
    /// An engine returned a verdict.
    fn verdict(&mut self, verdict: &ProbeReport);
}

/// Runs every document on every engine.
pub fn run(suite: &Suite, engines: &[EngineKind], observer: &mut dyn Observer) -> Result<Summary, RunError> {
    let mut summary = Summary::of(engines);
    // An engine moves from one document's world to the next by changes, as within a document: to load the kernel's
    // programs again would take longer than most documents.
    let mut engines =
        engines.iter().map(|&kind| Ok((kind, opened(kind)?))).collect::<Result<Vec<_>, RunError>>()?;
    for (done, document) in suite.documents.iter().enumerate() {
        observer.begin(&document.name, done, suite.documents.len());
        if !observer.continues() {
            return Err(RunError::Interrupted);
        }
        match &document.test {
            Err(findings) => summary.leave_out(&document.name, findings),
            Ok(test) => Run::of((&document.file, test), &mut engines)?.steps(&mut summary, observer)?,
        }
    }
    Ok(summary)
}

fn opened(kind: EngineKind) -> Result<Box<dyn Engine>, RunError> {
    kind.open().map_err(|source| RunError::Engine { engine: kind, source })
}

/// Asks all crossings, and again those that were dropped against their expectation, as long as the engine is patient.
fn ask_patiently(
    engine: &mut dyn Engine,
    crossings: &[Crossing],
    expected: &[Option<Expect>],
) -> Vec<Result<EngineAnswer, EngineError>> {
    let deadline = Instant::now() + engine.patience();
    let mut answers = engine.ask_all(crossings);
    let is_dropped = |answer: &Result<EngineAnswer, EngineError>, expect: Option<Expect>| {
        let dropped = answer.as_ref().is_ok_and(|answer| answer.verdict == Expect::Drop);
        dropped && expect.is_some_and(|expect| expect != Expect::Drop)
    };
    loop {
        let again: Vec<usize> =
            (0..answers.len()).filter(|&index| is_dropped(&answers[index], expected[index])).collect();
        if again.is_empty() || Instant::now() >= deadline {
            return answers;
        }
        let asked: Vec<Crossing> = again.iter().map(|&index| crossings[index].clone()).collect();
        for (index, answer) in again.into_iter().zip(engine.ask_all(&asked)) {
            answers[index] = answer;
        }
    }
}

/// One document, and the engines that it runs on.
struct Run<'a> {
    file: &'a str,
    test: &'a PolicyTest,
    engines: &'a mut [(EngineKind, Box<dyn Engine>)],
    state: TestState,
}

impl<'a> Run<'a> {
    fn of(
        (file, test): (&'a str, &'a PolicyTest),
        engines: &'a mut [(EngineKind, Box<dyn Engine>)],
    ) -> Result<Self, RunError> {
        let mut run = Self { file, test, engines, state: TestState::default() };
        run.prepare()?;
        Ok(run)
    }

    fn prepare(&mut self) -> Result<(), RunError> {
        for (kind, engine) in &mut *self.engines {
            engine.prepare(&self.state).map_err(|source| RunError::Engine { engine: *kind, source })?;
        }
        Ok(())
    }

    fn steps(&mut self, summary: &mut Summary, observer: &mut dyn Observer) -> Result<(), RunError> {
        summary.documents += 1;
        for (number, step) in (1..).zip(&self.test.steps) {
            let name = if step.name.is_empty() { format!("step {number}") } else { step.name.clone() };
            self.state.take(step).map_err(|error| self.wrong(&name, &error))?;
            let crossings = self.crossings(step)?;
            self.prepare()?;
            if !observer.continues() {
                return Err(RunError::Interrupted);
            }
            let expected = step
                .probes
                .iter()
                .zip(&crossings)
                .flat_map(|(probe, crossings)| crossings.iter().map(|_| probe.expect));
            let expected: Vec<Option<Expect>> = expected.collect();
            let ask = |(kind, engine): &mut (EngineKind, Box<dyn Engine>)| {
                (*kind, ask_patiently(engine.as_mut(), &crossings.concat(), &expected).into_iter())
            };
            let mut answers: Vec<_> = self.engines.iter_mut().map(ask).collect();
            for (probe, crossing) in step.probes.iter().zip(&crossings) {
                for (engine, answers) in &mut answers {
                    match worst(answers.take(crossing.len())) {
                        Ok(answer) => {
                            let verdict = self.verdict(&name, probe, &crossing[0], (*engine, answer));
                            summary.count(&verdict);
                            observer.verdict(&verdict);
                        }
                        Err(EngineError::Impossible(why)) => summary.miss(*engine, why),
                        Err(source) => return Err(RunError::Engine { engine: *engine, source }),
                    }
                }
            }
        }
        Ok(())
    }

    /// The crossings of each probe.
    fn crossings(&self, step: &TestStep) -> Result<Vec<Vec<Crossing>>, RunError> {
        let crossings = |probe: &Probe| {
            self.state
                .crossings(probe)
                .map_err(|error| self.wrong(&format!("probe in line {}", probe.line), &error))
        };
        step.probes.iter().map(crossings).collect()
    }

    fn verdict(
        &self,
        step: &str,
        probe: &Probe,
        crossing: &Crossing,
        (engine, answer): (EngineKind, EngineAnswer),
    ) -> ProbeReport {
        let (from, to) = (WrittenEnd(probe.from.clone()), WrittenEnd(probe.to.clone()));
        let family = if crossing.source.is_ipv6() { " over IPv6" } else { "" };
        ProbeReport {
            test: self.test.name.clone(),
            step: step.to_owned(),
            file: self.file.to_owned(),
            line: probe.line,
            probe: format!("{from} -> {to} {}{family}", crossing.sent.at_port(crossing.asked().port())),
            engine,
            expect: probe.expect.map(Judged),
            verdict: Judged(answer.verdict),
            rule: answer.rule,
            reason: answer.reason,
        }
    }

    fn wrong(&self, place: &str, error: &dyn fmt::Display) -> RunError {
        RunError::Test { test: self.test.name.clone(), place: place.to_owned(), message: error.to_string() }
    }
}
