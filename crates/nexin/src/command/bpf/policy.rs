//! `nexin bpf policy`: the entries of the policy maps for each workload, with names of peers and rules.

use super::names::Names;
use super::place::Pins;
use super::rows::{traffic, verdict};
use crate::listing;
use crate::outcome::Outcome;
use crate::session::Session;
use abi::endpoint::{EndpointInfo, flag};
use abi::map::{MapId, Writer};
use abi::policy::{
    ClassKey, ColumnKey, Direction, GROUP_OF_OTHERS, GROUP_OF_WORKLOADS, VerdictInfo, VerdictKey,
    WHOLE_INSIDE, WHOLE_WORLD,
};
use abi::row::Row as MapRow;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;

/// Show the policy entries of each workload: peers, ports, verdict and rule
///
/// Traffic with the verdict `proxy` is redirected to the node proxy, which decides on each request. Without an entry,
/// traffic in an enforced direction is denied.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexin bpf policy\n  nexin bpf policy --pins /sys/fs/bpf/nexin/demo -o json"
)]
pub(super) struct PolicyEntries {
    #[command(flatten)]
    pins: Pins,
}

/// A policy entry, as it is printed.
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

impl PolicyEntries {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let names = Names::load(session);
        let maps = MapId::ALL.iter().copied().filter(|map| map.writer() == Writer::Control);
        let maps = self.pins.open(session, &maps.collect::<Vec<_>>())?;
        let rows = decode(&maps.rows()?, &names);
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

/// The policy entries, by key.
#[derive(Debug, Default)]
struct Tables<'a> {
    /// Peers by grouping and group.
    members: BTreeMap<(u32, u32), Vec<u32>>,
    /// The columns of each policy, each with whether it covers all addresses of its side.
    columns: BTreeMap<u32, BTreeMap<u32, bool>>,
    /// Groups and their classes, by column.
    classes: BTreeMap<u32, Vec<(u32, u32)>>,
    verdicts: BTreeMap<u32, Vec<(&'a VerdictKey, &'a VerdictInfo)>>,
    /// The identities of peers.
    identities: BTreeMap<u32, u32>,
}

/// The verdict entries of each endpoint; a direction that is not enforced has a single row.
fn decode(rows: &[MapRow], names: &Names) -> Vec<Row> {
    let tables = Tables::new(rows);
    let mut decoded = Vec::new();
    for row in rows {
        let MapRow::Endpoint(_, endpoint) = row else { continue };
        let name = names.endpoint(endpoint.id);
        let classes = tables.peers(endpoint, names);
        for (direction, enforces) in
            [(Direction::Ingress, flag::ENFORCE_INGRESS), (Direction::Egress, flag::ENFORCE_EGRESS)]
        {
            if endpoint.flags & enforces == 0 {
                decoded.push(Row::open(&name, endpoint.policy, direction));
                continue;
            }
            for (class, peers) in &classes {
                let verdicts = tables.verdicts.get(class).into_iter().flatten();
                let verdicts = verdicts.filter(|(key, _)| key.direction == direction as u8);
                decoded.extend(verdicts.map(|(key, info)| {
                    let (protocol, ports) = traffic(key);
                    Row {
                        endpoint: name.clone(),
                        policy: endpoint.policy,
                        direction: word(direction),
                        class: *class,
                        peers: peers.clone(),
                        protocol,
                        ports,
                        verdict: verdict(info.action),
                        l7: info.l7,
                        rule: names.rule(info.rule),
                    }
                }));
            }
        }
    }
    decoded.sort();
    decoded
}

impl<'a> Tables<'a> {
    fn new(rows: &'a [MapRow]) -> Self {
        let mut tables = Self::default();
        for row in rows {
            match row {
                MapRow::Group(key, group) => {
                    tables.members.entry((key.grouping, *group)).or_default().push(key.peer);
                }
                MapRow::Column(ColumnKey { policy, cidr }, column) => {
                    let columns = tables.columns.entry(*policy).or_default();
                    *columns.entry(*column).or_default() |= matches!(*cidr, WHOLE_INSIDE | WHOLE_WORLD);
                }
                MapRow::Class(ClassKey { column, group }, class) => {
                    tables.classes.entry(*column).or_default().push((*group, *class));
                }
                MapRow::Verdict(key, info) => {
                    tables.verdicts.entry(key.class).or_default().push((key, info));
                }
                MapRow::Address(_, info) => _ = tables.identities.insert(info.peer, info.identity),
                _ => {}
            }
        }
        tables
    }

    /// The classes of an endpoint's policy, each with its peers.
    fn peers(&self, endpoint: &EndpointInfo, names: &Names) -> BTreeMap<u32, Vec<String>> {
        let mut peers: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (column, covers_all) in self.columns.get(&endpoint.policy).into_iter().flatten() {
            for (group, class) in self.classes.get(column).into_iter().flatten() {
                let of_class = peers.entry(*class).or_default();
                let of_group = self.of_group(endpoint.grouping.number(), *group, names);
                of_class.extend(of_group.map(|peer| match covers_all {
                    true => peer,
                    false => format!("{peer} in column {column}"),
                }));
            }
        }
        peers.values_mut().for_each(|peers| peers.sort());
        peers
    }

    fn of_group(&self, grouping: u32, group: u32, names: &Names) -> impl Iterator<Item = String> {
        let others = match group {
            GROUP_OF_OTHERS => Some("all other peers".to_owned()),
            GROUP_OF_WORKLOADS => Some("any other workload".to_owned()),
            _ => None,
        };
        let members = self.members.get(&(grouping, group)).into_iter().flatten();
        let identity = |peer: &u32| names.identity(self.identities.get(peer).copied().unwrap_or(*peer));
        members.map(identity).chain(others)
    }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

impl Row {
    /// The row of a direction that is not enforced.
    fn open(endpoint: &str, policy: u32, direction: Direction) -> Self {
        Self {
            endpoint: endpoint.into(),
            policy,
            direction: word(direction),
            class: 0,
            peers: vec!["all peers".into()],
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
    use abi::endpoint::EndpointKey;
    use abi::policy::{GroupKey, action};

    #[test]
    fn verdicts_are_listed_by_endpoint_with_the_peers_of_their_class() {
        let flags = flag::ENFORCE_INGRESS;
        let key = |class| VerdictKey {
            prefix_bits: VerdictKey::ONE_PORT,
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
            MapRow::Group(GroupKey { grouping: 0, peer: 257 }, 6),
            MapRow::Group(GroupKey { grouping: 0, peer: 1 }, 7),
            MapRow::Column(ColumnKey { policy: 5, cidr: WHOLE_INSIDE }, 8),
            MapRow::Class(ClassKey { column: 8, group: 6 }, 1),
            MapRow::Class(ClassKey { column: 8, group: 7 }, 1),
            MapRow::Class(ClassKey { column: 8, group: GROUP_OF_OTHERS }, 2),
            MapRow::Verdict(key(1), VerdictInfo { action: action::REDIRECT, rule: 2, l7: 4 }),
            MapRow::Verdict(key(2), VerdictInfo { action: action::DENY, rule: 3, l7: 0 }),
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
            [
                "egress all peers any allow -",
                "ingress 257+host 80 proxy 2",
                "ingress all other peers 80 deny 3"
            ]
        );
    }
}
