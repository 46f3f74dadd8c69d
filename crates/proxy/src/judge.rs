//! Asks policy about the requests of one connection, and remembers the answer while policy stays the same.

use crate::event::Decision;
use crate::policy::{Applied, Policy};
use l7::{Matcher, RequestView};
use std::net::SocketAddr;
use std::sync::Arc;

/// Decides on requests of one connection.
pub(crate) struct Judge {
    policy: Arc<dyn Policy>,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    remembered: Option<Remembered>,
}

/// What policy said of the flow at a generation.
struct Remembered {
    generation: u64,
    standing: Result<Standing, Unknown>,
}

struct Standing {
    identities: (u32, u32),
    sets: Vec<(Applied, Arc<Matcher>)>,
}

/// There is no judgement, since policy could not be asked or the request is in doubt; the answer's status and the reason.
#[derive(Clone, Copy, Debug)]
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
        Self { policy, client, server, remembered: None }
    }

    /// Decides on one request, under the policy of this moment.
    pub(crate) fn decide(&mut self, request: &RequestView<'_>) -> Result<Judgement, Unknown> {
        let standing = self.standing()?;
        if let Some(reason) = standing.sets.iter().find_map(|(_, matcher)| matcher.doubt(request)) {
            return Err(Unknown { status: 400, reason });
        }
        let mut decisions = Vec::with_capacity(standing.sets.len());
        for (applied, matcher) in &standing.sets {
            let too_costly = "the HTTP rules take too long to match against the request";
            let http_rule =
                matcher.decide(request).map_err(|_| Unknown { status: 400, reason: too_costly })?;
            decisions.push(Decision { applied: *applied, http_rule });
            if http_rule.is_none() {
                break;
            }
        }
        Ok(Judgement { identities: standing.identities, decisions })
    }

    /// Identities of client and server; 0 where policy does not know the flow.
    pub(crate) fn identities(&mut self) -> (u32, u32) {
        if let Ok(standing) = self.standing() {
            return standing.identities;
        }
        let flow = self.policy.flow(self.client, self.server);
        flow.map_or((0, 0), |flow| (flow.source_identity, flow.destination_identity))
    }

    fn standing(&mut self) -> Result<&Standing, Unknown> {
        // Read first: a change that comes while the rest is asked is then noticed at the next request.
        let generation = self.policy.generation();
        if self.remembered.as_ref().is_none_or(|remembered| remembered.generation != generation) {
            self.remembered = Some(Remembered { generation, standing: self.ask() });
        }
        let remembered = self.remembered.as_ref().expect("it was set just now");
        remembered.standing.as_ref().map_err(|unknown| *unknown)
    }

    fn ask(&self) -> Result<Standing, Unknown> {
        let flow = self.policy.flow(self.client, self.server);
        let flow = flow.ok_or(Unknown { status: 503, reason: "policy does not know this flow" })?;
        let matchers = flow.applied.iter().map(|applied| {
            let unknown = Unknown { status: 500, reason: "policy does not know a rule set of this flow" };
            Ok((*applied, self.policy.rules(applied.set).ok_or(unknown)?))
        });
        Ok(Standing {
            identities: (flow.source_identity, flow.destination_identity),
            sets: matchers.collect::<Result<_, _>>()?,
        })
    }
}
