//! The engine `model`: the reference, asked for both ends.

use crate::crossing::{Crossing, End};
use crate::engine::{Answer, Engine, EngineError, Side};
use crate::state::State;
use abi::identity::{FIRST_ALLOCATED, HOST, WORLD, reserved_name};
use identity::Labels;
use l7::{Refusal, RequestView};
use manifest::test::{Expect, WorkloadName};
use policy::catalog::Catalog;
use policy::model::{self, Context, Decision, Query, Verdict};
use policy::party::{NamedPorts, Party};
use policy::rule::{Direction, Mode, Protocol};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Asks `policy::model`, which compiles nothing.
#[derive(Default)]
pub struct Model {
    state: State,
    /// Labels and named ports of each workload.
    workloads: BTreeMap<WorkloadName, (Labels, NamedPorts)>,
    /// Those of parties that are not workloads.
    reserved: BTreeMap<u32, Labels>,
    catalog: Catalog,
}

impl Engine for Model {
    fn name(&self) -> &'static str {
        "model"
    }

    fn prepare(&mut self, state: &State) -> Result<(), EngineError> {
        self.state = state.clone();
        self.workloads.clear();
        for (name, workload) in &state.workloads {
            let mut ports = NamedPorts::default();
            for port in &workload.named_ports {
                ports.insert(&port.name, protocol(port.protocol), port.port);
            }
            self.workloads.insert(name.clone(), (state.labels(name, workload), ports));
        }
        let label = |number| (number, Labels::reserved(reserved_name(number).expect("it is a reserved one")));
        self.reserved = [HOST, WORLD].map(label).into();
        Ok(())
    }

    fn ask(&mut self, crossing: &Crossing) -> Result<Answer, EngineError> {
        if let Some(answer) = Answer::without_policy(crossing) {
            return Ok(answer);
        }
        Ok(crossing.with_request(|request| self.judge(crossing, request)))
    }
}

impl Model {
    fn judge(&self, crossing: &Crossing, request: Option<Result<RequestView<'_>, Refusal>>) -> Answer {
        let ends = [
            (Direction::Egress, &crossing.from, &crossing.to),
            (Direction::Ingress, &crossing.to, &crossing.from),
        ];
        let mut answers = Vec::new();
        for (direction, subject, peer) in ends {
            let End::Workload(name) = subject else { continue };
            let query = Query {
                direction,
                subject: self.party(subject, address_of(crossing, subject)),
                peer: self.party(peer, address_of(crossing, peer)),
                protocol: crossing.protocol(),
                port: crossing.port(),
                request: request.and_then(Result::ok),
            };
            let context = Context { catalog: &self.catalog, mode: Mode::Default };
            let decision = model::verdict(self.state.policies.values(), &context, &query);
            let malformed = request.and_then(Result::err).filter(|_| decision.requests.is_some());
            answers.push(answer(&decision, malformed, Side { direction, subject: name }));
        }
        // A connection that either side refuses carries no request.
        let worst = |verdict| answers.iter().position(|answer: &Answer| answer.verdict == verdict);
        let decisive = worst(Expect::Drop).or(worst(Expect::Deny)).unwrap_or(answers.len() - 1);
        answers.swap_remove(decisive)
    }

    fn party(&self, end: &End, address: IpAddr) -> Party<'_> {
        let reserved =
            |number| Party { address: Some(address), ..Party::new(number, &self.reserved[&number]) };
        match end {
            End::Host => reserved(HOST),
            End::World => reserved(WORLD),
            End::Workload(name) => {
                let (labels, ports) = &self.workloads[name];
                // Of a workload's number only the kind counts.
                Party { ports, address: Some(address), ..Party::new(FIRST_ALLOCATED, labels) }
            }
        }
    }
}

fn address_of(crossing: &Crossing, end: &End) -> IpAddr {
    if *end == crossing.from { crossing.source } else { crossing.destination }
}

fn answer(decision: &Decision<'_>, malformed: Option<Refusal>, side: Side<'_>) -> Answer {
    let rule = decision.rule().map(|rule| rule.to_string());
    if let Some(refusal) = malformed {
        return Answer { verdict: Expect::Deny, rule, reason: format!("{side}: {}", refusal.reason) };
    }
    let verdict = match decision.verdict {
        Verdict::Allow => Expect::Allow,
        Verdict::DenyRequest => Expect::Deny,
        Verdict::Drop => Expect::Drop,
    };
    Answer { verdict, rule, reason: format!("{side}: {decision}") }
}

/// The policy's word for a protocol of a manifest.
fn protocol(protocol: manifest::Protocol) -> Protocol {
    match protocol {
        manifest::Protocol::Tcp => Protocol::Tcp,
        manifest::Protocol::Udp => Protocol::Udp,
        manifest::Protocol::Sctp => Protocol::Sctp,
    }
}
