//! Endpoints and EndpointSlice: addresses behind a service that somebody wrote down.

use crate::address;
use crate::document::Header;
use crate::item::{Fields, Item, Nulls};
use crate::object::Endpoints;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The label by which a slice says whose it is.
const SERVICE: &str = "kubernetes.io/service-name";

/// What the addresses of a slice may be, and whether they are addresses.
const ADDRESS_TYPES: &[(&str, bool)] = &[("IPv4", true), ("IPv6", true), ("FQDN", false)];

/// Reads what stands beside the header of Endpoints; they are called as their service is.
pub(crate) fn endpoints(mut fields: Fields<'_>, header: Header<'_>) -> Option<Endpoints> {
    let subsets = fields.take("subsets");
    fields.finish();
    let subsets = subsets.iter().flat_map(Item::list).collect::<Vec<_>>();
    let addresses = subsets.iter().flat_map(subset).collect();
    Some(Endpoints { namespace: header.namespace, service: header.name?, slice: None, addresses })
}

/// The addresses of a subset that are ready.
fn subset(item: &Item<'_>) -> Vec<IpAddr> {
    let Some(mut fields) = item.fields(Nulls::Absent) else { return Vec::new() };
    let addresses = fields.take("addresses");
    fields.ignore(&["notReadyAddresses", "ports"]);
    fields.finish();
    let address = |item: Item<'_>| {
        let mut fields = item.fields(Nulls::Absent)?;
        let ip = fields.require("ip");
        fields.ignore(&["hostname", "nodeName", "targetRef"]);
        fields.finish();
        address::one(&ip?)
    };
    addresses.iter().flat_map(Item::list).filter_map(address).collect()
}

/// Reads what stands beside the header of an EndpointSlice.
pub(crate) fn slice(mut fields: Fields<'_>, header: Header<'_>) -> Option<Endpoints> {
    let (kind, endpoints) = (fields.require("addressType"), fields.take("endpoints"));
    fields.ignore(&["ports"]);
    let Some(service) = header.labels.get(SERVICE).cloned() else {
        fields.item().error(format!("the label `{SERVICE}` is missing; it names the service"));
        return None;
    };
    fields.finish();
    let kind = kind?;
    if kind.one_of("address type", ADDRESS_TYPES) == Some(false) {
        kind.not_supported("a slice of domain names");
    }
    let endpoints = endpoints.iter().flat_map(Item::list).collect::<Vec<_>>();
    let addresses: BTreeSet<IpAddr> = endpoints.iter().flat_map(endpoint).collect();
    let is_v4 = kind.text() == Some("IPv4");
    if let Some(stray) = addresses.iter().find(|address| address.is_ipv4() != is_v4) {
        kind.error(format!("{stray} is of the other family; a slice has addresses of one"));
    }
    Some(Endpoints { namespace: header.namespace, service, slice: Some(header.name?), addresses })
}

/// The addresses of an endpoint, unless it says that it is not ready.
fn endpoint(item: &Item<'_>) -> Vec<IpAddr> {
    let Some(mut fields) = item.fields(Nulls::Absent) else { return Vec::new() };
    let (addresses, conditions) = (fields.require("addresses"), fields.take("conditions"));
    fields.ignore(&["deprecatedTopology", "hints", "hostname", "nodeName", "targetRef", "zone"]);
    fields.finish();
    let ready = conditions.and_then(|item| {
        let mut fields = item.fields(Nulls::Absent)?;
        let ready = fields.take("ready");
        fields.ignore(&["serving", "terminating"]);
        fields.finish();
        ready?.boolean()
    });
    let addresses = addresses.map(|item| address::many(&item)).unwrap_or_default();
    if ready == Some(false) { Vec::new() } else { addresses }
}
