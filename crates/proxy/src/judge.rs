//! Verdicts on the requests of one connection. The policy of the flow is cached until policy changes.

use crate::event::RuleSetDecision;
use crate::policy::{AppliedRuleSet, ProxiedFlow, RequestPolicy, Rules};
use l7::{Matcher, RequestView};
use std::net::SocketAddr;
use std::sync::Arc;

/// Judges the requests of one connection.
pub(crate) struct Judge {
    policy: Arc<dyn RequestPolicy>,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    cached: Option<Cached>,
    /// The flow and the generation at which it was looked up, until its rules are loaded.
    found: Option<(u64, Option<ProxiedFlow>)>,
    /// The workloads of client and server at the start of the connection.
    workloads: Option<(u32, u32)>,
}

/// The policy of the flow at one generation.
struct Cached {
    generation: u64,
    flow_policy: Result<FlowPolicy, Unknown>,
}

struct FlowPolicy {
    identities: (u32, u32),
    sets: Vec<(AppliedRuleSet, Arc<Matcher>)>,
}

/// Why there is no verdict: policy is not available, or the request is ambiguous. Status and reason of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

/// The verdict on a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judgement {
    /// Identities of client and server.
    pub(crate) identities: (u32, u32),
    /// True where every rule set allows the request.
    pub(crate) allows: bool,
}

impl Judge {
    pub(crate) fn new(policy: Arc<dyn RequestPolicy>, client: SocketAddr, server: SocketAddr) -> Self {
        Self { policy, client, server, cached: None, found: None, workloads: None }
    }

    /// Judges one request by the policy at the time of [`Self::is_ready`]. `decisions` gets the result of each rule set, up
    /// to the first that denies the request; where there is no verdict, it gets none.
    pub(crate) fn decide(
        &self,
        request: &RequestView<'_>,
        decisions: &mut Vec<RuleSetDecision>,
    ) -> Result<Judgement, Unknown> {
        decisions.clear();
        let flow_policy = self.flow_policy()?;
        if let Some(reason) = flow_policy.sets.iter().find_map(|(_, matcher)| matcher.ambiguity(request)) {
            return Err(Unknown { status: 400, reason });
        }
        let mut allows = true;
        for (applied, matcher) in &flow_policy.sets {
            let Ok(http_rule) = matcher.decide(request) else {
                decisions.clear();
                return Err(TOO_COSTLY);
            };
            decisions.push(RuleSetDecision { applied: *applied, http_rule });
            allows = http_rule.is_some();
            if !allows {
                break;
            }
        }
        Ok(Judgement { identities: flow_policy.identities, allows })
    }

    /// Identities of client and server; 0 where policy does not know the flow.
    pub(crate) fn identities(&mut self) -> (u32, u32) {
        if let Ok(flow_policy) = self.flow_policy() {
            return flow_policy.identities;
        }
        let flow = self.flow(self.policy.generation());
        flow.map_or((0, 0), |flow| (flow.source_identity, flow.destination_identity))
    }

    /// The client's identity; none where policy does not know the flow or denies it.
    pub(crate) fn client_identity(&mut self) -> Option<u32> {
        self.flow(self.policy.generation()).map(|flow| flow.source_identity)
    }

    /// Reads the policy again if it changed; returns true where the rules are loaded, so that a request can be judged. Must
    /// be called right before [`Self::decide`].
    pub(crate) fn is_ready(&mut self) -> bool {
        self.refresh();
        self.cached.is_some()
    }

    /// True where policy allows the flow at layers 3 and 4.
    pub(crate) fn is_flow_allowed(&self) -> bool {
        !self.cached.as_ref().is_some_and(|known| matches!(known.flow_policy, Err(UNKNOWN_FLOW)))
    }

    /// The policy that [`Self::is_ready`] read last.
    fn flow_policy(&self) -> Result<&FlowPolicy, Unknown> {
        let cached = self.cached.as_ref().ok_or(RULES_LOADING)?;
        cached.flow_policy.as_ref().map_err(|unknown| *unknown)
    }

    /// Reads the policy again where it changed. While rules load, nothing is cached.
    fn refresh(&mut self) {
        // The generation is read first, so that a change during the other reads is noticed at the next request.
        let generation = self.policy.generation();
        if self.cached.as_ref().is_none_or(|cached| cached.generation != generation) {
            let flow_policy = self.ask(generation);
            self.cached =
                (!matches!(flow_policy, Err(RULES_LOADING))).then_some(Cached { generation, flow_policy });
            if self.cached.is_some() {
                self.found = None;
            }
        }
    }

    /// The flow at a generation that was read before; none where another workload has the address of client or server by
    /// now.
    fn flow(&mut self, generation: u64) -> Option<&ProxiedFlow> {
        if self.found.as_ref().is_none_or(|(found, _)| *found != generation) {
            let flow = self.policy.flow(self.client, self.server);
            let workloads = flow.as_ref().map(|flow| *self.workloads.get_or_insert(flow.workloads));
            self.found = Some((generation, flow.filter(|flow| Some(flow.workloads) == workloads)));
        }
        self.found.as_ref().and_then(|(_, flow)| flow.as_ref())
    }

    fn ask(&mut self, generation: u64) -> Result<FlowPolicy, Unknown> {
        let policy = Arc::clone(&self.policy);
        let flow = self.flow(generation).ok_or(UNKNOWN_FLOW)?;
        let matchers = flow.applied.iter().map(|applied| match policy.rules(applied.set) {
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

/// A request that would hold up the requests of other connections.
const TOO_COSTLY: Unknown =
    Unknown { status: 400, reason: "matching the HTTP rules against this request takes too long" };
/// Policy does not know the flow, or denies it.
const UNKNOWN_FLOW: Unknown = Unknown { status: 503, reason: "policy does not know this flow" };
/// A connection waits until its rules are loaded, so that a client never gets this response.
const RULES_LOADING: Unknown = Unknown { status: 503, reason: "the rules are still loading" };
