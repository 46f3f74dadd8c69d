//! One condition of a filter: how it is parsed, and which flows it matches.

use crate::flow::{Flow, FlowEndpoint, FlowType, FlowVerdict, Http};
use abi::Address;
use regex_automata::Input;
use regex_automata::hybrid::dfa::DFA;
use std::fmt;
use std::net::IpAddr;

/// The keys, for error messages.
pub(super) const KEYS: &str = "verdict, type, protocol, http-method, http-path, http-status, and, alone or after from- \
                               or to-, pod, namespace, ip, port, identity, label";

/// A condition on one field of a flow.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    Verdict(FlowVerdict),
    Type(EventType),
    Protocol(String),
    End(Ends, EndCondition),
    Method(String),
    Path(Box<DFA>),
    Status(String),
}

/// The ends that a condition applies to; with `Either` one matching end is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Source,
    Destination,
    Either,
}

/// Event types as users name them; one flow can have several.
#[derive(Clone, Copy, Debug)]
pub(super) enum EventType {
    Drop,
    PolicyVerdict,
    Trace,
    Request,
}

/// A condition on one end.
#[derive(Clone, Debug)]
pub(super) enum EndCondition {
    Pod { namespace: String, prefix: String },
    Namespace(String),
    Block { address: Address, bits: u32 },
    Port(u16),
    Identity(u32),
    Label(String),
}

/// Why a condition is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// There is no `=` between key and value.
    Form(String),
    /// The key is unknown.
    Key(String),
    /// The value is invalid for the key.
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The valid values.
        expected: &'static str,
    },
}

impl Condition {
    /// Parses a condition.
    pub(super) fn parse(key: &str, value: &str) -> Result<Self, FilterError> {
        let (parsed, expected) = match key {
            "verdict" => (verdict(value).map(Self::Verdict), "forwarded, dropped, redirected or audit"),
            "type" => (shown(value).map(Self::Type), "drop, policy-verdict, trace or l7"),
            "protocol" => {
                (protocol(value).map(Self::Protocol), "tcp, udp, sctp, icmp, icmpv4, icmpv6 or http")
            }
            "http-method" => (Some(Self::Method(value.to_owned())), "a method"),
            "http-path" => {
                (DFA::new(value).ok().map(|path| Self::Path(Box::new(path))), "a regular expression")
            }
            "http-status" => (status(value), "a status such as 404, or its first digits and a plus: 5+"),
            _ => {
                let (side, subject) = side(key);
                let (parsed, expected) =
                    EndCondition::parse(subject, value).ok_or_else(|| FilterError::Key(key.to_owned()))?;
                (parsed.map(|condition| Self::End(side, condition)), expected)
            }
        };
        parsed.ok_or_else(|| FilterError::Value { key: key.to_owned(), value: value.to_owned(), expected })
    }

    /// Whether a flow matches.
    pub(super) fn matches(&self, flow: &Flow) -> bool {
        let http = |predicate: &dyn Fn(&Http) -> bool| {
            flow.l7.as_ref().is_some_and(|request| predicate(&request.http))
        };
        match self {
            Self::Verdict(verdict) => flow.verdict == *verdict,
            Self::Type(shown) => shown.includes(flow),
            Self::Protocol(name) if name == "http" => flow.l7.is_some(),
            Self::Protocol(name) => flow.l4.name().to_ascii_lowercase().starts_with(name.as_str()),
            Self::End(ends, condition) => ends.any(flow, |end| condition.matches(end)),
            Self::Method(method) => http(&|http| http.method.eq_ignore_ascii_case(method)),
            Self::Path(path) => http(&|http| finds(path, http.path())),
            Self::Status(digits) => {
                http(&|http| http.code.is_some_and(|code| code.to_string().starts_with(digits.as_str())))
            }
        }
    }
}

impl EventType {
    fn includes(self, flow: &Flow) -> bool {
        match self {
            Self::Drop => flow.kind == FlowType::Packet && flow.verdict == FlowVerdict::Dropped,
            Self::PolicyVerdict => flow.is_policy_verdict(),
            Self::Trace => flow.kind == FlowType::Packet && flow.verdict != FlowVerdict::Dropped,
            Self::Request => flow.kind == FlowType::Request,
        }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(text) => write!(f, "`{text}` is not a filter; write key=value"),
            Self::Key(key) => write!(f, "unknown filter `{key}`; the filters are {}", KEYS),
            Self::Value { key, value, expected } => {
                write!(f, "invalid value `{value}` for `{key}`; expected {expected}")
            }
        }
    }
}

impl std::error::Error for FilterError {}

/// One end of a flow, as conditions see it.
struct EndView<'a> {
    endpoint: &'a FlowEndpoint,
    address: IpAddr,
    port: Option<u16>,
}

impl Ends {
    fn any(self, flow: &Flow, matches: impl Fn(&EndView<'_>) -> bool) -> bool {
        let ports = flow.ports();
        let source = EndView {
            endpoint: &flow.source,
            address: flow.ip.source,
            port: ports.map(|ports| ports.source_port),
        };
        let destination = EndView {
            endpoint: &flow.destination,
            address: flow.ip.destination,
            port: ports.map(|ports| ports.destination_port),
        };
        (self != Self::Destination && matches(&source)) || (self != Self::Source && matches(&destination))
    }
}

impl EndCondition {
    /// Parses a condition on an end, with a description of the valid values; `None` if ends have no such key.
    fn parse(key: &str, value: &str) -> Option<(Option<Self>, &'static str)> {
        Some(match key {
            "pod" => (Some(pod(value)), "[namespace/]name-prefix"),
            "namespace" => (Some(Self::Namespace(value.to_owned())), "a namespace"),
            "ip" => (block(value), "an address or a CIDR block such as 10.0.0.0/8"),
            "port" => (value.parse().ok().map(Self::Port), "a number from 0 to 65535"),
            "identity" => (identity(value).map(Self::Identity), "a number or a reserved name such as world"),
            "label" => (Some(Self::Label(value.to_owned())), "a label such as k8s:app=web"),
            _ => return None,
        })
    }

    fn matches(&self, end: &EndView<'_>) -> bool {
        match self {
            Self::Pod { namespace, prefix } => {
                end.endpoint.namespace.as_ref() == Some(namespace)
                    && end.endpoint.pod_name.as_ref().is_some_and(|name| name.starts_with(prefix))
            }
            Self::Namespace(namespace) => end.endpoint.namespace.as_ref() == Some(namespace),
            Self::Block { address, bits } => masked(end.address.into(), *bits) == masked(*address, *bits),
            Self::Port(port) => end.port == Some(*port),
            Self::Identity(identity) => end.endpoint.identity == *identity,
            Self::Label(wanted) => end.endpoint.labels.iter().any(|label| {
                label == wanted
                    || label.split_once(':').is_some_and(|(_, without_source)| without_source == wanted)
            }),
        }
    }
}

fn side(key: &str) -> (Ends, &str) {
    match (key.strip_prefix("from-"), key.strip_prefix("to-")) {
        (Some(subject), _) => (Ends::Source, subject),
        (_, Some(subject)) => (Ends::Destination, subject),
        _ => (Ends::Either, key),
    }
}

fn verdict(value: &str) -> Option<FlowVerdict> {
    let all = [FlowVerdict::Forwarded, FlowVerdict::Dropped, FlowVerdict::Redirected, FlowVerdict::Audit];
    all.into_iter().find(|verdict| verdict.name().eq_ignore_ascii_case(value))
}

fn shown(value: &str) -> Option<EventType> {
    Some(match value {
        "drop" => EventType::Drop,
        "policy-verdict" => EventType::PolicyVerdict,
        "trace" => EventType::Trace,
        "l7" => EventType::Request,
        _ => return None,
    })
}

fn protocol(value: &str) -> Option<String> {
    let value = value.to_ascii_lowercase();
    ["tcp", "udp", "sctp", "icmp", "icmpv4", "icmpv6", "http"].contains(&value.as_str()).then_some(value)
}

fn status(value: &str) -> Option<Condition> {
    let digits = value.strip_suffix('+').unwrap_or(value);
    let whole = digits.len() == 3 || (value.ends_with('+') && (1..3).contains(&digits.len()));
    (whole && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| Condition::Status(digits.to_owned()))
}

/// As `hubble observe` reads it: without a namespace `default`, and the name is a prefix.
fn pod(value: &str) -> EndCondition {
    let (namespace, prefix) = value.split_once('/').unwrap_or(("default", value));
    EndCondition::Pod { namespace: namespace.to_owned(), prefix: prefix.to_owned() }
}

fn identity(value: &str) -> Option<u32> {
    value.parse().ok().or_else(|| {
        (0..abi::identity::FIRST_ALLOCATED)
            .find(|number| abi::identity::reserved_name(*number) == Some(value))
    })
}

fn block(value: &str) -> Option<EndCondition> {
    let (address, length) =
        value.split_once('/').map_or((value, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let (longest, before) = if address.is_ipv4() { (32, Address::V4_PREFIX_BITS) } else { (128, 0) };
    let length: u32 = length.map_or(Some(longest), |length| length.parse().ok())?;
    (length <= longest).then(|| EndCondition::Block { address: address.into(), bits: before + length })
}

fn masked(address: Address, bits: u32) -> u128 {
    u128::from_be_bytes(address.0) & u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

/// Whether an expression matches anywhere in a text. A lazy DFA that gives up counts as no match.
fn finds(expression: &DFA, text: &str) -> bool {
    let found = expression.try_search_fwd(&mut expression.create_cache(), &Input::new(text));
    found.is_ok_and(|end| end.is_some())
}
