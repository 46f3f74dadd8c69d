//! The ports of a rule, with the rules for requests that apply to them.

use super::proxy_fields::ProxyFields;
use super::requests::{self, RequestRules};
use super::section::Section;
use crate::item::{Fields, Item, Nulls};
use crate::name;
use policy::rule::{Action, Port, Protocol, TrafficMatch};

/// The most ports in one list.
const MAX_PORTS: usize = 40;

/// Protocols; none for those without ports.
pub(crate) const PROTOCOLS: &[(&str, Option<Protocol>)] = &[
    ("TCP", Some(Protocol::Tcp)),
    ("UDP", Some(Protocol::Udp)),
    ("SCTP", Some(Protocol::Sctp)),
    ("ANY", Some(Protocol::Any)),
    ("VRRP", None),
    ("IGMP", None),
    ("GRE", None),
    ("IPIP", None),
    ("IPV6", None),
    ("ESP", None),
    ("AH", None),
];

/// One entry of `toPorts`.
#[derive(Debug)]
pub(super) struct ToPortsEntry<'a> {
    pub(super) item: Item<'a>,
    pub(super) matches: Vec<TrafficMatch>,
    pub(super) requests: Option<RequestRules>,
    pub(super) tls: Option<String>,
}

/// Reads one entry of `toPorts`.
pub(super) fn entry<'a>(item: &Item<'a>, section: Section) -> Option<ToPortsEntry<'a>> {
    let mut fields = item.fields(Nulls::Refused)?;
    let listed = fields.take("ports");
    let items = listed.iter().flat_map(Item::list).collect::<Vec<_>>();
    if let Some(listed) = listed.filter(|_| items.len() > MAX_PORTS) {
        listed.error(format!("{} ports; at most {MAX_PORTS} are allowed in one list", items.len()));
    }
    let proxied = ProxyFields::take(&mut fields);
    let tls = proxied.tls();
    let requests = layer_seven(&mut fields, section, proxied);
    fields.finish();
    if items.is_empty() {
        match requests {
            Some(RequestRules::Dns) => {
                item.error("has DNS rules but no `ports`; list the ports they apply to")
            }
            Some(_) => item.warn("has rules for requests but no `ports`, and so matches nothing; list ports"),
            None => item.warn("lists no port and so matches nothing; list ports, or leave `toPorts` out"),
        }
    }
    let mut matches: Vec<_> = items.iter().filter_map(|item| port(item, requests.as_ref())).collect();
    if requests == Some(RequestRules::NoName) {
        matches.clear();
    }
    Some(ToPortsEntry { item: item.clone(), matches, requests, tls })
}

/// Reads the layer-7 fields of an entry: rules for requests, if there are any.
fn layer_seven(fields: &mut Fields<'_>, section: Section, proxied: ProxyFields<'_>) -> Option<RequestRules> {
    let rules = fields.take("rules");
    if section.action == Action::Deny {
        if let Some(rules) = rules {
            rules.error("a deny rule cannot inspect connections; leave it out");
        }
        proxied.refuse();
        return None;
    }
    let requests = rules.and_then(|rules| requests::read(&rules, section.direction));
    proxied.judge(section, requests.as_ref());
    requests
}

fn port(item: &Item<'_>, requests: Option<&RequestRules>) -> Option<TrafficMatch> {
    let mut fields = item.fields(Nulls::Refused)?;
    let named = fields.take("protocol");
    let protocol = named.as_ref().map_or(Some(Some(Protocol::Any)), protocol);
    if let (Some(None), Some(named)) = (protocol, named) {
        without_ports(&named, fields);
        return None;
    }
    let (port, end) = (fields.require("port"), fields.take("endPort"));
    fields.finish();
    let is_range = end.is_some();
    let port = port.and_then(|item| port_or_range(&item, end));
    let (port, protocol) = (port?, protocol.flatten()?);
    if let Some(requests) = requests {
        check_request_port(item, requests, (protocol, &port), is_range);
    }
    let http = match requests {
        Some(RequestRules::Http(rules)) => Some(rules.clone()),
        _ => None,
    };
    Some(TrafficMatch::Port { protocol, port, http })
}

/// Reports rules for requests on ports that cannot carry such requests.
fn check_request_port(
    item: &Item<'_>,
    requests: &RequestRules,
    (protocol, port): (Protocol, &Port),
    is_range: bool,
) {
    let name = requests.name();
    match (requests, protocol) {
        (_, Protocol::Tcp) | (RequestRules::Dns | RequestRules::NoName, Protocol::Udp | Protocol::Any) => {}
        (RequestRules::Dns | RequestRules::NoName, _) => {
            item.error("DNS rules apply to TCP and UDP only; write `protocol: ANY`")
        }
        _ => item.error(format!("{name} rules apply to TCP only; write `protocol: TCP`")),
    }
    if *port == Port::Any {
        item.error(format!("{name} rules need a port; port 0 means every port"));
    }
    if *requests == RequestRules::Dns && is_range {
        item.error("DNS rules apply to single ports; leave `endPort` out");
    }
}

/// A protocol; `Some(None)` for one without ports.
fn protocol(item: &Item<'_>) -> Option<Option<Protocol>> {
    match item.is_text().then(|| item.text()).flatten() {
        Some("") => Some(Some(Protocol::Any)),
        Some("ICMP" | "ICMPv6" | "ICMPV6") => {
            item.error("ICMP has no ports; write a rule with `icmps` instead of `toPorts`");
            None
        }
        _ => item.one_of("protocol", PROTOCOLS),
    }
}

/// Checks an entry of a protocol without ports.
fn without_ports(protocol: &Item<'_>, mut fields: Fields<'_>) {
    let name = protocol.text().unwrap_or_default();
    let port = fields.take("port").filter(|item| item.text().is_some_and(|text| !matches!(text, "" | "0")));
    for item in [port, fields.take("endPort")].iter().flatten() {
        item.error(format!("protocol {name} has no ports; leave it out"));
    }
    fields.finish();
    protocol.not_supported(format_args!("protocol {name}"));
}

/// A number from 0 (every port) to 65535, with or without an end, or a name.
fn port_or_range(item: &Item<'_>, end: Option<Item<'_>>) -> Option<Port> {
    let text = item.text()?;
    if name::is_port_name(text) {
        if let Some(end) = end {
            end.error(format!("`port` is the name {text:?}; a range begins with a number"));
        }
        return Some(Port::Named(text.to_lowercase()));
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let Some(first) = text.parse::<u16>().ok().filter(|_| digits) else {
        item.error(unreadable(text, digits));
        return None;
    };
    let last = end.map_or(Some(first), |end| range_end(&end, first))?;
    Some(if first == 0 { Port::Any } else { Port::Range(first, last) })
}

/// The last port of a range; 0 means that there is no range.
fn range_end(item: &Item<'_>, first: u16) -> Option<u16> {
    let last: u16 = item.integer(0..=65_535)?;
    if last == 0 {
        return Some(first);
    }
    if first == 0 {
        item.error("`port` is 0, which is every port; leave `endPort` out");
    } else if last < first {
        item.error(format!("{last} is below `port`, which is {first}"));
    }
    Some(last)
}

/// Why a text is not a port.
fn unreadable(text: &str, digits: bool) -> String {
    if digits && !text.is_empty() {
        return format!("port {text} is out of range; write \"1\" to \"65535\", or \"0\" for every port");
    }
    format!(
        "port {text:?} is neither a number nor a port name; write \"80\", or a name of at most 15 letters, \
         digits and single `-`, at least one a letter"
    )
}
