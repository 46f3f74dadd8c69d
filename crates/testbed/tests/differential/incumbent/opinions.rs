//! The three verdicts on a probe: of the model, of compiled rows, and of the incumbent.

use super::process::{Heard, Word};
use datapath::native::Tables;
use manifest::test::{Expect, Probe, TestStep};
use policy::rule::Policy;
use serde_json::Value;
use testbed::{CompiledRows, Crossing, Engine, EngineAnswer, Model, TestState};

/// The incumbent's verdict, of both ends together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum IncumbentVerdict {
    /// Both ends allow the connection.
    Allow,
    /// A proxy judges the requests, and may allow all of them: a connection that a wider rule allows beside HTTP rules goes
    /// to the proxy too.
    Proxied,
    /// One end refuses the connection.
    Drop,
}

impl From<Heard> for IncumbentVerdict {
    fn from(theirs: Heard) -> Self {
        let either = |word| theirs.egress == word || theirs.ingress == word;
        match () {
            () if either(Word::Deny) => Self::Drop,
            () if either(Word::Proxy) => Self::Proxied,
            () => Self::Allow,
        }
    }
}

impl IncumbentVerdict {
    /// Whether our verdict can be the same. The library reports only that a proxy decides, not what the proxy decides: so
    /// a request that we deny must go to the proxy there.
    pub(super) fn agrees(self, ours: Expect) -> bool {
        matches!(
            (self, ours),
            (Self::Drop, Expect::Drop)
                | (Self::Allow | Self::Proxied, Expect::Allow)
                | (Self::Proxied, Expect::Deny)
        )
    }

    /// The expectation in a PolicyTest that requires this verdict of us.
    pub(super) fn expected(self) -> Expect {
        if self == Self::Drop { Expect::Drop } else { Expect::Allow }
    }
}

/// A test as our manifest reader reads it.
pub(super) struct Read {
    pub(super) state: TestState,
    pub(super) probes: Vec<Probe>,
}

/// Reads a test of one step, or returns why the reader refuses it.
pub(super) fn read(test: &Value) -> Result<Read, String> {
    let mut load = |path: &str| panic!("the test names no file, and certainly not {path}");
    let first = |findings: Vec<manifest::Diagnostic>| {
        findings.first().map_or("refused".to_owned(), |finding| finding.message.clone())
    };
    let mut tests = manifest::test::parse("random.yaml", &test.to_string(), &mut load).map_err(first)?;
    let mut test = tests.documents.remove(0).test.map_err(first)?;
    let step: TestStep = test.steps.remove(0);
    let mut state = TestState::default();
    state.take(&step).map_err(|error| error.to_string())?;
    Ok(Read { state, probes: step.probes })
}

/// The model's verdict; none where the probe has no crossing.
pub(super) fn of_model(state: &TestState, probe: &Probe) -> Option<EngineAnswer> {
    let crossing = crossing(state, probe)?;
    answer(&mut Model::default(), state, &crossing)
}

/// The verdict of rows that are compiled for this state alone.
pub(super) fn of_rows(state: &TestState, probe: &Probe) -> Option<EngineAnswer> {
    let crossing = crossing(state, probe)?;
    answer(&mut CompiledRows::new(Tables::new()), state, &crossing)
}

fn answer(engine: &mut dyn Engine, state: &TestState, crossing: &Crossing) -> Option<EngineAnswer> {
    engine.prepare(state).ok()?;
    engine.ask(crossing).ok()
}

/// The crossing of a probe; none where an end does not exist.
pub(super) fn crossing(state: &TestState, probe: &Probe) -> Option<Crossing> {
    // Only a probe to a service may have several crossings, and random worlds have none.
    state.crossings(probe).ok()?.into_iter().next()
}

/// The policies of a state, in its order.
pub(super) fn policies(state: &TestState) -> Vec<Policy> {
    state.policies.values().cloned().collect()
}
