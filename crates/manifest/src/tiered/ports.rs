//! The traffic of a rule, in the two syntaxes of the kinds.

use crate::item::{Fields, Item, Nulls};
use crate::name;
use policy::rule::{Port, Protocol, TrafficMatch};

const PROTOCOLS: &[(&str, Protocol)] =
    &[("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];

/// Reads an entry of `protocols`: `{tcp: {destinationPort}}`, likewise `udp` and `sctp`, or `{destinationNamedPort}`.
pub(super) fn protocol(item: &Item<'_>) -> Option<TrafficMatch> {
    let mut fields = item.fields(Nulls::Refused)?;
    let by_number = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)]
        .map(|(name, protocol)| (protocol, fields.take(name)));
    let by_name = fields.take("destinationNamedPort");
    fields.finish();
    let mut given = by_number.into_iter().filter_map(|(protocol, item)| Some((protocol, item?)));
    match (given.next(), given.next(), by_name) {
        (Some((protocol, item)), None, None) => Some(matching(protocol, destination(&item)?)),
        (None, _, Some(name)) => Some(matching(Protocol::Any, Port::Named(name::port(&name)?))),
        _ => {
            item.error("needs exactly one of `tcp`, `udp`, `sctp`, `destinationNamedPort`");
            None
        }
    }
}

/// Reads `{destinationPort: {number}}` or `{destinationPort: {range: {start, end}}}`.
fn destination(item: &Item<'_>) -> Option<Port> {
    let mut fields = item.fields(Nulls::Refused)?;
    let port = fields.require("destinationPort");
    fields.finish();
    let port = port?;
    let mut fields = port.fields(Nulls::Refused)?;
    let (number, range) = (fields.take("number"), fields.take("range"));
    fields.finish();
    match (number, range) {
        (Some(number), None) => self::number(&number).map(|number| Port::Range(number, number)),
        (None, Some(range)) => {
            let mut fields = range.fields(Nulls::Refused)?;
            let port = self::range(&mut fields);
            fields.finish();
            port
        }
        _ => {
            port.error("needs exactly one of `number` and `range`");
            None
        }
    }
}

/// Reads an entry of `ports`: `{portNumber: {protocol, port}}`, `{portRange: {protocol, start, end}}` or `{namedPort}`.
pub(super) fn port(item: &Item<'_>) -> Option<TrafficMatch> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (one, range) = (fields.take("portNumber"), fields.take("portRange"));
    let by_name = fields.take("namedPort");
    fields.finish();
    let (entry, is_range) = match (one, range, by_name) {
        (Some(one), None, None) => (one, false),
        (None, Some(range), None) => (range, true),
        (None, None, Some(name)) => return Some(matching(Protocol::Any, Port::Named(name::port(&name)?))),
        _ => {
            item.error("needs exactly one of `portNumber`, `portRange`, `namedPort`");
            return None;
        }
    };
    let mut fields = entry.fields(Nulls::Refused)?;
    let protocol =
        fields.take("protocol").map_or(Some(Protocol::Tcp), |item| item.one_of("protocol", PROTOCOLS));
    let port = match is_range {
        true => self::range(&mut fields),
        false => {
            let number = fields.require("port").and_then(|item| number(&item));
            number.map(|number| Port::Range(number, number))
        }
    };
    fields.finish();
    Some(matching(protocol?, port?))
}

/// Reads `start` and `end`.
fn range(fields: &mut Fields<'_>) -> Option<Port> {
    let (start, end) = (fields.require("start"), fields.require("end"));
    let (first, end) = (number(&start?)?, end?);
    let last = number(&end)?;
    if last <= first {
        end.error(format!("{last} is not above `start`, which is {first}"));
    }
    Some(Port::Range(first, last))
}

fn number(item: &Item<'_>) -> Option<u16> {
    item.integer(1..=65_535)
}

fn matching(protocol: Protocol, port: Port) -> TrafficMatch {
    TrafficMatch::Port { protocol, port, http: None }
}
