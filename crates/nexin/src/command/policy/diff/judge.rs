//! Evaluates both sets of policies for the same connections.

use super::breadth::{Breadth, TooMany};
use super::change::{Changes, ConnectionVerdict, Difference, RequestEquivalence, VerdictChange};
use super::end_group::EndGroup;
use super::groups::ComparedEnds;
use super::traffic::{TrafficRange, ranges};
use crate::command::policy::scenario::Scenario;
use crate::progress::Progress;
use agent::explain::{ConnectionEnd, in_common};
use l7::RequestView;
use policy::catalog::Catalog;
use policy::endpoint_view::NamedPorts;
use policy::model::{self, Basis, Context, Decision, Query, Verdict};
use policy::rule::{Direction, Policy, Port, Protocol, Traffic, TrafficMatch};
use policy::set::PolicySet;
use std::collections::{BTreeMap, BTreeSet};

/// A connection to evaluate.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionQuery<'a> {
    /// IP protocol number.
    pub(super) protocol: u8,
    /// Port, or ICMP type in the upper byte.
    pub(super) port: u16,
    /// Whether over IPv4.
    pub(super) v4: bool,
    /// The request; none to evaluate the connection alone.
    pub(super) request: Option<RequestView<'a>>,
}

/// Both scenarios, with cached results.
struct Worlds<'a> {
    scenarios: &'a [Scenario; 2],
    alike: RequestEquivalence,
    breadth: Breadth,
}

/// A group of ends with the policies that select it, in the old and in the new scenario.
struct ComparedSubject<'a> {
    group: &'a EndGroup,
    applying: [Vec<Policy>; 2],
    /// Whether its policies or its properties differ.
    changes: bool,
}

/// All verdicts that differ between any two groups.
pub(super) fn compare(
    scenarios: &[Scenario; 2],
    compared: &ComparedEnds,
    breadth: Breadth,
) -> Result<Vec<Difference>, TooMany> {
    let worlds = Worlds { scenarios, alike: RequestEquivalence::default(), breadth };
    let subjects: Vec<ComparedSubject<'_>> =
        compared.groups.iter().map(|group| ComparedSubject::new(scenarios, group)).collect();
    let mut changes = Changes::default();
    subjects
        .iter()
        .filter(|one| one.group.is(one.group))
        .for_each(|one| changes.leave_alone(&one.group.names));
    let changing = subjects.iter().filter(|one| one.changes).count();
    let pairs = changing * (2 * subjects.len() - changing);
    if breadth == Breadth::Everything && pairs > MAX_PAIRS {
        return Err(TooMany::Pairs(pairs));
    }
    let mut progress = Progress::start();
    for (done, from) in subjects.iter().enumerate() {
        if done.is_multiple_of(SHOWN_EVERY) {
            progress.show("connections of one source", done, subjects.len());
        }
        // The verdict of a pair can differ only if the policies or properties of one end differ. No end is compared
        // with itself.
        for to in subjects.iter().filter(|to| (from.changes || to.changes) && !from.group.is(to.group)) {
            pair(&worlds, from, to, &mut changes)?;
        }
    }
    Ok(changes.differences(&compared.naming))
}

fn pair(
    worlds: &Worlds<'_>,
    from: &ComparedSubject<'_>,
    to: &ComparedSubject<'_>,
    changes: &mut Changes,
) -> Result<(), TooMany> {
    let shares = |v4: bool| {
        let has = |group: &EndGroup| group.ends.iter().all(|end| end.address(v4).is_some());
        has(from.group) && has(to.group)
    };
    let shared = [shares(true), shares(false)];
    let mut found = BTreeMap::<VerdictChange, [BTreeSet<TrafficRange>; 2]>::new();
    for (at, v4) in [true, false].into_iter().enumerate().filter(|(at, _)| shared[*at]) {
        let policies = from.applying.iter().chain(&to.applying).flatten();
        let receivers = to.group.ends.each_ref().map(|end| &end.ports);
        for range in ranges(policies, &receivers, v4) {
            if let Some(change) = from.change(worlds, (to, to.group.ends.each_ref()), &range, v4) {
                found.entry(change).or_default()[at].insert(range);
                continue;
            }
            if let Some(change) = from.change_by_name(worlds, to, &range, v4)? {
                found.entry(change).or_default()[at].insert(range);
            }
        }
    }
    for (change, [v4, v6]) in found {
        let families = [Some(v4).filter(|_| shared[0]), Some(v6).filter(|_| shared[1])];
        changes.add((&from.group.names, &to.group.names), change, families);
    }
    Ok(())
}

/// The verdicts on one connection, if they differ.
pub(super) fn change(
    worlds: &[Scenario; 2],
    ends: [&ConnectionEnd; 2],
    query: &ConnectionQuery<'_>,
) -> Option<VerdictChange> {
    if ends[0].is(ends[1]) {
        return None;
    }
    let [old, new] = worlds.each_ref().map(|world| {
        let [from, to] = ends.map(|end| applying(&world.registry.policies, end));
        evaluate(ends, [&from, &to], &world.registry.policies, query)
    });
    let (old, new) = (old?, new?);
    (!RequestEquivalence::default().are(&old, &new)).then_some([old, new])
}

impl<'a> ComparedSubject<'a> {
    fn new(worlds: &[Scenario; 2], group: &'a EndGroup) -> Self {
        let [old, new] = &group.ends;
        let applying =
            [applying(&worlds[0].registry.policies, old), applying(&worlds[1].registry.policies, new)];
        let has_other_mode = worlds[0].registry.policies.mode() != worlds[1].registry.policies.mode()
            || old.audit != new.audit;
        let has_other_properties =
            old.labels != new.labels || old.ports != new.ports || old.api_servers != new.api_servers;
        let changes = applying[0] != applying[1] || has_other_properties || has_other_mode;
        Self { group, applying, changes }
    }

    /// The verdicts on traffic to another end, given for both scenarios, if they differ.
    fn change(
        &self,
        worlds: &Worlds<'_>,
        (to, ends): (&Self, [&ConnectionEnd; 2]),
        range: &TrafficRange,
        v4: bool,
    ) -> Option<VerdictChange> {
        let query = ConnectionQuery { protocol: range.protocol, port: range.port(), v4, request: None };
        let [old, new] = [0, 1].map(|at| {
            let ends = [&self.group.ends[at], ends[at]];
            evaluate(
                ends,
                [&self.applying[at], &to.applying[at]],
                &worlds.scenarios[at].registry.policies,
                &query,
            )
        });
        let (old, new) = (old?, new?);
        (!worlds.alike.are(&old, &new)).then_some([old, new])
    }

    /// The same if the port has names that rules use, in any combination: for a generated destination, if everything
    /// is compared.
    fn change_by_name(
        &self,
        worlds: &Worlds<'_>,
        to: &Self,
        range: &TrafficRange,
        v4: bool,
    ) -> Result<Option<VerdictChange>, TooMany> {
        if worlds.breadth != Breadth::Everything || !to.group.has_any_ports {
            return Ok(None);
        }
        let names = names(self.applying.iter().chain(&to.applying).flatten());
        if names.len() > MAX_NAMES {
            return Err(TooMany::PortNames(names.len()));
        }
        let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|one| one.numbers() == [range.protocol]);
        let Some(protocol) = protocol else { return Ok(None) };
        let change = (1..1_usize << names.len()).find_map(|subset| {
            let mut ports = NamedPorts::default();
            let chosen = names.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1);
            chosen.for_each(|(_, name)| ports.insert(name, protocol, range.port()));
            let ends = to.group.ends.clone().map(|end| ConnectionEnd { ports: ports.clone(), ..end });
            self.change(worlds, (to, ends.each_ref()), range, v4)
        });
        Ok(change)
    }
}

/// The named ports that rules use.
fn names<'a>(policies: impl Iterator<Item = &'a Policy>) -> BTreeSet<&'a str> {
    let rules = policies.flat_map(|policy| &policy.specs).flat_map(|spec| &spec.rules);
    let matches = rules.flat_map(|rule| match &rule.traffic {
        Traffic::Any => &[][..],
        Traffic::Of(matches) => matches,
    });
    let names = matches.filter_map(|one| match one {
        TrafficMatch::Port { port: Port::Named(name), .. } => Some(name.as_str()),
        _ => None,
    });
    names.collect()
}

/// The policies that select the end, with only those specs, and with references resolved.
fn applying(policies: &PolicySet, end: &ConnectionEnd) -> Vec<Policy> {
    let resolved = policies.iter().filter_map(|policy| policies.resolved(&policy.id));
    let end = end.as_subject();
    let applying = resolved.filter_map(|policy| {
        let specs = policy.specs.iter().filter(|spec| spec.subject.selects(end.number, &end.labels));
        let specs: Vec<_> = specs.cloned().collect();
        (!specs.is_empty()).then(|| Policy { id: policy.id.clone(), specs })
    });
    applying.collect()
}

/// The verdict on a connection; none if the ends share no address of the family.
fn evaluate(
    [from, to]: [&ConnectionEnd; 2],
    [egress, ingress]: [&[Policy]; 2],
    policies: &PolicySet,
    query: &ConnectionQuery<'_>,
) -> Option<ConnectionVerdict> {
    let (source, destination) = (from.address(query.v4)?, to.address(query.v4)?);
    // References are resolved already.
    let catalog = Catalog::new();
    let context = Context { catalog: &catalog, mode: policies.mode() };
    let sides = [
        (Direction::Egress, (from, source), (to, destination), egress),
        (Direction::Ingress, (to, destination), (from, source), ingress),
    ];
    let mut judged = Vec::new();
    for (direction, (subject, own), (peer, other), policies) in sides {
        if subject.is_subject() {
            let (as_subject, as_peer) = (subject.as_subject(), peer.as_peer_of(subject));
            let (as_subject, as_peer) = (as_subject.known_at(own), as_peer.known_at(other));
            let (party, peer) = (as_subject.view(own), as_peer.view(other));
            let &ConnectionQuery { protocol, port, request, .. } = query;
            let query = Query { direction, subject: party, peer, protocol, port, request };
            let decision = model::verdict(policies, &context, &query);
            judged.push(Judged { direction, audit: subject.audit, decision });
        }
    }
    let verdict = worst(&judged);
    // For a single request, the other allowed requests do not matter.
    Some(if query.request.is_none() {
        verdict
    } else {
        ConnectionVerdict { requests: None, limits: Vec::new(), ..verdict }
    })
}

/// The verdict of one side.
struct Judged<'a> {
    direction: Direction,
    /// Whether its audit mode is on.
    audit: bool,
    decision: Decision<'a>,
}

impl Judged<'_> {
    fn verdict(&self) -> Verdict {
        if self.is_audited() { Verdict::Allow } else { self.decision.verdict }
    }

    /// Audit mode allows a connection that policy drops.
    fn is_audited(&self) -> bool {
        self.audit && self.decision.verdict == Verdict::Drop
    }

    fn ground(&self) -> String {
        let direction = if self.direction == Direction::Egress { "egress" } else { "ingress" };
        let audit = if self.is_audited() { " (allowed by audit mode)" } else { "" };
        match (self.decision.rule(), self.decision.basis) {
            (Some(rule), _) => format!("{direction}: {rule}{audit}"),
            (None, Basis::DefaultDeny | Basis::AlwaysDeny) => {
                format!("{direction}: no rule allows it{audit}")
            }
            (None, _) => format!("{direction}: nothing denies it"),
        }
    }
}

/// The verdict of both sides: the more restrictive one.
fn worst(sides: &[Judged<'_>]) -> ConnectionVerdict {
    let verdict = sides.iter().map(Judged::verdict).max().unwrap_or(Verdict::Allow);
    let mut deciding = sides.iter().filter(|one| one.verdict() == verdict);
    if verdict != Verdict::Allow {
        let by = deciding.next().map(Judged::ground).unwrap_or_default();
        return ConnectionVerdict { verdict: verdict.to_string(), requests: None, limits: Vec::new(), by };
    }
    let deciding = deciding.filter(|one| one.decision.rule().is_some() || one.is_audited());
    let by: Vec<String> = deciding.map(Judged::ground).collect();
    let by = if by.is_empty() { "nothing denies it".to_owned() } else { by.join("; ") };
    let requests = in_common(sides.iter().filter_map(|one| one.decision.allowed_requests()));
    let limits = sides.iter().filter_map(|one| one.decision.requests.as_ref());
    let limits = limits.map(|rules| rules.iter().map(|rule| (*rule).clone()).collect()).collect();
    ConnectionVerdict { verdict: verdict.to_string(), requests, limits, by }
}

/// Maximum number of named ports that are combined.
const MAX_NAMES: usize = 8;
/// Maximum number of pairs in a comparison of everything; these take some seconds.
const MAX_PAIRS: usize = 1_000_000;
/// Progress is shown once for this many sources.
const SHOWN_EVERY: usize = 16;
