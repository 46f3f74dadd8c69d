//! A probe: traffic between two ends, and the expected verdict.

use super::end::ProbeEnd;
use super::known_names::KnownNames;
use crate::icmp::{self, FAMILIES};
use crate::item::{Fields, Item, Nulls};
use crate::kubernetes::service::PROTOCOLS;
use crate::name::is_header_name;
use crate::object::TransportProtocol;
use policy::rule::Family;

const VERDICTS: &[(&str, Expect)] =
    &[("allow", Expect::Allow), ("drop", Expect::Drop), ("deny", Expect::Deny)];

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The end that connects.
    pub from: ProbeEnd,
    /// The end that is connected to.
    pub to: ProbeEnd,
    /// The address family; none: IPv4 if both ends have an address of it.
    pub family: Option<Family>,
    /// The traffic.
    pub traffic: ProbeTraffic,
    /// The expected verdict; none: the verdict is only printed.
    pub expect: Option<Expect>,
    /// The line of the probe in the file.
    pub line: u32,
}

/// The traffic of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeTraffic {
    /// A connection, or a datagram.
    Connect {
        /// The protocol.
        protocol: TransportProtocol,
        /// The destination port.
        port: u16,
    },
    /// A connection by TCP and one HTTP request on it.
    Http {
        /// The destination port.
        port: u16,
        /// The request.
        request: HttpRequest,
    },
    /// An ICMP message.
    Icmp {
        /// Its type.
        kind: u8,
    },
}

/// An HTTP request of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method; `GET` where not given.
    pub method: String,
    /// The path with its query; `/` where not given.
    pub path: String,
    /// The authority; none: the engine's name for the server.
    pub host: Option<String>,
    /// Header fields, in order.
    pub headers: Vec<(String, String)>,
}

/// The verdicts of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expect {
    /// The traffic is allowed.
    Allow,
    /// The connection is denied by the policies of either side.
    Drop,
    /// The connection is allowed, and the request is denied.
    Deny,
}

/// Reads `probes` and `matrix` of a step.
pub(super) fn read(fields: &mut Fields<'_>, world: &KnownNames<'_>) -> Vec<Probe> {
    let (probes, matrix) = (fields.take("probes"), fields.take("matrix"));
    let mut probes: Vec<Probe> =
        probes.iter().flat_map(Item::list).filter_map(|item| probe(&item, world)).collect();
    if let Some(matrix) = matrix {
        probes.extend(self::matrix(&matrix, world));
    }
    probes
}

fn probe(item: &Item<'_>, world: &KnownNames<'_>) -> Option<Probe> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (from, to) = (fields.require("from"), fields.require("to"));
    let family = fields.take("family").and_then(|item| item.one_of("family", FAMILIES));
    let traffic = traffic(&mut fields, family);
    let expect = fields.take("expect");
    fields.finish();
    let expect = expect.and_then(|item| {
        let expect = item.one_of("verdict", VERDICTS);
        if expect == Some(Expect::Deny) && !matches!(traffic, Some(ProbeTraffic::Http { .. })) {
            item.error("only a request can be denied; give `http`, or expect drop");
        }
        expect
    });
    let (from, to) = (world.party(&from?), world.party(&to?));
    Some(Probe { from: from?, to: to?, family, traffic: traffic?, expect, line: item.line() })
}

/// Reads `protocol` and `port`, with or without `http`; or `icmp`.
fn traffic(fields: &mut Fields<'_>, family: Option<Family>) -> Option<ProbeTraffic> {
    let (protocol, port) = (fields.take("protocol"), fields.take("port"));
    let (http, icmp) = (fields.take("http"), fields.take("icmp"));
    if let Some(icmp) = icmp {
        if protocol.is_some() || port.is_some() || http.is_some() {
            icmp.error("cannot be combined with `port`, `protocol` or `http`; write a separate probe");
        }
        let mut fields = icmp.fields(Nulls::Refused)?;
        let kind = fields.require("type");
        fields.finish();
        return Some(ProbeTraffic::Icmp { kind: icmp::kind(&kind?, family.unwrap_or(Family::Ipv4))? });
    }
    let Some(port) = port else {
        fields.item().error("`port` is missing; give `port` or `icmp`");
        return None;
    };
    let port = port.integer(1..=65_535);
    let named = protocol.map_or(Some(TransportProtocol::Tcp), |item| {
        let named = item.one_of("protocol", PROTOCOLS);
        if http.is_some() && named.is_some_and(|named| named != TransportProtocol::Tcp) {
            item.error("HTTP requires TCP");
        }
        named
    });
    match http {
        Some(http) => Some(ProbeTraffic::Http { port: port?, request: request(&http)? }),
        None => Some(ProbeTraffic::Connect { protocol: named?, port: port? }),
    }
}

fn request(item: &Item<'_>) -> Option<HttpRequest> {
    let mut fields = item.fields(Nulls::Refused)?;
    let mut word = |name| {
        let item = fields.take(name)?;
        let text = item.text()?;
        if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
            item.error(format!("{text:?} cannot be sent; write one word"));
        }
        Some(text.to_owned())
    };
    let (method, path, host) = (word("method"), word("path"), word("host"));
    let headers = fields.take("headers");
    fields.finish();
    let headers = headers.iter().flat_map(Item::entries).filter_map(|(name, value)| header(name, &value));
    Some(HttpRequest {
        method: method.unwrap_or_else(|| "GET".to_owned()),
        path: path.unwrap_or_else(|| "/".to_owned()),
        host,
        headers: headers.collect(),
    })
}

fn header(name: &str, value: &Item<'_>) -> Option<(String, String)> {
    let text = value.text()?;
    if !is_header_name(name) || text.chars().any(char::is_control) {
        value.error(format!("{name:?} with {text:?} is not a valid header field; write `X-Name: value`"));
    }
    Some((name.to_owned(), text.to_owned()))
}

/// Reads `{order, expect: [{port, protocol, rows}]}`: row i, column j is from order[i] to order[j].
fn matrix(item: &Item<'_>, world: &KnownNames<'_>) -> Vec<Probe> {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return Vec::new() };
    let (order, expect) = (fields.require("order"), fields.require("expect"));
    fields.finish();
    let order = order.iter().flat_map(Item::list);
    let order: Vec<Option<ProbeEnd>> = order.map(|item| world.party(&item)).collect();
    expect.iter().flat_map(Item::list).flat_map(|item| table(&item, &order)).collect()
}

fn table(item: &Item<'_>, order: &[Option<ProbeEnd>]) -> Vec<Probe> {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return Vec::new() };
    let (port, protocol) = (fields.require("port"), fields.take("protocol"));
    let rows = fields.require("rows");
    fields.finish();
    let port = port.and_then(|item| item.integer(1..=65_535));
    let protocol = protocol.map_or(Some(TransportProtocol::Tcp), |item| item.one_of("protocol", PROTOCOLS));
    let (Some(port), Some(protocol), Some(rows)) = (port, protocol, rows) else { return Vec::new() };
    let items = rows.list();
    if items.len() != order.len() {
        rows.error(format!("{} rows for {} parties in `order`", items.len(), order.len()));
    }
    let traffic = ProbeTraffic::Connect { protocol, port };
    items.iter().zip(order).flat_map(|(item, from)| row(item, from.as_ref(), order, &traffic)).collect()
}

fn row(
    item: &Item<'_>,
    from: Option<&ProbeEnd>,
    order: &[Option<ProbeEnd>],
    traffic: &ProbeTraffic,
) -> Vec<Probe> {
    let Some(text) = item.text() else { return Vec::new() };
    if text.chars().count() != order.len() {
        item.error(format!("{} columns for {} parties in `order`", text.chars().count(), order.len()));
    }
    let probes = text.chars().zip(order).filter_map(|(cell, to)| {
        let expect = match cell {
            '.' => Expect::Allow,
            'X' => Expect::Drop,
            '-' => return None,
            other => {
                item.error(format!(
                    "{other:?} is not a verdict; write `.` for allow, `X` for drop, `-` for neither"
                ));
                return None;
            }
        };
        let (from, to) = (from?.clone(), to.clone()?);
        Some(Probe {
            from,
            to,
            family: None,
            traffic: traffic.clone(),
            expect: Some(expect),
            line: item.line(),
        })
    });
    probes.collect()
}
