//! One question to a node, and the answers of both engines: the model, and the packet path's lookup over the rows.

use super::node::CompilingNode;
use crate::book::{L7SetId, RuleId};
use crate::catalog::Catalog;
use crate::endpoint_view::{EndpointView, NO_NAMES};
use crate::generate::{GeneratedEnd, GeneratedProbe, GeneratedWorld};
use crate::model::{self, Basis, Context, Query, Verdict};
use crate::rule::{Direction, EnforcementMode};
use abi::endpoint::{EndpointInfo, GroupingNumber, flag};
use abi::policy::action;
use std::fmt;

/// What one engine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) rule: RuleId,
}

/// What both engines answer to one side of a probe.
pub(super) struct Answers<'a> {
    node: &'a CompilingNode,
    world: &'a GeneratedWorld,
    probe: &'a GeneratedProbe,
    side: Direction,
    pub(super) model: Outcome,
    pub(super) rows: Outcome,
}

/// The sides of a probe that policies judge: the ends that are workloads.
pub(super) fn sides(probe: &GeneratedProbe) -> impl Iterator<Item = Direction> {
    let is_subject = |end| matches!(end, GeneratedEnd::Workload(_));
    let egress = is_subject(probe.from).then_some(Direction::Egress);
    let ingress = is_subject(probe.to).then_some(Direction::Ingress);
    egress.into_iter().chain(ingress)
}

impl<'a> Answers<'a> {
    /// Asks both engines about one side of a probe.
    pub(super) fn of(
        node: &'a CompilingNode,
        world: &'a GeneratedWorld,
        probe: &'a GeneratedProbe,
        side: Direction,
    ) -> Self {
        let [subject, _] = probe.subject_and_peer(side);
        let GeneratedEnd::Workload(index) = subject else { unreachable!("only workloads are subjects") };
        let query = world.query(probe, side);
        let fields = probe.request.as_ref().map(|request| request.fields()).unwrap_or_default();
        let names = query.peer.address.map_or(NO_NAMES, |address| node.names.of(address));
        let query = Query {
            peer: EndpointView { names, ..query.peer },
            request: probe.request.as_ref().map(|request| request.view(&fields)),
            ..query
        };
        let (model, rows) = (of_model(node, world, index, &query), of_rows(node, index, &query));
        Self { node, world, probe, side, model, rows }
    }

    pub(super) fn agree(&self) -> bool {
        self.model == self.rows
    }
}

fn of_model(node: &CompilingNode, world: &GeneratedWorld, subject: usize, query: &Query<'_>) -> Outcome {
    let catalog = Catalog::new();
    let context = Context { catalog: &catalog, mode: EnforcementMode::Default };
    let decision = model::verdict(&world.policies, &context, query);
    let rule = match decision.basis {
        // Where a direction is not enforced, the packet path looks no rule up.
        _ if !node.policy(subject).1.enforces(query.direction) => RuleId::DEFAULT,
        Basis::LocalHost => RuleId::LOCAL_HOST,
        Basis::Rule(rule) => node.book.numbered(rule.policy, &rule.rule.place).expect("the rule is in force"),
        _ => RuleId::DEFAULT,
    };
    Outcome { verdict: decision.verdict, rule }
}

/// The packet path's own lookup, then the request by the matcher of its set.
fn of_rows(node: &CompilingNode, subject: usize, query: &Query<'_>) -> Outcome {
    let (number, policy) = node.policy(subject);
    let directions = [(Direction::Ingress, flag::ENFORCE_INGRESS), (Direction::Egress, flag::ENFORCE_EGRESS)];
    let enforced = directions.iter().filter(|(direction, _)| policy.enforces(*direction));
    let endpoint = EndpointInfo {
        policy: number,
        // Each policy has a grouping of its own here, of the same number.
        grouping: GroupingNumber::new(number),
        flags: enforced.map(|(_, flag)| flag).sum(),
        ..EndpointInfo::default()
    };
    let asked = datapath::policy::FlowQuery {
        direction: query.direction,
        protocol: query.protocol,
        port: query.port.to_be_bytes(),
    };
    let found = datapath::policy::evaluate(&node.tables, &endpoint, &node.address_row(&query.peer), asked);
    let verdict = match (found.action, &query.request) {
        (action::ALLOW, _) | (action::REDIRECT, None) => Verdict::Allow,
        (action::REDIRECT, Some(request)) => match node.matchers[&L7SetId(found.l7)].matches(request) {
            Some(_) => Verdict::Allow,
            None => Verdict::DenyRequest,
        },
        _ => Verdict::Drop,
    };
    Outcome { verdict, rule: RuleId(found.rule) }
}

impl fmt::Display for Answers<'_> {
    /// The question in one line, and a line for each engine.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, world, probe, side, .. } = self;
        let (subject, direction) = match side {
            Direction::Egress => (probe.from, "egress"),
            Direction::Ingress => (probe.to, "ingress"),
        };
        writeln!(f, "{direction} of {}: {}", world.end_name(subject), world.describe(probe))?;
        for (engine, outcome) in [("model", self.model), ("rows", self.rows)] {
            let rule = match outcome.rule {
                RuleId::DEFAULT => "no rule".to_owned(),
                RuleId::LOCAL_HOST => "the node's right to reach its own workloads".to_owned(),
                rule => node.book.origin(rule).map_or_else(|| format!("{rule:?}"), ToString::to_string),
            };
            writeln!(f, "  {engine:>5}: {:?} by {rule}", outcome.verdict)?;
        }
        Ok(())
    }
}
