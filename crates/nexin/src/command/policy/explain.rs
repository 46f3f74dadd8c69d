//! `nexin policy explain`: what policy says of a connection or request, and which rules say so.

use crate::outcome::Outcome;
use crate::session::Session;
use crate::verdict;
use api::view::{Explanation, Side};
use api::{HttpProbe, Probe, Request};
use clap::Args;
use std::str::FromStr;

/// Ask what policy says of a connection or request, and why; the verdict is an answer, never a failure
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin policy explain --from app3 --to app1 --port 80/TCP\n  \
    nexin policy explain --from app2 --to app1 --port 80 --http 'GET /private' -H 'X-Token: abc'\n  \
    nexin policy explain --from app2 --to host --port 8/ICMP")]
pub(crate) struct Explain {
    /// Who connects: [namespace/]workload, an address, host or world
    #[arg(long, value_name = "PARTY")]
    from: String,
    /// Who is connected to, likewise
    #[arg(long, value_name = "PARTY")]
    to: String,
    /// Destination port, behind any service; for ICMP the type: 80, 53/UDP, 8/ICMP
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    port: Destination,
    /// A request on that connection: 'GET /public'
    #[arg(long, value_name = "METHOD PATH")]
    http: Option<RequestLine>,
    /// A header field of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "http", value_parser = header)]
    headers: Vec<(String, String)>,
}

/// A port or ICMP type, and its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Destination {
    port: u16,
    protocol: &'static str,
}

/// Method and path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RequestLine {
    method: String,
    path: String,
}

impl Explain {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let explanation: Explanation = session.agent()?.call(Request::Explain(self.probe()))?;
        if session.is_json() {
            session.print_json(&explanation)?;
        } else {
            lines(session, &explanation).iter().try_for_each(|line| session.print_line(line))?;
        }
        Ok(Outcome::Holds)
    }

    fn probe(self) -> Probe {
        let http = self.http.map(|line| request(line, self.headers));
        let protocol = self.port.protocol.to_string();
        Probe { from: self.from, to: self.to, port: self.port.port, protocol, http }
    }
}

/// The request; a Host field is its authority.
fn request(line: RequestLine, headers: Vec<(String, String)>) -> HttpProbe {
    let (hosts, headers): (Vec<_>, Vec<_>) =
        headers.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = hosts.into_iter().next().map(|(_, host)| host).unwrap_or_default();
    HttpProbe { method: line.method, path: line.path, host, headers }
}

fn lines(session: &Session, explanation: &Explanation) -> Vec<String> {
    let mut lines = vec![verdict::painted(session, &explanation.verdict)];
    for side in &explanation.sides {
        lines.push(heading(session, side));
        for considered in &side.considered {
            let sign = if considered.applies { "+" } else { "-" };
            // Most reasons begin with the rule's name, which stands before them already.
            let why = considered
                .why
                .strip_prefix(&considered.rule)
                .map_or(considered.why.as_str(), str::trim_start);
            lines.push(format!("    {sign} {}: {why}", considered.rule));
        }
    }
    lines
}

fn heading(session: &Session, side: &Side) -> String {
    let Side { direction, subject, verdict, reason, .. } = side;
    let painted = verdict::painted(session, verdict);
    format!("  {direction} of {subject}: {painted}: {}", verdict::reason(verdict, reason))
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().into(), value.trim().into())),
        _ => Err("a header field is a name, a colon and a value: 'X-Token: abc'".into()),
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
        let known = ["TCP", "UDP", "SCTP", "ICMP", "ICMPv6"];
        let Some(protocol) = known.into_iter().find(|known| known.eq_ignore_ascii_case(protocol)) else {
            return Err(format!("protocol {protocol:?} is none of {}", known.join(", ")));
        };
        let limit = if protocol.starts_with("ICMP") { 255 } else { u16::MAX };
        match port.parse() {
            Ok(port) if port <= limit => Ok(Self { port, protocol }),
            _ => Err(format!("{port:?} is no number from 0 to {limit}, as {protocol} has it")),
        }
    }
}

impl FromStr for RequestLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (method, path.trim_start()),
            None => ("GET", text),
        };
        let speaks = !method.is_empty() && path.starts_with('/') && !path.contains(' ');
        let line = Self { method: method.into(), path: path.into() };
        if speaks { Ok(line) } else { Err("a request is a method and a path: 'GET /public'".into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_a_protocol_and_tcp_unless_told() {
        let check = |text: &str, port, protocol| {
            assert_eq!(text.parse(), Ok(Destination { port, protocol }), "{text}");
        };
        check("80", 80, "TCP");
        check("53/udp", 53, "UDP");
        check("8/ICMP", 8, "ICMP");
        check("128/icmpv6", 128, "ICMPv6");
    }

    #[test]
    fn a_wrong_port_is_told_what_would_be_right() {
        let check = |text: &str, message: &str| {
            assert_eq!(text.parse::<Destination>(), Err(message.to_string()), "{text}");
        };
        check("80/TPC", "protocol \"TPC\" is none of TCP, UDP, SCTP, ICMP, ICMPv6");
        check("http", "\"http\" is no number from 0 to 65535, as TCP has it");
        check("256/ICMP", "\"256\" is no number from 0 to 255, as ICMP has it");
    }

    #[test]
    fn a_request_line_is_a_method_and_a_path() {
        let check = |text: &str, method: &str, path: &str| {
            assert_eq!(text.parse(), Ok(RequestLine { method: method.into(), path: path.into() }), "{text}");
        };
        check("GET /public", "GET", "/public");
        check("/public?x=1", "GET", "/public?x=1");
        assert!("GET".parse::<RequestLine>().is_err());
        assert!("GET /a HTTP/1.1".parse::<RequestLine>().is_err());
    }

    #[test]
    fn the_host_field_is_the_authority() {
        let line = RequestLine { method: "GET".into(), path: "/".into() };
        let headers = vec![header("host: web:80").unwrap(), header("X-A:b").unwrap()];
        let probe = request(line, headers);
        assert_eq!(probe.host, "web:80");
        assert_eq!(probe.headers, [("X-A".to_string(), "b".to_string())]);
    }
}
