//! The engines of compiled rows: `control` computes rows, a home's maps hold them, and frames go through the packet path.

use crate::crossing::{Crossing, CrossingEnd};
use crate::engine::{DecidingSide, Engine, EngineAnswer, EngineError};
use crate::frames::CrossingFrames;
use crate::home::{Fate, FrameOutcome, Home};
use crate::state::TestState;
use crate::transition::EndpointNumbers;
use abi::event::{self, FlowEvent};
use abi::mark;
use abi::{DropReason, Hook};
use control::{Wire, World};
use datapath::craft::Craft;
use l7::Matcher;
use manifest::test::{Expect, WorkloadName};
use policy::book::RuleId;
use policy::rule::Direction;
use std::collections::HashMap;

/// The interface that leads out of the node.
const OUTSIDE: u32 = 2;
/// Source ports of probes (the ephemeral range of RFC 6056). Each probe has its own port, and so is a new flow.
const PORTS: std::ops::RangeInclusive<u16> = 32768..=u16::MAX - 1;

/// Compiled rows in a home of the packet path. A new state is reached by changes, as on a node.
pub struct CompiledRows<H> {
    home: H,
    world: World,
    state: TestState,
    endpoints: EndpointNumbers,
    matchers: HashMap<u32, Matcher>,
    port: u16,
}

/// The event of one hook that let a frame through.
struct HookEvent<'a> {
    side: DecidingSide<'a>,
    event: FlowEvent,
    /// Whether the proxy judges requests for this side.
    is_proxied: bool,
}

impl<H: Home> Engine for CompiledRows<H> {
    fn name(&self) -> &'static str {
        self.home.name()
    }

    fn prepare(&mut self, state: &TestState) -> Result<(), EngineError> {
        let changes = self.endpoints.changes(&self.state, state);
        let writes = self.world.apply(changes);
        for (set, rules) in &writes.rule_sets {
            let matcher = Matcher::new(rules).map_err(EngineError::failed("compiling HTTP rules"))?;
            self.matchers.insert(*set, matcher);
        }
        self.home.write(&writes.now)?;
        self.home.write(&writes.later)?;
        self.home.write(&writes.last)?;
        writes.dead_rule_sets.iter().for_each(|set| drop(self.matchers.remove(set)));
        self.state = state.clone();
        Ok(())
    }

    fn ask(&mut self, crossing: &Crossing) -> Result<EngineAnswer, EngineError> {
        if let Some(answer) = EngineAnswer::without_policy(crossing) {
            return Ok(answer);
        }
        if let Some(why) = crossing.cannot_be_translated() {
            return Err(EngineError::Impossible(why));
        }
        let port = self.port_for(crossing)?;
        let frames = CrossingFrames::new(crossing, port);
        let passed = match self.send(crossing, frames.opening(), frames.arriving())? {
            Ok(passed) => passed,
            Err(refused) => return Ok(refused),
        };
        let proxied = passed.iter().any(|hook| hook.is_proxied);
        if let Some(answer) = frames.answer().filter(|_| !proxied)
            && let Err(refused) = self.send(&returning(crossing), answer.clone(), answer)?
        {
            let reason = format!("the answer does not come back: {}", refused.reason);
            return Ok(EngineAnswer { reason, ..refused });
        }
        Ok(self.judge_request(crossing, &passed))
    }
}

impl<H: Home> CompiledRows<H> {
    /// An engine with the maps of a home, which must be empty.
    pub fn new(home: H) -> Self {
        Self {
            home,
            world: World::new(),
            state: TestState::default(),
            endpoints: EndpointNumbers::default(),
            matchers: HashMap::new(),
            port: *PORTS.start(),
        }
    }

    /// A source port without a flow from which the service selects the wanted backend.
    fn port_for(&mut self, crossing: &Crossing) -> Result<u16, EngineError> {
        for _ in PORTS {
            let port = self.next_port()?;
            if crossing.reaches(port) {
                return Ok(port);
            }
        }
        Err(EngineError::Impossible("no source port leads to the backend"))
    }

    /// A source port without a flow. When all ports were used, all flows are removed.
    fn next_port(&mut self) -> Result<u16, EngineError> {
        if self.port == *PORTS.end() {
            self.home.forget_flows()?;
            self.port = *PORTS.start();
        }
        self.port += 1;
        Ok(self.port)
    }

    /// Sends a frame from the source of a crossing to its destination, through the hooks of both. Where the proxy forwards the
    /// connection, the destination receives `arriving` in place of the frame.
    fn send<'a>(
        &mut self,
        crossing: &'a Crossing,
        frame: Craft,
        arriving: Craft,
    ) -> Result<Result<Vec<HookEvent<'a>>, EngineAnswer>, EngineError> {
        let mut passed = Vec::new();
        let (mut mark, mut bytes) = (0, frame.clone().frame());
        if let Some((hook, index)) = self.way_out(crossing) {
            if let CrossingEnd::Workload(name) = &crossing.from {
                let Wire { mac, host_mac, .. } = self.interface(name);
                bytes = frame.link(mac, host_mac).frame();
            }
            let outcome = self.home.run(hook, index, 0, &bytes)?;
            match outcome.fate {
                Fate::Drop(reason) => return Ok(Err(self.refusal(crossing, &outcome, reason))),
                // The proxy opens the upstream connection from its client's address.
                Fate::Proxy => (mark, bytes) = (mark::FROM_PROXY, arriving.frame()),
                Fate::Pass | Fate::Workload(_) => bytes.clone_from(&outcome.frame),
            }
            check_exit(crossing, outcome.fate, |name| self.interface(name).interface)?;
            passed.extend(HookEvent::all(crossing, &outcome));
        }
        if let Some((hook, index)) = self.way_in(crossing) {
            let outcome = self.home.run(hook, index, mark, &bytes)?;
            match outcome.fate {
                Fate::Drop(reason) => return Ok(Err(self.refusal(crossing, &outcome, reason))),
                Fate::Pass | Fate::Proxy => passed.extend(HookEvent::all(crossing, &outcome)),
                Fate::Workload(_) => {
                    return Err(astray(crossing, "redirected again at its destination's own hook"));
                }
            }
        }
        Ok(Ok(passed))
    }

    /// The hook that judges a crossing at its source. A packet from the node to a workload has none: the workload's hook
    /// judges it.
    fn way_out(&self, crossing: &Crossing) -> Option<(Hook, u32)> {
        match (&crossing.from, &crossing.to) {
            (CrossingEnd::Workload(name), _) => Some((Hook::FromWorkload, self.interface(name).interface)),
            (CrossingEnd::Host, CrossingEnd::Node(_) | CrossingEnd::World) => {
                Some((Hook::ToOutside, OUTSIDE))
            }
            _ => None,
        }
    }

    /// The hook that judges a crossing at its destination.
    fn way_in(&self, crossing: &Crossing) -> Option<(Hook, u32)> {
        match (&crossing.from, &crossing.to) {
            (_, CrossingEnd::Workload(name)) => Some((Hook::ToWorkload, self.interface(name).interface)),
            (CrossingEnd::Node(_) | CrossingEnd::World, CrossingEnd::Host) => {
                Some((Hook::FromOutside, OUTSIDE))
            }
            _ => None,
        }
    }

    /// Matches the request against every rule set that applies, as the proxy does.
    fn judge_request(&self, crossing: &Crossing, passed: &[HookEvent<'_>]) -> EngineAnswer {
        crossing.with_request(|request| {
            for HookEvent { side, event, .. } in passed.iter().filter(|hook| hook.is_proxied) {
                let refused = match &request {
                    None => continue,
                    Some(Err(refusal)) => refusal.reason,
                    Some(Ok(request)) => match self.matchers.get(&event.l7) {
                        None => "its rule set is missing",
                        Some(matcher) if matcher.matches(request).is_none() => {
                            "no HTTP rule allows the request"
                        }
                        Some(_) => continue,
                    },
                };
                let rule = self.rule(event.rule);
                return EngineAnswer { verdict: Expect::Deny, rule, reason: format!("{side}: {refused}") };
            }
            let last =
                passed.last().filter(|hook| crossing.to != CrossingEnd::Host || hook.side.subject.is_none());
            let Some(HookEvent { side, event, .. }) = last else {
                return EngineAnswer::allow(None, "the node's own policy does not apply");
            };
            let rule = self.rule(event.rule);
            let by = match event.rule {
                _ if event.verdict == event::PacketVerdict::Audit as u8 => "audit mode lets it through",
                number if number == RuleId::LOCAL_HOST.0 => "a node may always connect to its own workloads",
                number if number == RuleId::DEFAULT.0 => "no policy is enforced, or no rule refuses it",
                _ => "a rule allows it",
            };
            EngineAnswer::allow(rule, format!("{side}: {by}"))
        })
    }

    fn refusal(&self, crossing: &Crossing, outcome: &FrameOutcome, reason: DropReason) -> EngineAnswer {
        let event = outcome.events.last();
        let reason = match event.and_then(|event| side(crossing, event)) {
            Some(side) => format!("{side}: {}", reason.describe()),
            None => reason.describe().to_owned(),
        };
        EngineAnswer { verdict: Expect::Drop, rule: event.and_then(|event| self.rule(event.rule)), reason }
    }

    fn rule(&self, number: u32) -> Option<String> {
        self.world.registry().book.origin(RuleId(number)).map(ToString::to_string)
    }

    fn interface(&self, name: &WorkloadName) -> Wire {
        self.endpoints.interface(name).expect("the ends of a crossing are in the engine's state")
    }
}

impl<'a> HookEvent<'a> {
    /// The events of the hooks on the way; the node's policy may have judged beside a workload's.
    fn all(crossing: &'a Crossing, outcome: &FrameOutcome) -> Vec<Self> {
        let events = outcome.events.iter().filter_map(|event| {
            let side = side(crossing, event)?;
            // The proxy's own packets are not redirected, but the rule set of the second side applies too.
            let to_proxy = outcome.fate == Fate::Proxy && side.subject.is_some();
            Some(Self { side, event: *event, is_proxied: to_proxy || event.l7 != 0 })
        });
        events.collect()
    }
}

/// The side whose policy an event of a crossing reports.
fn side<'a>(crossing: &'a Crossing, event: &FlowEvent) -> Option<DecidingSide<'a>> {
    let (end, direction) = match event.direction == Direction::Egress as u8 {
        true => (&crossing.from, Direction::Egress),
        false => (&crossing.to, Direction::Ingress),
    };
    DecidingSide::of(end, direction)
}

/// Fails where a frame that leaves its source goes to another destination than the crossing's.
fn check_exit(
    crossing: &Crossing,
    fate: Fate,
    interface: impl Fn(&WorkloadName) -> u32,
) -> Result<(), EngineError> {
    match (fate, &crossing.to) {
        (Fate::Workload(Some(index)), CrossingEnd::Workload(to)) if index != interface(to) => {
            Err(astray(crossing, "delivered to another workload"))
        }
        (Fate::Workload(_), CrossingEnd::Host | CrossingEnd::Node(_) | CrossingEnd::World) => {
            Err(astray(crossing, "delivered to a workload, and its destination is not on this node"))
        }
        (Fate::Pass, CrossingEnd::Workload(_)) => {
            Err(astray(crossing, "passed to the stack, and its destination is a workload of this node"))
        }
        _ => Ok(()),
    }
}

/// The crossing of the answer.
fn returning(crossing: &Crossing) -> Crossing {
    Crossing {
        from: crossing.to.clone(),
        to: crossing.from.clone(),
        source: crossing.destination,
        destination: crossing.source,
        sent: crossing.sent.clone(),
        frontend: None,
    }
}

fn astray(crossing: &Crossing, what: &'static str) -> EngineError {
    EngineError::Astray { from: crossing.source, to: crossing.destination, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath::native::Tables;

    const TEST: &str = "
apiVersion: nexin.io/v1alpha1
kind: PolicyTest
metadata: {name: t}
spec:
  workloads: [{name: a}, {name: b}]
  policies:
  - apiVersion: cilium.io/v2
    kind: CiliumNetworkPolicy
    metadata: {name: p}
    spec:
      endpointSelector: {}
      ingress: [{toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{path: /x}]}}]}]
  probes: [{from: a, to: b, port: 80, http: {path: /y}}]
";

    #[test]
    fn a_source_port_that_is_used_again_opens_a_new_flow() {
        let tests = manifest::test::parse("t", TEST, &mut |_| unreachable!()).unwrap();
        let step = &tests.documents[0].test.as_ref().unwrap().steps[0];
        let (mut engine, mut state) = (CompiledRows::new(Tables::new()), TestState::default());
        state.take(step).unwrap();
        engine.prepare(&state).unwrap();
        for _ in 0..2 {
            engine.port = *PORTS.end();
            let answer = engine.ask(&state.crossings(&step.probes[0]).unwrap()[0]).unwrap();
            assert_eq!(answer.verdict, Expect::Deny, "{answer:?}");
        }
    }
}
