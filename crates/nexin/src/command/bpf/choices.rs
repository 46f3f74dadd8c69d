//! `nexin bpf choices`: the backend of each flow to a service.

use super::names::Names;
use super::place::Pins;
use super::rows::protocol_name;
use crate::listing;
use crate::outcome::Outcome;
use crate::session::Session;
use abi::map::{self, MapId};
use abi::service::{ChoiceInfo, ChoiceKey, choice_flag};
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::net::SocketAddr;

/// Show the backend that was chosen for each flow to a service
///
/// A flow keeps its backend until the entry expires. A new connection or a datagram leaves a backend set that is no longer the
/// service's.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin bpf choices\n  nexin bpf choices --expired -o json")]
pub(super) struct Choices {
    /// Show expired entries, too
    #[arg(long)]
    expired: bool,
    #[command(flatten)]
    pins: Pins,
}

/// The choice for a flow, as it is printed.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    client: String,
    service: Option<String>,
    frontend: String,
    protocol: String,
    backend: String,
    backend_set: u32,
    state: &'static str,
    expires_in_seconds: i64,
}

impl Choices {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let names = Names::load(session);
        let now = clock_gettime(ClockId::Monotonic).tv_sec;
        let choices = self.pins.open(session, &[MapId::Choices])?.entries(map::Choices)?;
        let mut rows: Vec<Row> = choices
            .iter()
            .map(|(key, info)| Row::new(key, info, &names, now))
            .filter(|row| self.expired || row.expires_in_seconds > 0)
            .collect();
        rows.sort_by(|one, other| (&one.client, &one.frontend).cmp(&(&other.client, &other.frontend)));
        let header = ["client", "service", "frontend", "protocol", "backend", "state", "expires"];
        listing::print(session, &rows, header, |row| {
            [
                row.client.clone(),
                row.service.clone().unwrap_or_else(|| "-".into()),
                row.frontend.clone(),
                row.protocol.clone(),
                row.backend.clone(),
                row.state.into(),
                format!("{} s", row.expires_in_seconds),
            ]
        })
    }
}

impl Row {
    fn new(key: &ChoiceKey, info: &ChoiceInfo, names: &Names, now: i64) -> Self {
        let frontend = SocketAddr::new(key.service.into(), u16::from_be_bytes(key.service_port)).to_string();
        let protocol = protocol_name(key.protocol);
        Self {
            client: names.socket(key.client, key.client_port),
            service: names.service(&format!("{frontend}/{protocol}")).map(str::to_owned),
            frontend,
            protocol,
            backend: names.socket(info.backend.address, info.backend.port),
            backend_set: info.backends,
            state: if info.flags & choice_flag::CLOSED == 0 { "open" } else { "closed" },
            expires_in_seconds: i64::from(info.expires) - now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::Address;
    use abi::service::BackendInfo;

    #[test]
    fn a_choice_is_decoded() {
        let key = ChoiceKey {
            client: Address::from_v4([10, 0, 0, 2]),
            service: Address::from_v4([10, 96, 0, 1]),
            client_port: 40_000u16.to_be_bytes(),
            service_port: 80u16.to_be_bytes(),
            protocol: 6,
            padding: [0; 3],
        };
        let backend = BackendInfo {
            address: "fd00::1".parse::<std::net::IpAddr>().unwrap().into(),
            port: 8080u16.to_be_bytes(),
            padding: [0; 2],
        };
        let info = ChoiceInfo { backend, backends: 7, expires: 160, flags: choice_flag::CLOSED };
        let names = Names::of_services([("10.96.0.1:80/TCP", "shop/web")]);
        let expected = Row {
            client: "10.0.0.2:40000".into(),
            service: Some("shop/web".into()),
            frontend: "10.96.0.1:80".into(),
            protocol: "TCP".into(),
            backend: "[fd00::1]:8080".into(),
            backend_set: 7,
            state: "closed",
            expires_in_seconds: 60,
        };
        assert_eq!(Row::new(&key, &info, &names, 100), expected);
        assert_eq!(Row::new(&key, &info, &Names::default(), 100).service, None);
    }
}
