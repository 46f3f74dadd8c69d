//! The rules of a `toPorts` entry that inspect requests, each for one protocol.

use super::http;
use crate::domain;
use crate::item::{Item, Nulls};
use policy::rule::{Direction, HttpRule};
use std::sync::Arc;

/// Rules for one protocol; without content for unsupported protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestRules {
    Http(Arc<[HttpRule]>),
    Dns,
    /// DNS rules that allow no name.
    NoName,
    Kafka,
    /// Rules for a protocol of a proxy plug-in.
    Other,
}

const KAFKA_ROLES: &[(&str, ())] = &[("produce", ()), ("consume", ())];

impl RequestRules {
    /// The name of the protocol.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Http(_) => "HTTP",
            Self::Dns | Self::NoName => "DNS",
            Self::Kafka => "Kafka",
            Self::Other => "l7proto",
        }
    }
}

/// Reads `rules`; none if the field is empty.
pub(super) fn read(item: &Item<'_>, direction: Direction) -> Option<RequestRules> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (http, dns, kafka) = (fields.take("http"), fields.take("dns"), fields.take("kafka"));
    let (protocol, others) = (fields.take("l7proto"), fields.take("l7"));
    fields.finish();
    let given = [&http, &dns, &kafka, &protocol].into_iter().flatten().count();
    if given > 1 {
        item.error("has rules for several protocols; write an entry of `toPorts` for each");
    }
    if let (None, Some(others)) = (&protocol, &others) {
        others.error("`l7proto` is missing, which names the protocol of these rules");
    }
    if let Some(kafka) = &kafka {
        kafka.list().iter().for_each(self::kafka);
        kafka.not_supported("`kafka`");
    }
    if let Some(protocol) = &protocol {
        protocol.check_text();
        others.iter().flat_map(Item::list).for_each(|item| drop(item.text_map()));
        protocol.not_supported("`l7proto`");
    }
    let dns = dns.map(|dns| self::dns(&dns, direction));
    match (http, dns, kafka, protocol) {
        (Some(http), ..) => Some(RequestRules::Http(http::rules(&http).into())),
        (None, Some(dns), ..) => Some(dns),
        (None, None, Some(_), _) => Some(RequestRules::Kafka),
        (None, None, None, Some(_)) => Some(RequestRules::Other),
        (None, None, None, None) => None,
    }
}

/// Reads DNS rules; an empty list allows no name in either direction.
fn dns(item: &Item<'_>, direction: Direction) -> RequestRules {
    let items = item.list();
    for item in &items {
        domain::selector(item);
    }
    match direction {
        _ if items.is_empty() => {
            item.warn("an empty list allows no name, and so nothing; list a name, or leave `rules` out to allow all");
            return RequestRules::NoName;
        }
        Direction::Ingress => item.error("DNS rules apply to egress only; move them to an egress rule"),
        Direction::Egress => item.not_supported("`dns`"),
    }
    RequestRules::Dns
}

/// Checks the fields of `{role | apiKey, apiVersion, clientID, topic}`.
fn kafka(item: &Item<'_>) {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return };
    let (role, key) = (fields.take("role"), fields.take("apiKey"));
    for name in ["apiVersion", "clientID", "topic"] {
        fields.take(name).iter().for_each(Item::check_text);
    }
    fields.finish();
    if let (Some(_), Some(key)) = (&role, &key) {
        key.error("cannot be combined with `role`, which stands for several keys; keep one of the two");
    }
    key.iter().for_each(Item::check_text);
    role.and_then(|item| item.one_of("role", KAFKA_ROLES));
}
