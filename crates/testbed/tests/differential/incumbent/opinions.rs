//! What the three say of a probe: the model, compiled rows, and the incumbent.

use super::process::{Heard, Word};
use datapath::native::Tables;
use manifest::test::{Expect, Probe, Step};
use policy::rule::Policy;
use serde_json::Value;
use testbed::{Answer, Crossing, Engine, Model, Rows, State};

/// The incumbent's verdict on what passes or does not pass both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It comes through.
    Allow,
    /// A proxy decides on the requests. It may let all of them through: a wider allow beside rules about requests goes
    /// to the proxy too, and passes there.
    Proxied,
    /// One end refuses it.
    Drop,
}

impl From<Heard> for Verdict {
    fn from(heard: Heard) -> Self {
        let either = |word| heard.egress == word || heard.ingress == word;
        match () {
            () if either(Word::Deny) => Self::Drop,
            () if either(Word::Proxy) => Self::Proxied,
            () => Self::Allow,
        }
    }
}

impl Verdict {
    /// Whether ours can be the same. The library does not say what the proxy makes of a request, only that the proxy decides:
    /// so what we refuse as a request must come to the proxy there.
    pub(super) fn agrees(self, ours: Expect) -> bool {
        matches!(
            (self, ours),
            (Self::Drop, Expect::Drop)
                | (Self::Allow | Self::Proxied, Expect::Allow)
                | (Self::Proxied, Expect::Deny)
        )
    }

    /// What a PolicyTest expects that holds us to it.
    pub(super) fn expected(self) -> Expect {
        if self == Self::Drop { Expect::Drop } else { Expect::Allow }
    }
}

/// What a test says, read by us.
pub(super) struct Read {
    pub(super) state: State,
    pub(super) probes: Vec<Probe>,
}

/// Reads a test of one step, or says why it is refused.
pub(super) fn read(test: &Value) -> Result<Read, String> {
    let mut load = |path: &str| panic!("the test names no file, and certainly not {path}");
    let first = |findings: Vec<manifest::Diagnostic>| {
        findings.first().map_or("refused".to_owned(), |finding| finding.message.clone())
    };
    let mut tests = manifest::test::parse("random.yaml", &test.to_string(), &mut load).map_err(first)?;
    let mut test = tests.documents.remove(0).test.map_err(first)?;
    let step: Step = test.steps.remove(0);
    let mut state = State::default();
    state.take(&step).map_err(|error| error.to_string())?;
    Ok(Read { state, probes: step.probes })
}

/// What the model says, where the probe can be asked.
pub(super) fn of_model(state: &State, probe: &Probe) -> Option<Answer> {
    let crossing = crossing(state, probe)?;
    answer(&mut Model::default(), state, &crossing)
}

/// What rows say that were compiled for this state alone.
pub(super) fn of_rows(state: &State, probe: &Probe) -> Option<Answer> {
    let crossing = crossing(state, probe)?;
    answer(&mut Rows::new(Tables::new()), state, &crossing)
}

fn answer(engine: &mut dyn Engine, state: &State, crossing: &Crossing) -> Option<Answer> {
    engine.prepare(state).ok()?;
    engine.ask(crossing).ok()
}

/// A probe with addresses in place of names, where it can be asked.
pub(super) fn crossing(state: &State, probe: &Probe) -> Option<Crossing> {
    // No probe of a random world is sent to a service, which alone may have several.
    state.crossings(probe).ok()?.into_iter().next()
}

/// The policies of a state, in its order.
pub(super) fn policies(state: &State) -> Vec<Policy> {
    state.policies.values().cloned().collect()
}
