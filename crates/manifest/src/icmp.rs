//! ICMP messages by family and type, as numbers or by name.

use crate::item::{Item, Nulls};
use crate::nearest::hint;
use policy::rule::{Family, TrafficMatch};

/// The most types in one `fields` list.
const MAX_FIELDS: usize = 40;

pub(crate) const FAMILIES: &[(&str, Family)] = &[("IPv4", Family::Ipv4), ("IPv6", Family::Ipv6)];

/// Types of ICMP, by the names of Cilium's policies.
pub(crate) const V4: &[(&str, u8)] = &[
    ("EchoReply", 0),
    ("DestinationUnreachable", 3),
    ("Redirect", 5),
    ("Echo", 8),
    ("EchoRequest", 8),
    ("RouterAdvertisement", 9),
    ("RouterSelection", 10),
    ("TimeExceeded", 11),
    ("ParameterProblem", 12),
    ("Timestamp", 13),
    ("TimestampReply", 14),
    ("Photuris", 40),
    ("ExtendedEchoRequest", 42),
    ("ExtendedEchoReply", 43),
];

/// Types of ICMPv6.
pub(crate) const V6: &[(&str, u8)] = &[
    ("DestinationUnreachable", 1),
    ("PacketTooBig", 2),
    ("TimeExceeded", 3),
    ("ParameterProblem", 4),
    ("EchoRequest", 128),
    ("EchoReply", 129),
    ("MulticastListenerQuery", 130),
    ("MulticastListenerReport", 131),
    ("MulticastListenerDone", 132),
    ("RouterSolicitation", 133),
    ("RouterAdvertisement", 134),
    ("NeighborSolicitation", 135),
    ("NeighborAdvertisement", 136),
    ("RedirectMessage", 137),
    ("RouterRenumbering", 138),
    ("ICMPNodeInformationQuery", 139),
    ("ICMPNodeInformationResponse", 140),
    ("InverseNeighborDiscoverySolicitation", 141),
    ("InverseNeighborDiscoveryAdvertisement", 142),
    ("HomeAgentAddressDiscoveryRequest", 144),
    ("HomeAgentAddressDiscoveryReply", 145),
    ("MobilePrefixSolicitation", 146),
    ("MobilePrefixAdvertisement", 147),
    ("DuplicateAddressRequestCodeSuffix", 157),
    ("DuplicateAddressConfirmationCodeSuffix", 158),
    ("ExtendedEchoRequest", 160),
    ("ExtendedEchoReply", 161),
];

/// Reads the list under `icmps`.
pub(crate) fn matches(item: &Item<'_>) -> Vec<TrafficMatch> {
    item.list().iter().flat_map(fields_of).collect()
}

fn fields_of(item: &Item<'_>) -> Vec<TrafficMatch> {
    let Some(mut fields) = item.fields(Nulls::Refused) else { return Vec::new() };
    let listed = fields.take("fields");
    fields.finish();
    let items = listed.as_ref().map(Item::list).unwrap_or_default();
    if items.is_empty() {
        item.warn(
            "lists no ICMP message and so matches nothing; list a type in `fields`, or leave `icmps` out",
        );
    }
    if let Some(listed) = listed.filter(|_| items.len() > MAX_FIELDS) {
        listed.error(format!("{} ICMP types; at most {MAX_FIELDS} are allowed in one list", items.len()));
    }
    items.iter().filter_map(field).collect()
}

fn field(item: &Item<'_>) -> Option<TrafficMatch> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (family, kind) = (fields.take("family"), fields.require("type"));
    fields.finish();
    let family = match family {
        Some(family) => family.one_of("family", FAMILIES)?,
        None => Family::Ipv4,
    };
    Some(TrafficMatch::Icmp { family, kind: self::kind(&kind?, family)? })
}

/// An ICMP type: a number, or a name of the family.
pub(crate) fn kind(item: &Item<'_>, family: Family) -> Option<u8> {
    if !item.is_text() {
        return item.integer(0..=255);
    }
    let text = item.text()?;
    let names = match family {
        Family::Ipv4 => V4,
        Family::Ipv6 => V6,
    };
    let named = names.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
    let kind = named.or_else(|| text.parse().ok());
    if kind.is_none() {
        let (others, other) = match family {
            Family::Ipv4 => (V6, "IPv6"),
            Family::Ipv6 => (V4, "IPv4"),
        };
        let hint = match others.iter().any(|(name, _)| *name == text) {
            true => format!("; it is one of {other}, so give `family: {other}`"),
            false => hint(text, names.iter().map(|(name, _)| *name)),
        };
        let family = if family == Family::Ipv4 { "ICMP" } else { "ICMPv6" };
        item.error(format!("unknown {family} type {text:?}{hint} (or a number from 0 to 255)"));
    }
    kind
}
