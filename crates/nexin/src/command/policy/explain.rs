//! `nexin policy explain`: the verdict of policy on a connection or request, and the rules.

mod text;

use super::cluster::{self, ClusterOptions};
use super::manifest_files::{self, Depth};
use super::scenario::Scenario;
use crate::outcome::Outcome;
use crate::session::Session;
use api::view::Explanation;
use api::{ApiRequest, ExplainProbe, HttpProbe};
use clap::Args;
use std::path::PathBuf;
use std::str::FromStr;

/// Show the verdict of policy on a connection or request, and the rules; exits with 0 whatever the verdict
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin policy explain --from app3 --to app1 --port 80/TCP\n  \
    nexin policy explain --from app2 --to app1 --port 80 --http 'GET /private' -H 'X-Token: abc'\n  \
    nexin policy explain --from app2 --to 10.96.0.1 --port 8080 --http 'GET /private'\n  \
    nexin policy explain --from app2 --to host --port 8/ICMP\n  \
    nexin policy explain --from app2 --to www.example.com --port 443\n  \
    nexin policy explain -f deploy/ --from shop/cart --to data/db --port 5432\n  \
    nexin policy explain -f deploy/ --from shop/app=new,tier=front --to 198.51.100.7 --port 443\n  \
    nexin policy explain --cluster -f new.yaml --from shop/cart --to data/db --port 5432\n\n\
    Without -f and --cluster the running agent's policies are evaluated. Files may contain policies, Pods and their controllers, Namespaces, Services and \
    Nodes and whatever else policies refer to, or PolicyTest documents (*.test.yaml), whose state after the last step is used; \
    beside policies of manifests, only their workloads, nodes and hosts are used. A service's address is translated, and each \
    backend evaluated. For each side every rule that selects it is listed, in the order of evaluation: \
    + applies, - does not match, and why, ~ is the nearest to allowing the connection.")]
pub(crate) struct Explain {
    /// Evaluate these files instead of an agent's policies: a file, a directory, or - for standard input; may be
    /// repeated
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    depth: Depth,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Source: [namespace/]workload, an address, a node, an entity (host, world, kube-apiserver, remote-node), a
    /// domain name, or [namespace/]key=value,... for a workload that does not exist
    #[arg(long, value_name = "END")]
    from: String,
    /// Destination: the same forms, or [namespace/]service
    #[arg(long, value_name = "END")]
    to: String,
    /// Destination port (the service's port, for a service), by number or name; for ICMP the type: 80, http, 53/UDP,
    /// 8/ICMP
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    port: Destination,
    /// Address family: IPv4 or IPv6 [default: IPv4 if both ends have it]
    #[arg(long, value_name = "FAMILY", value_parser = ["IPv4", "IPv6"], ignore_case = true)]
    family: Option<String>,
    /// HTTP request on the connection: 'GET /public'
    #[arg(long, value_name = "METHOD PATH")]
    http: Option<RequestLine>,
    /// Header field of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "http", value_parser = header)]
    headers: Vec<(String, String)>,
}

/// A port or ICMP type, and its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Destination {
    port: u16,
    /// Its name, instead of the number.
    name: Option<String>,
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
        let cluster = std::mem::take(&mut self.cluster);
        let probe = self.probe();
        let explanation: Explanation = if files.is_empty() && !cluster.is_given() {
            session.agent()?.call(ApiRequest::Explain(Box::new(probe)))?
        } else {
            let files = cluster::applied(cluster.read()?, manifest_files::read(&files, depth)?);
            let scenario = Scenario::read(session, &files)?;
            let mut explanation =
                agent::explain::explain(&scenario, &probe).map_err(api::CallError::Refused)?;
            explanation.notes.extend(scenario.notes.iter().cloned());
            text::place(&mut explanation, &scenario);
            explanation
        };
        if session.is_json() {
            session.print_json(&explanation)?;
        } else {
            text::lines(session, &explanation).iter().try_for_each(|line| session.print_line(line))?;
        }
        Ok(Outcome::Holds)
    }

    fn probe(self) -> ExplainProbe {
        let http = self.http.map(|line| request(line, self.headers));
        let Destination { port, name, protocol } = self.port;
        let protocol =
            if self.family.as_deref().is_some_and(is_v6) && protocol == "ICMP" { "ICMPv6" } else { protocol };
        // ICMPv6 exists only over IPv6.
        let family = self.family.or((protocol == "ICMPv6").then(|| "IPv6".to_owned()));
        let protocol = protocol.to_owned();
        ExplainProbe { from: self.from, to: self.to, port, port_name: name, protocol, family, http }
    }
}

fn is_v6(family: &str) -> bool {
    family.eq_ignore_ascii_case("IPv6")
}

/// The request; a Host field becomes its authority.
fn request(line: RequestLine, headers: Vec<(String, String)>) -> HttpProbe {
    let (hosts, headers): (Vec<_>, Vec<_>) =
        headers.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = hosts.into_iter().next().map(|(_, host)| host).unwrap_or_default();
    HttpProbe { method: line.method, path: line.path, host, headers }
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
        let is_icmp = protocol.starts_with("ICMP");
        let limit = if is_icmp { 255 } else { u16::MAX };
        let of_name = |one: char| one.is_ascii_alphanumeric() || one == '-';
        match port.parse() {
            Ok(port) if port <= limit => Ok(Self { port, name: None, protocol }),
            Err(_) if !is_icmp && port.contains(char::is_alphabetic) && port.chars().all(of_name) => {
                Ok(Self { port: 0, name: Some(port.to_owned()), protocol })
            }
            _ => Err(format!("{port:?} is not a number from 0 to {limit}, as {protocol} needs")),
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
        let is_valid = !method.is_empty() && path.starts_with('/') && !path.contains(' ');
        let line = Self { method: method.into(), path: path.into() };
        if is_valid { Ok(line) } else { Err("a request is a method and a path: 'GET /public'".into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_a_protocol_which_is_tcp_by_default() {
        let check = |text: &str, port, protocol| {
            assert_eq!(text.parse(), Ok(Destination { port, name: None, protocol }), "{text}");
        };
        check("80", 80, "TCP");
        check("53/udp", 53, "UDP");
        check("8/ICMP", 8, "ICMP");
        check("128/icmpv6", 128, "ICMPv6");
        let named = Destination { port: 0, name: Some("http".into()), protocol: "UDP" };
        assert_eq!("http/udp".parse(), Ok(named));
    }

    #[test]
    fn an_invalid_port_is_refused_with_the_valid_ones() {
        let check = |text: &str, message: &str| {
            assert_eq!(text.parse::<Destination>(), Err(message.to_string()), "{text}");
        };
        check("80/TPC", "protocol \"TPC\" is none of TCP, UDP, SCTP, ICMP, ICMPv6");
        check("80.1", "\"80.1\" is not a number from 0 to 65535, as TCP needs");
        check("echo/ICMP", "\"echo\" is not a number from 0 to 255, as ICMP needs");
        check("256/ICMP", "\"256\" is not a number from 0 to 255, as ICMP needs");
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
