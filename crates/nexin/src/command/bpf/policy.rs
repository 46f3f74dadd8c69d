//! `nexin bpf policy`: the policy rows of each workload, peers and rules by name.

use super::names::Names;
use super::place::Pins;
use super::rows::{traffic, verdict};
use crate::listing;
use crate::outcome::Outcome;
use crate::session::Session;
use abi::endpoint::flag;
use abi::policy::{ClassKey, Direction, VerdictKey};
use abi::row::Row as MapRow;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;

/// Show the policy rows of each workload: who is in which class, and what becomes of its packets
///
/// A verdict of `proxy` leaves the decision on each request to the node proxy. What no row is about is denied where that
/// direction is enforced.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin bpf policy\n  nexin bpf policy --pins /sys/fs/bpf/nexin/demo -o json"
)]
pub(super) struct Policy {
    #[command(flatten)]
    pins: Pins,
}

/// A verdict, as it is printed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Row {
    endpoint: String,
    policy: u32,
    direction: &'static str,
    class: u32,
    peers: Vec<String>,
    protocol: String,
    ports: String,
    verdict: &'static str,
    l7: u32,
    rule: String,
}

impl Policy {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let names = Names::ask(session);
        let rows = decode(&self.pins.open(session)?.rows()?, &names);
        let header = ["endpoint", "policy", "direction", "peers", "protocol", "ports", "verdict", "rule"];
        listing::print(session, &rows, header, |row| {
            [
                row.endpoint.clone(),
                row.policy.to_string(),
                row.direction.into(),
                row.peers.join(" "),
                row.protocol.clone(),
                row.ports.clone(),
                row.verdict.into(),
                row.rule.clone(),
            ]
        })
    }
}

/// The verdict rows of each endpoint, by endpoint; one line for a direction that nothing is enforced in.
fn decode(rows: &[MapRow], names: &Names) -> Vec<Row> {
    let classes = classes(rows, names);
    let mut decoded = Vec::new();
    for row in rows {
        let MapRow::Endpoint(_, endpoint) = row else { continue };
        let name = names.endpoint(endpoint.id);
        for (direction, enforces) in
            [(Direction::Ingress, flag::ENFORCE_INGRESS), (Direction::Egress, flag::ENFORCE_EGRESS)]
        {
            if endpoint.flags & enforces == 0 {
                decoded.push(Row::open(&name, endpoint.policy, direction));
                continue;
            }
            let verdicts = rows.iter().filter_map(|row| match row {
                MapRow::Verdict(key, info) => Some((key, info)),
                _ => None,
            });
            let of_this =
                |key: &VerdictKey| key.policy == endpoint.policy && key.direction == direction as u8;
            decoded.extend(verdicts.filter(|(key, _)| of_this(key)).map(|(key, info)| {
                let (protocol, ports) = traffic(key);
                Row {
                    endpoint: name.clone(),
                    policy: key.policy,
                    direction: word(direction),
                    class: key.class,
                    peers: peers(&classes, key),
                    protocol,
                    ports,
                    verdict: verdict(info.action),
                    l7: info.l7,
                    rule: names.rule(info.rule),
                }
            }));
        }
    }
    decoded.sort();
    decoded
}

/// The peers of each class of each policy.
fn classes(rows: &[MapRow], names: &Names) -> BTreeMap<(u32, u32), Vec<String>> {
    let mut classes: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for row in rows {
        let MapRow::Class(key, class) = row else { continue };
        classes.entry((key.policy, *class)).or_default().push(peer(key, names));
    }
    classes
}

fn peer(key: &ClassKey, names: &Names) -> String {
    let who = match key.peer {
        abi::identity::ANY_WORKLOAD => "any other workload".into(),
        number => names.identity(number),
    };
    if key.part == 0 { who } else { format!("{who} in part {}", key.part) }
}

fn peers(classes: &BTreeMap<(u32, u32), Vec<String>>, key: &VerdictKey) -> Vec<String> {
    match classes.get(&(key.policy, key.class)) {
        Some(peers) => peers.clone(),
        // Class 0 is of those that have no row.
        None => vec!["everyone else".into()],
    }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

impl Row {
    /// Everything may pass.
    fn open(endpoint: &str, policy: u32, direction: Direction) -> Self {
        Self {
            endpoint: endpoint.into(),
            policy,
            direction: word(direction),
            class: 0,
            peers: vec!["everyone".into()],
            protocol: "any".into(),
            ports: "any".into(),
            verdict: "allow",
            l7: 0,
            rule: "-".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::endpoint::{EndpointInfo, EndpointKey};
    use abi::policy::{VerdictInfo, action};

    #[test]
    fn verdicts_are_listed_by_endpoint_with_the_peers_of_their_class() {
        let flags = flag::ENFORCE_INGRESS;
        let key = |class| VerdictKey {
            prefix_bits: VerdictKey::ONE_PORT,
            policy: 5,
            class,
            direction: 0,
            protocol: 6,
            port: 80u16.to_be_bytes(),
        };
        let rows = [
            MapRow::Endpoint(
                EndpointKey { interface: 3 },
                EndpointInfo { id: 9, policy: 5, flags, ..Default::default() },
            ),
            MapRow::Class(ClassKey { policy: 5, peer: 257, part: 0 }, 1),
            MapRow::Class(ClassKey { policy: 5, peer: 1, part: 0 }, 1),
            MapRow::Verdict(key(1), VerdictInfo { action: action::REDIRECT, rule: 2, l7: 4 }),
            MapRow::Verdict(key(0), VerdictInfo { action: action::DENY, rule: 3, l7: 0 }),
        ];
        let decoded = decode(&rows, &Names::default());
        let lines: Vec<_> = decoded
            .iter()
            .map(|row| {
                format!(
                    "{} {} {} {} {}",
                    row.direction,
                    row.peers.join("+"),
                    row.ports,
                    row.verdict,
                    row.rule
                )
            })
            .collect();
        assert_eq!(
            lines,
            ["egress everyone any allow -", "ingress everyone else 80 deny 3", "ingress 257+host 80 proxy 2"]
        );
    }
}
