//! All traffic, split into ranges of ports that no rule distinguishes further.

use abi::protocol::{self, ICMP, ICMP6, SCTP, TCP, UDP};
use policy::endpoint_view::NamedPorts;
use policy::rule::{Family, Policy, Port, Traffic, TrafficMatch};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Ports of a protocol, or types of ICMP, that every rule treats alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TrafficRange {
    /// IP protocol number.
    pub(super) protocol: u8,
    pub(super) first: u16,
    pub(super) last: u16,
}

impl TrafficRange {
    /// A port of the range, for a query.
    pub(super) fn port(&self) -> u16 {
        if protocol::is_icmp(self.protocol) { self.first << 8 } else { self.first }
    }
}

/// All traffic of a family, in as few ranges as the rules allow. `receivers` are the named ports of the destinations.
pub(super) fn ranges<'a>(
    policies: impl Iterator<Item = &'a Policy>,
    receivers: &[&NamedPorts],
    v4: bool,
) -> Vec<TrafficRange> {
    let icmp = if v4 { Family::Ipv4 } else { Family::Ipv6 }.icmp();
    let mut cuts: BTreeMap<u8, BTreeSet<u32>> =
        [TCP, UDP, SCTP, icmp].map(|number| (number, BTreeSet::new())).into();
    let mut cut = |protocol: u8, first: u16, last: u16| {
        if let Some(cuts) = cuts.get_mut(&protocol) {
            cuts.extend([u32::from(first), u32::from(last) + 1]);
        }
    };
    for rule in policies.flat_map(|policy| &policy.specs).flat_map(|spec| &spec.rules) {
        let Traffic::Of(matches) = &rule.traffic else { continue };
        for one in matches {
            match one {
                TrafficMatch::Icmp { family, kind } => cut(family.icmp(), u16::from(*kind), u16::from(*kind)),
                TrafficMatch::Port { port: Port::Any, .. } => {}
                TrafficMatch::Port { protocol, port: Port::Range(first, last), .. } => {
                    protocol.numbers().iter().for_each(|number| cut(*number, *first, *last));
                }
                TrafficMatch::Port { protocol, port: Port::Named(name), .. } => {
                    let known = receivers.iter().flat_map(|ports| ports.resolve(name, *protocol));
                    known.for_each(|(number, port)| cut(number, port, port));
                }
            }
        }
    }
    cuts.into_iter().flat_map(|(protocol, cuts)| between(protocol, cuts)).collect()
}

/// All ports of a protocol, or all types of ICMP.
fn all(protocol: u8) -> RangeInclusive<u16> {
    if matches!(protocol, 1 | 58) { 0..=255 } else { 1..=u16::MAX }
}

fn between(protocol: u8, cuts: BTreeSet<u32>) -> Vec<TrafficRange> {
    let (start, end) = all(protocol).into_inner();
    let inner = cuts.into_iter().filter_map(|cut| u16::try_from(cut).ok());
    let inner = inner.filter(|cut| (start..=end).contains(cut) && *cut > start);
    let starts: Vec<u16> = [start].into_iter().chain(inner).collect();
    let lasts = starts[1..].iter().map(|next| next - 1).chain([end]);
    starts.iter().zip(lasts).map(|(&first, last)| TrafficRange { protocol, first, last }).collect()
}

/// Names of ports with generated numbers.
pub(super) type PortNames = BTreeMap<u16, String>;

/// The ranges as text, with neighbours joined: `80/TCP`, `every UDP port`, `anything but 8080/TCP`.
pub(super) fn words(ranges: &BTreeSet<TrafficRange>, names: &PortNames) -> Vec<String> {
    let named = joined(ranges);
    let rest = rest(ranges);
    let list =
        |ranges: &[TrafficRange]| ranges.iter().map(|range| word(range, names)).collect::<Vec<String>>();
    match rest.len() {
        0 => vec!["anything".to_owned()],
        few if few < named.len() => vec![format!("anything but {}", list(&rest).join(" and "))],
        _ => list(&named),
    }
}

/// The ranges with neighbours joined, TCP first and ICMP last.
fn joined(ranges: &BTreeSet<TrafficRange>) -> Vec<TrafficRange> {
    let mut joined: Vec<TrafficRange> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last)
                if last.protocol == range.protocol && u32::from(last.last) + 1 == u32::from(range.first) =>
            {
                last.last = range.last;
            }
            _ => joined.push(*range),
        }
    }
    joined.sort_by_key(|range| ORDER.iter().position(|protocol| *protocol == range.protocol));
    joined
}

/// All traffic except these ranges. Of ICMP and ICMPv6 only protocols that occur in the ranges count, or ICMP if
/// neither occurs.
fn rest(ranges: &BTreeSet<TrafficRange>) -> Vec<TrafficRange> {
    let is_there = |protocol: u8| ranges.iter().any(|range| range.protocol == protocol);
    let icmp = if is_there(58) && !is_there(1) { 58 } else { 1 };
    let protocols = ORDER.into_iter().filter(|one| !matches!(one, 1 | 58) || *one == icmp || is_there(*one));
    let gaps = protocols.flat_map(|protocol| {
        let own: Vec<&TrafficRange> = ranges.iter().filter(|range| range.protocol == protocol).collect();
        let (mut next, end) = (u32::from(*all(protocol).start()), *all(protocol).end());
        let mut gaps = Vec::new();
        for range in own {
            if next < u32::from(range.first) {
                gaps.push(TrafficRange { protocol, first: next as u16, last: range.first - 1 });
            }
            next = u32::from(range.last) + 1;
        }
        if next <= u32::from(end) {
            gaps.push(TrafficRange { protocol, first: next as u16, last: end });
        }
        gaps
    });
    gaps.collect()
}

fn word(range: &TrafficRange, names: &PortNames) -> String {
    let is_whole = all(range.protocol) == (range.first..=range.last);
    let name = agent::explain::protocol_name(range.protocol);
    let is_icmp = protocol::is_icmp(range.protocol);
    let ports = match (range.first == range.last, names.get(&range.first)) {
        (true, Some(name)) if !is_icmp => name.clone(),
        (true, _) => range.first.to_string(),
        (false, _) => format!("{}-{}", range.first, range.last),
    };
    match (is_icmp, is_whole) {
        (true, true) => format!("all {name}"),
        (true, false) => format!("{name} type {ports}"),
        (false, true) => format!("every {name} port"),
        (false, false) => format!("{ports}/{name}"),
    }
}

/// The protocols in printed order.
const ORDER: [u8; 5] = [TCP, UDP, SCTP, ICMP, ICMP6];

#[cfg(test)]
mod tests {
    use super::*;
    use policy::catalog::Catalog;
    use policy::generate;
    use policy::model::{self, Context, Query};
    use policy::rule::{Direction, EnforcementMode};

    #[test]
    fn ranges_are_split_at_the_boundaries_of_rules() {
        let ranges = between(6, BTreeSet::from([80, 81, 443, 65_536]));
        let ranges: Vec<_> = ranges.iter().map(|range| (range.first, range.last)).collect();
        assert_eq!(ranges, [(1, 79), (80, 80), (81, 442), (443, 65_535)]);
        assert_eq!(between(1, BTreeSet::from([8, 9])).len(), 3);
        assert_eq!(between(17, BTreeSet::new()), [TrafficRange { protocol: 17, first: 1, last: u16::MAX }]);
    }

    #[test]
    fn neighbours_are_joined_and_whole_protocols_have_names() {
        let tcp = |first, last| TrafficRange { protocol: 6, first, last };
        assert_eq!(words(&[tcp(80, 80), tcp(81, 90)].into(), &PortNames::new()), ["80-90/TCP"]);
        assert_eq!(words(&[tcp(1, 79), tcp(80, u16::MAX)].into(), &PortNames::new()), ["every TCP port"]);
        assert_eq!(words(&[tcp(80, 80), tcp(443, 443)].into(), &PortNames::new()), ["80/TCP", "443/TCP"]);
        let whole =
            |protocol| TrafficRange { protocol, first: *all(protocol).start(), last: *all(protocol).end() };
        assert_eq!(words(&[6, 17, 132, 58].map(whole).into(), &PortNames::new()), ["anything"]);
        assert_eq!(words(&[whole(1)].into(), &PortNames::new()), ["all ICMP"]);
        let but = [tcp(1, 79), tcp(81, u16::MAX), whole(17), whole(132), whole(1)];
        assert_eq!(words(&but.into(), &PortNames::new()), ["anything but 80/TCP"]);
        assert_eq!(
            words(&[whole(17), whole(6), whole(132)].into(), &PortNames::new()),
            ["anything but all ICMP"]
        );
        assert_eq!(words(&[whole(17), tcp(80, 80)].into(), &PortNames::new()), ["80/TCP", "every UDP port"]);
        let names = PortNames::from([(60_001, "http".to_owned())]);
        assert_eq!(
            words(&[tcp(60_001, 60_001), tcp(60_003, 60_004)].into(), &names),
            ["http/TCP", "60003-60004/TCP"]
        );
    }

    #[test]
    fn no_rule_distinguishes_the_ports_of_a_range() {
        let mut compared = 0;
        for seed in 0..60 {
            let world = generate::world(seed);
            for probe in generate::probes(&world, seed, 60) {
                let receiver = world.view(probe.to, probe.family);
                let ranges = ranges(world.policies.iter(), &[receiver.ports], probe.family == 0);
                let kind = if matches!(probe.protocol, 1 | 58) { probe.port >> 8 } else { probe.port };
                let holds = |range: &&TrafficRange| {
                    range.protocol == probe.protocol && (range.first..=range.last).contains(&kind)
                };
                let Some(range) = ranges.iter().find(holds) else { continue };
                for direction in [Direction::Egress, Direction::Ingress] {
                    let [own, chosen] = [probe.port, range.port()].map(|port| {
                        let query = Query { port, ..world.query(&probe, direction) };
                        let context = Context { catalog: &Catalog::new(), mode: EnforcementMode::Default };
                        let decision = model::verdict(&world.policies, &context, &query);
                        (decision.verdict, decision.allowed_requests())
                    });
                    assert_eq!(own, chosen, "seed {seed}, {probe:?}, {range:?}");
                    compared += usize::from(probe.port != range.port());
                }
            }
        }
        assert!(compared > 500, "{compared}");
    }
}
