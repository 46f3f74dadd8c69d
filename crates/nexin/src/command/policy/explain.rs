//! `nexin policy explain`: what policy says of a connection or request, and which rules say so.

use super::manifest_files::Depth;
use super::scenario::Scenario;
use crate::outcome::Outcome;
use crate::session::Session;
use crate::verdict;
use api::view::{Explanation, Side};
use api::{HttpProbe, Probe, Request};
use clap::Args;
use std::path::PathBuf;
use std::str::FromStr;

/// Ask what policy says of a connection or request, and why; the verdict is an answer, never a failure
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin policy explain --from app3 --to app1 --port 80/TCP\n  \
    nexin policy explain --from app2 --to app1 --port 80 --http 'GET /private' -H 'X-Token: abc'\n  \
    nexin policy explain --from app2 --to host --port 8/ICMP\n  \
    nexin policy explain -f deploy/ --from shop/cart --to data/db --port 5432\n  \
    nexin policy explain -f deploy/ --from shop/app=new,tier=front --to 198.51.100.7 --port 443\n\n\
    Without -f a running agent is asked. Files may hold policies, Pods and their controllers, Namespaces, Services and \
    what else policies refer to, or PolicyTest documents (*.test.yaml), which count as after their last step. Of \
    each side every rule is listed that is about it: + applies, - does not, and what differs.")]
pub(crate) struct Explain {
    /// Ask these files instead of an agent: a file, a directory, or - for standard input; may be repeated
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    depth: Depth,
    /// Who connects: [namespace/]workload, an address, host, world, or [namespace/]key=value,... of one not there yet
    #[arg(long, value_name = "PARTY")]
    from: String,
    /// Who is connected to, likewise
    #[arg(long, value_name = "PARTY")]
    to: String,
    /// Destination port, behind any service; for ICMP the type: 80, 53/UDP, 8/ICMP
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    port: Destination,
    /// By which family: IPv4 or IPv6 [default: IPv4 where both ends have it]
    #[arg(long, value_name = "FAMILY", value_parser = ["IPv4", "IPv6"], ignore_case = true)]
    family: Option<String>,
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
    pub(super) fn run(mut self, session: &Session) -> anyhow::Result<Outcome> {
        let (files, depth) = (std::mem::take(&mut self.files), self.depth);
        let probe = self.probe();
        let explanation: Explanation = if files.is_empty() {
            session.agent()?.call(Request::Explain(Box::new(probe)))?
        } else {
            let scenario = Scenario::read(session, &files, depth)?;
            let (from, to) = (scenario.end(&probe.from)?, scenario.end(&probe.to)?);
            agent::explain::explain(&from, &to, &probe, &scenario.policies)
                .map_err(api::CallError::Refused)?
        };
        if session.is_json() {
            session.print_json(&explanation)?;
        } else {
            lines(session, &explanation).iter().try_for_each(|line| session.print_line(line))?;
        }
        Ok(Outcome::Holds)
    }

    fn probe(self) -> Probe {
        let http = self.http.map(|line| request(line, self.headers));
        let Destination { port, protocol } = self.port;
        let protocol =
            if self.family.as_deref().is_some_and(is_v6) && protocol == "ICMP" { "ICMPv6" } else { protocol };
        // ICMPv6 is spoken over IPv6 alone.
        let family = self.family.or((protocol == "ICMPv6").then(|| "IPv6".to_owned()));
        Probe { from: self.from, to: self.to, port, protocol: protocol.to_owned(), family, http }
    }
}

fn is_v6(family: &str) -> bool {
    family.eq_ignore_ascii_case("IPv6")
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
    if explanation.sides.is_empty() {
        lines.push(
            "  no policy is asked: neither end is a workload, or a node that some policy is about".into(),
        );
    }
    for side in &explanation.sides {
        lines.extend(wrapped(&heading(session, side), 4));
        for considered in &side.considered {
            let sign = if considered.applies { "+" } else { "-" };
            lines.extend(wrapped(&format!("    {sign} {}: {}", considered.rule, considered.why), 8));
        }
    }
    lines
}

/// The text in lines of at most 100 columns, where it has spaces to break at; all but the first are indented.
fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for (index, word) in text.split(' ').enumerate() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && !line.trim().is_empty() {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            line.push_str(word);
        } else {
            line.push_str(if index > 0 { " " } else { "" });
            line.push_str(word);
        }
    }
    lines.push(line);
    lines
}

/// Most columns of a line.
const WIDTH: usize = 100;

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
