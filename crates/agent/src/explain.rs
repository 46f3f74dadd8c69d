//! What policy says of a connection, asked of the reference model, for both ends.

use api::view::{Considered, Explanation, Side};
use api::{Cause, Failure, HttpProbe, Probe};
use identity::{Labels, filter};
use policy::model::{self, Context, Finding, Query, Verdict};
use policy::party::{NamedPorts, Party};
use policy::rule::{Direction, Subject};
use policy::set::PolicySet;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// One end of a connection, with all that policies can ask of it.
#[derive(Clone, Debug)]
pub struct End {
    /// What people call it.
    pub name: String,
    /// Its identity; only the kind of the number counts.
    pub number: u32,
    /// Its labels.
    pub labels: Labels,
    /// Its ports that have names.
    pub ports: NamedPorts,
    /// The domain names that are known to stand for it.
    pub names: BTreeSet<String>,
    /// Its addresses; none where any will do.
    pub addresses: Vec<IpAddr>,
}

impl End {
    /// An end of which no more is known than its kind and its labels.
    pub fn new(name: &str, number: u32, labels: Labels) -> Self {
        let name = name.to_owned();
        Self {
            name,
            number,
            labels,
            ports: NamedPorts::default(),
            names: BTreeSet::new(),
            addresses: Vec::new(),
        }
    }

    /// A workload that is not there, by `[namespace/]key=value,key=value`; nothing where the text is no such thing.
    /// `of` tells the labels of a namespace.
    pub fn by_labels<'a>(text: &str, of: impl FnOnce(&str) -> Vec<(&'a str, &'a str)>) -> Option<Self> {
        let first = text.find('=')?;
        // A key may have a prefix with a slash of its own; what ends the namespace comes first.
        let (namespace, labels) = match text[..first].split_once('/') {
            Some((namespace, _)) if !namespace.contains('.') => (namespace, &text[namespace.len() + 1..]),
            _ => ("default", text),
        };
        let pairs: Option<Vec<(&str, &str)>> = labels.split(',').map(|pair| pair.split_once('=')).collect();
        let labels = filter::relevant(Labels::of_workload(namespace, of(namespace), pairs?));
        Some(Self::new(text, abi::identity::FIRST_ALLOCATED, labels))
    }

    /// Whether policies are asked about it: those of workloads, and of the node where some are about it.
    fn is_asked(&self, policies: &PolicySet) -> bool {
        if self.number != abi::identity::HOST {
            return abi::identity::is_workload(self.number);
        }
        let mut specs = policies.iter().flat_map(|policy| &policy.specs);
        specs.any(|spec| match &spec.subject {
            Subject::Nodes(selector) => selector.selects(&self.labels),
            Subject::Workloads(_) => false,
        })
    }

    /// Its address of a family: any where it has none at all, nothing where it has only of the other.
    pub fn address(&self, v4: bool) -> Option<IpAddr> {
        match self.addresses.iter().find(|address| address.is_ipv4() == v4) {
            None if self.addresses.is_empty() && v4 => Some(IpAddr::from([0u8; 4])),
            None if self.addresses.is_empty() => Some(IpAddr::from([0u8; 16])),
            found => found.copied(),
        }
    }

    /// As policies see it where packets carry this address.
    pub fn party(&self, address: IpAddr) -> Party<'_> {
        let Self { number, labels, ports, names, .. } = self;
        Party { number: *number, labels, ports, names, address: Some(address) }
    }
}

/// Explains what becomes of a connection between two ends, and of a request on it where there is one.
///
/// # Errors
/// What is asked makes no sense.
pub fn explain(from: &End, to: &End, probe: &Probe, policies: &PolicySet) -> Result<Explanation, Failure> {
    let protocol = protocol_number(&probe.protocol)?;
    let (source, destination) = addresses(from, to, probe.family.as_deref())?;
    let mut head = probe.http.as_ref().map(head);
    let mut fields = [l7::Field::default(); l7::head::MAX_FIELDS];
    let request = match &mut head {
        None => None,
        Some(head) => Some(l7::Request::parse(head, &mut fields).map_err(malformed)?.view()),
    };
    let port = if matches!(protocol, 1 | 58) { probe.port << 8 } else { probe.port };
    let mut sides = Vec::new();
    let ends = [
        (Direction::Egress, (from, source), (to, destination)),
        (Direction::Ingress, (to, destination), (from, source)),
    ];
    for (direction, (subject, own), (peer, other)) in ends {
        if subject.is_asked(policies) {
            let (subject_party, peer) = (subject.party(own), peer.party(other));
            let query = Query { direction, subject: subject_party, peer, protocol, port, request };
            sides.push(side(policies, &subject.name, &query));
        }
    }
    let verdict = sides.iter().map(|(verdict, _)| *verdict).max().unwrap_or(Verdict::Allow);
    Ok(Explanation { verdict: verdict.to_string(), sides: sides.into_iter().map(|(_, side)| side).collect() })
}

/// The request's head: rules see a request as the proxy reads it, not as it was typed.
fn head(http: &HttpProbe) -> Vec<u8> {
    let host = if http.host.is_empty() { "service" } else { &http.host };
    let fields = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    l7::Request::compose(&http.method, &http.path, host, fields)
}

fn malformed(refusal: l7::Refusal) -> Failure {
    Failure::new(
        Cause::Invalid,
        format!(
            "the proxy refuses such a request before any rule is asked: {} {}",
            refusal.status, refusal.reason
        ),
    )
}

fn side(policies: &PolicySet, subject: &str, query: &Query<'_>) -> (Verdict, Side) {
    let context = Context { catalog: policies.catalog(), mode: policies.mode() };
    let decision = model::verdict(policies.iter().map(|policy| &**policy), &context, query);
    let told = decision.told(&context, query);
    let considered = told.iter().map(|one| Considered {
        rule: one.rule.to_string(),
        applies: one.finding > Finding::Outranked,
        finding: finding_name(one.finding).into(),
        why: one.why.clone(),
    });
    let side = Side {
        direction: if query.direction == Direction::Egress { "egress" } else { "ingress" }.into(),
        subject: subject.into(),
        verdict: decision.verdict.to_string(),
        rule: decision.rule().map(|rule| rule.to_string()),
        reason: decision.reason(&told),
        considered: considered.collect(),
    };
    (decision.verdict, side)
}

fn finding_name(finding: Finding) -> &'static str {
    match finding {
        Finding::OtherSubject => "other-subject",
        Finding::OtherDirection => "other-direction",
        Finding::OtherPeer => "other-peer",
        Finding::OtherTraffic => "other-traffic",
        Finding::OtherRequest => "other-request",
        Finding::Outranked => "outranked",
        Finding::Passes => "passes",
        Finding::Decides => "decides",
    }
}

/// An address of each end, of the same family, IPv4 where both have it unless a family is wanted; an end without
/// addresses has whatever the other needs.
fn addresses(from: &End, to: &End, family: Option<&str>) -> Result<(IpAddr, IpAddr), Failure> {
    let families: &[bool] = match family {
        None => &[true, false],
        Some(name) if name.eq_ignore_ascii_case("IPv4") => &[true],
        Some(name) if name.eq_ignore_ascii_case("IPv6") => &[false],
        Some(name) => {
            return Err(Failure::new(Cause::Invalid, format!("family {name:?} is neither IPv4 nor IPv6")));
        }
    };
    families.iter().find_map(|v4| Some((from.address(*v4)?, to.address(*v4)?))).ok_or_else(|| {
        let what = family.map_or("no address family in common".into(), |name| format!("no {name} in common"));
        Failure::new(Cause::Invalid, format!("the two ends have {what}; there is no such connection"))
    })
}

fn protocol_number(name: &str) -> Result<u8, Failure> {
    Ok(match name.to_ascii_uppercase().as_str() {
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        "ICMP" => 1,
        "ICMPV6" => 58,
        _ => {
            return Err(Failure::new(
                Cause::Invalid,
                format!("protocol {name:?} is none of TCP, UDP, SCTP, ICMP and ICMPv6"),
            ));
        }
    })
}

/// The protocol's name as people write it behind a port.
pub fn protocol_name(number: u8) -> &'static str {
    match number {
        6 => "TCP",
        17 => "UDP",
        132 => "SCTP",
        1 => "ICMP",
        58 => "ICMPv6",
        _ => "ANY",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_that_is_not_there_is_told_by_its_labels() {
        let check = |text: &str, namespace: &str, key: &str, value: &str| {
            let end = End::by_labels(text, |name| vec![("team", if name == "shop" { "web" } else { "-" })]);
            let labels = end.unwrap().labels;
            let k8s = Some(&identity::Source::K8s);
            assert_eq!(labels.value(k8s, identity::key::NAMESPACE), Some(namespace), "{text}");
            assert_eq!(labels.value(k8s, key), Some(value), "{text}");
        };
        check("app=web", "default", "app", "web");
        check("shop/app=web,tier=front", "shop", "tier", "front");
        check("shop/app=web", "shop", "io.cilium.k8s.namespace.labels.team", "web");
        check("app.kubernetes.io/name=web", "default", "app.kubernetes.io/name", "web");
        check("shop/app.kubernetes.io/name=web", "shop", "app.kubernetes.io/name", "web");
        assert!(End::by_labels("shop/web", |_| Vec::new()).is_none());
        assert!(End::by_labels("app=web,tier", |_| Vec::new()).is_none());
    }
}
