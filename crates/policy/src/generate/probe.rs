//! Random probes of a world; many are aimed at one of its rules, so that every construct decides on some.

use super::generated::{GeneratedEnd, GeneratedProbe, GeneratedWorld};
use super::random::Random;
use super::traffic::{PORTS, request, request_of};
use crate::catalog::Catalog;
use crate::model::{Context, RuleOutcome, verdict};
use crate::rule::{Direction, EnforcementMode, HttpRule, Policy, Port, Rule, Spec, Traffic, TrafficMatch};
use abi::identity::HOST;
use abi::protocol::{ICMP, ICMP6, SCTP, TCP, UDP};

/// A protocol without ports that no rule names.
const GRE: u8 = 47;

/// This many random probes of the world.
pub fn probes(world: &GeneratedWorld, seed: u64, count: usize) -> Vec<GeneratedProbe> {
    let mut random = Random::new(seed ^ 0x70_72_6f_62_65);
    let catalog = world.catalog();
    let probe = |_| {
        let aimed = random.chance(65).then(|| aimed(&mut random, world, &catalog)).flatten();
        aimed.unwrap_or_else(|| anything(&mut random, world))
    };
    (0..count).map(probe).collect()
}

fn anything(random: &mut Random, world: &GeneratedWorld) -> GeneratedProbe {
    let host = world.others.iter().position(|other| other.identity == HOST);
    let here = match host {
        Some(host) if random.chance(12) => GeneratedEnd::Other(host),
        _ => GeneratedEnd::Workload(random.below(world.workloads.len())),
    };
    let there = match random.chance(60) {
        true => GeneratedEnd::Workload(random.below(world.workloads.len())),
        false => GeneratedEnd::Other(random.below(world.others.len())),
    };
    let (from, to) = if random.chance(50) { (here, there) } else { (there, here) };
    let family = random.below(2);
    let protocol = random.pick(&[TCP, TCP, TCP, TCP, TCP, UDP, UDP, SCTP, GRE, [ICMP, ICMP6][family]]);
    let port = match protocol {
        ICMP => random.pick(&[8 << 8, 3 << 8 | 4, 0]),
        ICMP6 => random.pick(&[128 << 8, 2 << 8, 135 << 8]),
        GRE => 0,
        _ => random.pick(PORTS),
    };
    let request = (protocol == TCP && random.chance(50)).then(|| request(random));
    GeneratedProbe { from, to, family, protocol, port, request }
}

/// A probe that one of the rules matches; rules with HTTP rules are preferred. None if none is found.
fn aimed(random: &mut Random, world: &GeneratedWorld, catalog: &Catalog) -> Option<GeneratedProbe> {
    let rules = world.policies.iter().flat_map(|policy| {
        policy.specs.iter().flat_map(move |spec| spec.rules.iter().map(move |rule| (policy, spec, rule)))
    });
    let rules: Vec<(&Policy, &Spec, &Rule)> = rules.collect();
    let about_requests: Vec<_> =
        rules.iter().filter(|(.., rule)| http_rules(rule).is_some()).copied().collect();
    let rules = if random.chance(75) && !about_requests.is_empty() { about_requests } else { rules };
    if rules.is_empty() {
        return None;
    }
    let (policy, spec, rule) = random.pick(&rules);
    let alone = Spec { rules: vec![rule.clone()], ..spec.clone() };
    let alone = [Policy { id: policy.id.clone(), specs: vec![alone] }];
    // A few attempts hit most rules; a rule that selects no endpoint is never hit.
    let subjects: Vec<GeneratedEnd> = ends(world).filter(|end| selects(spec, world, *end)).collect();
    if subjects.is_empty() {
        return None;
    }
    let attempt = |_| {
        let subject = random.pick(&subjects);
        let probe = of_traffic(random, world, rule);
        let peer = if probe.from == subject { probe.to } else { probe.from };
        match rule.direction {
            Direction::Ingress => GeneratedProbe { from: peer, to: subject, ..probe },
            Direction::Egress => GeneratedProbe { from: subject, to: peer, ..probe },
        }
    };
    let attempts: Vec<GeneratedProbe> = (0..16).map(attempt).collect();
    let decides_on = |policies: &[Policy], probe: &GeneratedProbe| {
        decides(world, (policies, catalog), rule.direction, probe, http_rules(rule).is_some())
    };
    // The best probe still depends on requests when all rules apply.
    let hit = attempts.iter().find(|probe| decides_on(&world.policies, probe) && decides_on(&alone, probe));
    let hit = hit.or_else(|| attempts.iter().find(|probe| decides_on(&alone, probe)))?.clone();
    let http = http_rules(rule).filter(|rules| !rules.is_empty() && hit.protocol == TCP);
    let request = http.map(|rules| {
        let at = random.below(rules.len());
        request_of(random, &rules[at])
    });
    Some(GeneratedProbe { request: request.or(hit.request.clone()), ..hit })
}

fn ends(world: &GeneratedWorld) -> impl Iterator<Item = GeneratedEnd> {
    (0..world.workloads.len())
        .map(GeneratedEnd::Workload)
        .chain((0..world.others.len()).map(GeneratedEnd::Other))
}

fn selects(spec: &Spec, world: &GeneratedWorld, end: GeneratedEnd) -> bool {
    let party = world.view(end, 0);
    let is_here = matches!(end, GeneratedEnd::Workload(_)) || party.number == HOST;
    is_here && spec.subject.selects(party.number, party.labels)
}

/// A probe with traffic of the rule, between any ends.
fn of_traffic(random: &mut Random, world: &GeneratedWorld, rule: &Rule) -> GeneratedProbe {
    let probe = anything(random, world);
    let Traffic::Of(matches) = &rule.traffic else { return probe };
    if matches.is_empty() {
        return probe;
    }
    match &matches[random.below(matches.len())] {
        TrafficMatch::Icmp { family, kind } => {
            let (family, protocol) = (usize::from(*family as u8), family.icmp());
            GeneratedProbe { family, protocol, port: u16::from(*kind) << 8, request: None, ..probe }
        }
        TrafficMatch::Port { protocol, port, http } => {
            let number = if http.is_some() { 6 } else { random.pick(protocol.numbers()) };
            let port = match port {
                Port::Any => random.pick(PORTS),
                Port::Range(first, last) => random.pick(&[*first, *last]),
                Port::Named(_) => random.pick(&[80, 443, 8080]),
            };
            let request = probe.request.filter(|_| number == TCP);
            GeneratedProbe { protocol: number, port, request, ..probe }
        }
    }
}

/// Whether a rule of these policies decides on the connection or passes it, and whether the decision depends on the
/// request if it should.
fn decides(
    world: &GeneratedWorld,
    (policies, catalog): (&[Policy], &Catalog),
    direction: Direction,
    probe: &GeneratedProbe,
    by_request: bool,
) -> bool {
    let context = Context { catalog, mode: EnforcementMode::Default };
    let decision = verdict(policies, &context, &world.query(probe, direction));
    let has_effect = decision.considered.iter().any(|one| one.outcome >= RuleOutcome::Passes);
    has_effect && (!by_request || decision.requests.is_some())
}

/// The HTTP rules of the first part of the rule's traffic that has some.
fn http_rules(rule: &Rule) -> Option<&[HttpRule]> {
    let Traffic::Of(matches) = &rule.traffic else { return None };
    matches.iter().find_map(|one| match one {
        TrafficMatch::Port { http, .. } => http.as_deref(),
        TrafficMatch::Icmp { .. } => None,
    })
}
