//! The ports of a rule, with the HTTP rules that hold on them.

use super::http;
use super::rules::Section;
use crate::item::{Fields, Item, Nulls};
use crate::name;
use policy::rule::{Action, Direction, HttpRule, Port, Protocol, TrafficMatch};

/// Most ports in one list.
const MAX_PORTS: usize = 40;

/// Protocols; those that are none yet have no ports.
const PROTOCOLS: &[(&str, Option<Protocol>)] = &[
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

/// Reads one entry of `toPorts`.
pub(super) fn matches(item: &Item<'_>, section: Section) -> Vec<TrafficMatch> {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return Vec::new() };
    let listed = fields.take("ports");
    let items = listed.iter().flat_map(Item::list).collect::<Vec<_>>();
    if let Some(listed) = listed.filter(|_| items.len() > MAX_PORTS) {
        listed.error(format!("{} ports; at most {MAX_PORTS} may stand in one list", items.len()));
    }
    let rules = layer_seven(&mut fields, section);
    fields.finish();
    if items.is_empty() {
        match rules {
            Some(_) => item.error("has rules for requests but no `ports`; list the ports they hold on"),
            None => item.warn("lists no port and so matches nothing; list ports, or leave `toPorts` out"),
        }
    }
    items.iter().filter_map(|item| port(item, rules.as_deref())).collect()
}

/// Reads what an entry says of layer 7: HTTP rules, where there are any.
fn layer_seven(fields: &mut Fields<'_>, section: Section) -> Option<Vec<HttpRule>> {
    if section.action == Action::Deny {
        for name in ["rules", "terminatingTLS", "originatingTLS", "serverNames", "listener"] {
            if let Some(item) = fields.take(name) {
                item.error("a deny rule refuses connections, it does not look into them; leave it out");
            }
        }
        return None;
    }
    if let Some(item) = fields.take("listener") {
        match section.direction {
            Direction::Ingress => item.error("a listener serves egress rules only; leave it out"),
            Direction::Egress => item.not_supported("`listener`"),
        }
    }
    fields.not_supported(&["terminatingTLS", "originatingTLS", "serverNames"]);
    http::rules(&fields.take("rules")?, section.direction)
}

fn port(item: &Item<'_>, rules: Option<&[HttpRule]>) -> Option<TrafficMatch> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (port, end) = (fields.require("port"), fields.take("endPort"));
    let protocol = fields.take("protocol");
    fields.finish();
    let port = port.and_then(|item| port_or_range(&item, end));
    let protocol = protocol.map_or(Some(Protocol::Any), |item| self::protocol(&item));
    let (port, protocol) = (port?, protocol?);
    if rules.is_some() && protocol != Protocol::Tcp {
        item.error("HTTP rules hold on TCP only; write `protocol: TCP`");
    }
    if rules.is_some() && port == Port::Any {
        item.error("HTTP rules need a port; port 0 stands for all of them");
    }
    Some(TrafficMatch::Port { protocol, port, http: rules.map(<[HttpRule]>::to_vec) })
}

fn protocol(item: &Item<'_>) -> Option<Protocol> {
    if item.is_text() && item.text() == Some("") {
        return Some(Protocol::Any);
    }
    let known = item.one_of("protocol", PROTOCOLS)?;
    if known.is_none() {
        item.not_supported(format_args!("protocol {}", item.text()?));
    }
    known
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

/// The last port of a range; 0 says that there is none.
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

/// Why a text is no port.
fn unreadable(text: &str, digits: bool) -> String {
    if digits && !text.is_empty() {
        return format!("port {text} is out of range; write \"1\" to \"65535\", or \"0\" for every port");
    }
    format!(
        "port {text:?} is neither a number nor a port name; write \"80\", or a name of at most 15 letters, \
         digits and single `-`, at least one a letter"
    )
}
