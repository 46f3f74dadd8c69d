//! `nexin bpf ct`: the entries of the conntrack maps.

use super::names::Names;
use super::place::Pins;
use super::rows::protocol_name;
use crate::listing;
use crate::outcome::Outcome;
use crate::session::Session;
use abi::conntrack::{ConnInfo, ConnKey, flag};
use abi::map::MapId;
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::net::SocketAddr;

/// Show conntrack entries, with the policy and the rule that allowed each
///
/// Each entry belongs to a workload; a connection between two workloads of the node has two entries.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin bpf ct\n  nexin bpf ct --expired -o json")]
pub(super) struct Connections {
    /// Show expired entries, too
    #[arg(long)]
    expired: bool,
    #[command(flatten)]
    pins: Pins,
}

/// A conntrack entry, as it is printed.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    workload: String,
    remote: String,
    protocol: String,
    opened_by: &'static str,
    state: String,
    service: Option<String>,
    policy: u32,
    rule: String,
    packets_out: u32,
    packets_in: u32,
    bytes_out: u64,
    bytes_in: u64,
    expires_in_seconds: i64,
}

impl Connections {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let names = Names::load(session);
        let now = clock_gettime(ClockId::Monotonic).tv_sec;
        let connections = self.pins.open(session, &[MapId::Conntrack, MapId::Openings])?.connections()?;
        let mut rows: Vec<Row> = connections
            .iter()
            .map(|(key, info)| Row::new(key, info, &names, now))
            .filter(|row| self.expired || row.expires_in_seconds > 0)
            .collect();
        rows.sort_by(|one, other| (&one.workload, &one.remote).cmp(&(&other.workload, &other.remote)));
        let header =
            ["workload", "remote", "protocol", "opened by", "state", "service", "packets", "expires", "rule"];
        listing::print(session, &rows, header, |row| {
            [
                row.workload.clone(),
                row.remote.clone(),
                row.protocol.clone(),
                row.opened_by.into(),
                row.state.clone(),
                row.service.clone().unwrap_or_else(|| "-".into()),
                format!("{} out, {} in", row.packets_out, row.packets_in),
                format!("{} s", row.expires_in_seconds),
                row.rule.clone(),
            ]
        })
    }
}

impl Row {
    fn new(key: &ConnKey, info: &ConnInfo, names: &Names, now: i64) -> Self {
        let is = |flag| info.flags & flag != 0;
        Self {
            workload: names.socket(key.local, key.local_port),
            remote: names.socket(key.remote, key.remote_port),
            protocol: protocol_name(key.protocol),
            opened_by: match info.flags & (flag::TAKEN_UP | flag::LOCAL_OPENED) {
                flag::LOCAL_OPENED => "workload",
                0 => "remote",
                _ => "unknown",
            },
            state: state(info.flags),
            service: is(flag::TRANSLATED).then(|| {
                SocketAddr::new(info.untranslated.into(), u16::from_be_bytes(info.untranslated_port))
                    .to_string()
            }),
            policy: info.policy,
            rule: names.rule(info.rule),
            packets_out: info.packets_out,
            packets_in: info.packets_in,
            bytes_out: info.bytes_out,
            bytes_in: info.bytes_in,
            expires_in_seconds: i64::from(info.expires) - now,
        }
    }
}

/// The state of a connection, and whether it passes the proxy.
fn state(flags: u32) -> String {
    let is = |flag| flags & flag != 0;
    let stage = if is(flag::RESET) {
        "reset"
    } else if is(flag::LOCAL_CLOSED) && is(flag::REMOTE_CLOSED) {
        "closed"
    } else if is(flag::LOCAL_CLOSED) || is(flag::REMOTE_CLOSED) {
        "closing"
    } else if is(flag::ANSWERED) {
        "established"
    } else {
        "opening"
    };
    if is(flag::PROXIED) { format!("{stage}, proxied") } else { stage.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::Address;
    use std::net::IpAddr;

    #[test]
    fn a_conntrack_entry_is_decoded() {
        let key = ConnKey {
            local: Address::from_v4([10, 0, 0, 2]),
            remote: Address::from("fd00::1".parse::<IpAddr>().unwrap()),
            local_port: 40_000u16.to_be_bytes(),
            remote_port: 80u16.to_be_bytes(),
            protocol: 6,
            padding: [0; 3],
        };
        let info = ConnInfo {
            expires: 160,
            flags: flag::LOCAL_OPENED | flag::ANSWERED | flag::TRANSLATED | flag::PROXIED,
            untranslated: Address::from_v4([10, 96, 0, 1]),
            untranslated_port: 80u16.to_be_bytes(),
            rule: 7,
            packets_out: 3,
            ..ConnInfo::default()
        };
        let row = Row::new(&key, &info, &Names::default(), 100);
        assert_eq!(row.workload, "10.0.0.2:40000");
        assert_eq!(row.remote, "[fd00::1]:80");
        assert_eq!((row.opened_by, row.state.as_str()), ("workload", "established, proxied"));
        assert_eq!(row.service.as_deref(), Some("10.96.0.1:80"));
        assert_eq!((row.rule.as_str(), row.expires_in_seconds), ("7", 60));
    }
}
