//! Recorded flows, as `nexin observe -o json` prints them, as connections to compare.

use super::change::Difference;
use super::end_group::labels;
use super::judge::{self, ConnectionQuery};
use crate::command::policy::count::count;
use crate::command::policy::scenario::Scenario;
use crate::outcome::BadInput;
use abi::identity::is_workload;
use abi::protocol;
use agent::explain::{ConnectionEnd, Inventory, protocol_name};
use flow::{Flow, FlowEndpoint, IpVersion, Layer4, LostEvents};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

/// A recorded connection or request; equal ones are compared once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RecordedConnection {
    from: String,
    to: String,
    protocol: u8,
    port: u16,
    v4: bool,
    /// Method, path and host.
    request: Option<[String; 3]>,
}

/// The differences for the flows of a file, and a summary.
pub(super) fn compare(worlds: &[Scenario; 2], path: &Path) -> anyhow::Result<(Vec<Difference>, String)> {
    let mut seen = BTreeMap::<RecordedConnection, ([ConnectionEnd; 2], usize)>::new();
    let mut flows = 0;
    let text = read(path)?;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let flow = parse(line).map_err(|error| {
            let (name, number) = (name(path), number + 1);
            BadInput(format!("{name}:{number}: not a flow as `nexin observe -o json` prints it: {error}"))
        })?;
        let Some(flow) = flow.filter(|flow| !flow.is_reply) else { continue };
        flows += 1;
        let Some((protocol, port)) = destination(&flow.l4) else { continue };
        let ends = [(&flow.source, flow.ip.source), (&flow.destination, flow.ip.destination)];
        let ends = ends.map(|(endpoint, address)| end(worlds, endpoint, address));
        let connection = RecordedConnection {
            from: ends[0].name.clone(),
            to: ends[1].name.clone(),
            protocol,
            port,
            v4: flow.ip.version == IpVersion::V4,
            request: flow.l7.as_ref().map(|l7| request(&l7.http)),
        };
        seen.entry(connection).or_insert((ends, 0)).1 += 1;
    }
    let differences = seen.iter().filter_map(|(seen, (ends, flows))| {
        let request = seen.request.as_ref().map(|[method, path, host]| l7::RequestView {
            method,
            path,
            host,
            headers: &[],
        });
        let query = ConnectionQuery { protocol: seen.protocol, port: seen.port, v4: seen.v4, request };
        let change = judge::change(worlds, ends.each_ref(), &query)?;
        Some(Difference::of_flows(ends.each_ref().map(|end| end.name.clone()), traffic(seen), change, *flows))
    });
    let differences: Vec<Difference> = differences.collect();
    let changed: usize = differences.iter().map(Difference::flows).sum();
    let (flows, distinct) = (count(flows, "flow"), count(seen.len(), "distinct connection"));
    let query = match changed {
        0 => format!("{flows}, {distinct}"),
        changed => format!("{changed} of {flows}; {distinct}"),
    };
    Ok((differences, query))
}

/// Parses a flow, also in Hubble's envelope `{"flow":{...}}`; none where the line is a gap, `{"lost_events":{...}}`.
fn parse(line: &str) -> serde_json::Result<Option<Flow>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Enveloped {
        Flow { flow: Box<Flow> },
        Gap { lost_events: LostEvents },
    }
    match serde_json::from_str(line) {
        Ok(flow) => Ok(Some(flow)),
        Err(error) => match serde_json::from_str(line) {
            Ok(Enveloped::Flow { flow }) => Ok(Some(*flow)),
            Ok(Enveloped::Gap { lost_events: LostEvents { .. } }) => Ok(None),
            Err(_) => Err(error),
        },
    }
}

/// The name of a file for messages.
fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "<stdin>".to_owned() } else { path.display().to_string() }
}

fn read(path: &Path) -> Result<String, BadInput> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        fs::read_to_string(path).map(|found| text = found)
    };
    read.map_err(|error| BadInput(format!("{}: {error}", name(path))))?;
    Ok(text)
}

/// The end of a recorded flow, with the labels and address of that time. Named ports come from the files.
fn end(worlds: &[Scenario; 2], endpoint: &FlowEndpoint, address: IpAddr) -> ConnectionEnd {
    let name = match (&endpoint.namespace, &endpoint.pod_name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        _ => address.to_string(),
    };
    let ports = worlds.iter().rev().find_map(|world| Some(world.named(&name)?.ports)).unwrap_or_default();
    let is_one = is_workload(endpoint.identity) && endpoint.pod_name.is_some();
    let end = ConnectionEnd::new(&name, endpoint.identity, labels(&endpoint.labels));
    ConnectionEnd { ports, addresses: vec![address], is_one, ..end }
}

/// Protocol and port of a connection; for ICMP, type and code.
fn destination(l4: &Layer4) -> Option<(u8, u16)> {
    let icmp = |kind: u8, code: u8| u16::from_be_bytes([kind, code]);
    Some(match l4 {
        Layer4::Tcp(segment) => (protocol::TCP, segment.ports.destination_port),
        Layer4::Udp(ports) => (protocol::UDP, ports.destination_port),
        Layer4::Sctp(ports) => (protocol::SCTP, ports.destination_port),
        Layer4::Icmp4(message) => (protocol::ICMP, icmp(message.kind, message.code)),
        Layer4::Icmp6(message) => (protocol::ICMP6, icmp(message.kind, message.code)),
        Layer4::Other(_) => return None,
    })
}

/// Method, path and host of a request whose URL is `http://host/path`, or the path alone.
fn request(http: &flow::Http) -> [String; 3] {
    let bare = http.url.split_once("://").map_or("", |(_, rest)| rest);
    let (host, path) = match bare.find('/') {
        Some(at) => (&bare[..at], &bare[at..]),
        None if bare.is_empty() => ("", http.url.as_str()),
        None => (bare, "/"),
    };
    [http.method.clone(), path.to_owned(), host.to_owned()]
}

fn traffic(seen: &RecordedConnection) -> String {
    let name = protocol_name(seen.protocol);
    let what = match seen.protocol {
        number if protocol::is_icmp(number) => format!("{name} type {}", seen.port >> 8),
        _ => format!("{}/{name}", seen.port),
    };
    match &seen.request {
        Some([method, path, _]) => format!("{what} {method} {path}"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_flows_is_no_error() {
        let gap = r#"{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"7"},"time":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(parse(gap).unwrap(), None);
        assert!(parse(r#"{"lost_events":7}"#).is_err());
    }
}
