//! Asks policy about the requests of one connection, and remembers the answer while policy stays the same.

use crate::event::Decision;
use crate::policy::{AppliedRuleSet, Flow, Policy, Rules};
use l7::{Matcher, RequestView};
use std::net::SocketAddr;
use std::sync::Arc;

/// Decides on requests of one connection.
pub(crate) struct Judge {
    policy: Arc<dyn Policy>,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    cached: Option<Cached>,
    /// Which workloads client and server were when the connection began.
    workloads: Option<(u32, u32)>,
}

/// What policy said of the flow at a generation.
struct Cached {
    generation: u64,
    flow_policy: Result<FlowPolicy, Unknown>,
}

struct FlowPolicy {
    identities: (u32, u32),
    sets: Vec<(AppliedRuleSet, Arc<Matcher>)>,
}

/// There is no judgement, since policy could not be asked or the request is in doubt; the answer's status and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// Identities of client and server.
    pub(crate) identities: (u32, u32),
    /// What each set said, up to the first that denied.
    pub(crate) decisions: Vec<Decision>,
}

impl Judgement {
    /// Whether every set that applies allows the request.
    pub(crate) fn allows(&self) -> bool {
        self.decisions.iter().all(|decision| decision.http_rule.is_some())
    }
}

impl Judge {
    pub(crate) fn new(policy: Arc<dyn Policy>, client: SocketAddr, server: SocketAddr) -> Self {
        Self { policy, client, server, cached: None, workloads: None }
    }

    /// Decides on one request, under the policy of the moment of [`Self::is_ready`].
    pub(crate) fn decide(&self, request: &RequestView<'_>) -> Result<Judgement, Unknown> {
        let flow_policy = self.flow_policy()?;
        if let Some(reason) = flow_policy.sets.iter().find_map(|(_, matcher)| matcher.ambiguity(request)) {
            return Err(Unknown { status: 400, reason });
        }
        let mut decisions = Vec::with_capacity(flow_policy.sets.len());
        for (applied, matcher) in &flow_policy.sets {
            let too_costly = "the HTTP rules take too long to match against the request";
            let http_rule =
                matcher.decide(request).map_err(|_| Unknown { status: 400, reason: too_costly })?;
            decisions.push(Decision { applied: *applied, http_rule });
            if http_rule.is_none() {
                break;
            }
        }
        Ok(Judgement { identities: flow_policy.identities, decisions })
    }

    /// Identities of client and server; 0 where policy does not know the flow.
    pub(crate) fn identities(&mut self) -> (u32, u32) {
        if let Ok(flow_policy) = self.flow_policy() {
            return flow_policy.identities;
        }
        self.flow().map_or((0, 0), |flow| (flow.source_identity, flow.destination_identity))
    }

    /// The client's identity; none where policy does not know the flow, or does not let it through.
    pub(crate) fn client_identity(&mut self) -> Option<u32> {
        self.flow().map(|flow| flow.source_identity)
    }

    /// Whether a request can be decided on now, rather than once the rules are there; asks policy again where it has
    /// changed. Comes right before what decides.
    pub(crate) fn is_ready(&mut self) -> bool {
        self.refresh();
        self.cached.is_some()
    }

    /// Whether policy lets the flow through, at layers 3 and 4.
    pub(crate) fn is_flow_allowed(&self) -> bool {
        !self.cached.as_ref().is_some_and(|known| matches!(known.flow_policy, Err(UNKNOWN_FLOW)))
    }

    /// What policy said when [`Self::is_ready`] asked it last.
    fn flow_policy(&self) -> Result<&FlowPolicy, Unknown> {
        let cached = self.cached.as_ref().ok_or(RULES_LOADING)?;
        cached.flow_policy.as_ref().map_err(|unknown| *unknown)
    }

    /// Asks again where policy has changed. Remembers nothing while rules are coming.
    fn refresh(&mut self) {
        // Read first: a change that comes while the rest is asked is then noticed at the next request.
        let generation = self.policy.generation();
        if self.cached.as_ref().is_none_or(|cached| cached.generation != generation) {
            let flow_policy = self.ask();
            self.cached =
                (!matches!(flow_policy, Err(RULES_LOADING))).then_some(Cached { generation, flow_policy });
        }
    }

    /// The flow, where it is still between the workloads that it was between at first.
    fn flow(&mut self) -> Option<Flow> {
        let flow = self.policy.flow(self.client, self.server)?;
        let workloads = *self.workloads.get_or_insert(flow.workloads);
        Some(flow).filter(|flow| flow.workloads == workloads)
    }

    fn ask(&mut self) -> Result<FlowPolicy, Unknown> {
        let flow = self.flow().ok_or(UNKNOWN_FLOW)?;
        let matchers = flow.applied.iter().map(|applied| match self.policy.rules(applied.set) {
            Rules::Ready(matcher) => Ok((*applied, matcher)),
            Rules::Loading => Err(RULES_LOADING),
            Rules::Unknown => {
                Err(Unknown { status: 500, reason: "policy does not know a rule set of this flow" })
            }
        });
        Ok(FlowPolicy {
            identities: (flow.source_identity, flow.destination_identity),
            sets: matchers.collect::<Result<_, _>>()?,
        })
    }
}

/// The flow is one that policy does not know or does not let through.
const UNKNOWN_FLOW: Unknown = Unknown { status: 503, reason: "policy does not know this flow" };
/// Connections wait until the rules are there, and never give this answer.
const RULES_LOADING: Unknown = Unknown { status: 503, reason: "policy is being made ready" };
