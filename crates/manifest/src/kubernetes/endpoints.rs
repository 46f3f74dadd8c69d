//! Endpoints and EndpointSlice: the addresses of a service's backends, with their ports.

use super::service::PROTOCOLS;
use crate::address;
use crate::header::Header;
use crate::item::{Fields, Item, Nulls};
use crate::object::Endpoints;
use service::{EndpointPort, EndpointSlice, TransportProtocol};
use std::net::IpAddr;

/// The label by which a slice names its service.
const SERVICE: &str = "kubernetes.io/service-name";

/// The address types of a slice; none for domain names.
const ADDRESS_TYPES: &[(&str, Option<Family>)] =
    &[("IPv4", Some(Family::Ipv4)), ("IPv6", Some(Family::Ipv6)), ("FQDN", None)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Ipv4,
    Ipv6,
}

/// Reads the fields beside the header of Endpoints; their name is that of their service.
pub(crate) fn endpoints(mut fields: Fields<'_>, header: Header<'_>) -> Option<Endpoints> {
    let subsets = fields.take("subsets");
    fields.finish();
    let slices = subsets.iter().flat_map(Item::list).filter_map(|item| subset(&item)).collect();
    Some(Endpoints { namespace: header.namespace, service: header.name?, slice_name: None, slices })
}

/// A subset, of which the addresses that are not ready do not count.
fn subset(item: &Item<'_>) -> Option<EndpointSlice> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (addresses, ports) = (fields.take("addresses"), fields.take("ports"));
    fields.ignore(&["notReadyAddresses"]);
    fields.finish();
    let address = |item: Item<'_>| {
        let mut fields = item.fields(Nulls::Absent)?;
        let ip = fields.require("ip");
        fields.ignore(&["hostname", "nodeName", "targetRef"]);
        fields.finish();
        address::one(&ip?)
    };
    let addresses = addresses.iter().flat_map(Item::list).filter_map(address).collect();
    let ports = ports.as_ref().map(endpoint_ports).unwrap_or_default();
    Some(EndpointSlice { addresses, ports, ..EndpointSlice::default() })
}

/// Reads the fields beside the header of an EndpointSlice.
///
/// A slice of domain names has no addresses. One without the label of a service belongs to no service; a cluster may hold
/// either, and neither is the backend of anything.
pub(crate) fn slice(mut fields: Fields<'_>, header: Header<'_>) -> Option<Endpoints> {
    let kind = fields.require("addressType");
    let (endpoints, ports) = (fields.take_or_null("endpoints"), fields.take_or_null("ports"));
    fields.finish();
    let family = kind.as_ref()?.one_of("address type", ADDRESS_TYPES)?;
    let ports = ports.as_ref().map(endpoint_ports).unwrap_or_default();
    let mut slice = EndpointSlice { ports, ..EndpointSlice::default() };
    for item in endpoints.iter().flat_map(Item::list) {
        endpoint(&item, family.is_some(), &mut slice);
    }
    let is_stray = |address: &&IpAddr| address.is_ipv4() != (family == Some(Family::Ipv4));
    let mut addresses = slice.addresses.iter().chain(&slice.terminating);
    if let (Some(stray), Some(kind)) = (addresses.find(is_stray), &kind) {
        kind.error(format!("{stray} is of the other family; a slice has addresses of one"));
    }
    let service = header.labels.get(SERVICE).cloned().unwrap_or_default();
    let slices = vec![slice];
    Some(Endpoints { namespace: header.namespace, service, slice_name: Some(header.name?), slices })
}

/// Reads an endpoint into its slice: ready, terminating and serving, or neither. Domain names are no addresses.
fn endpoint(item: &Item<'_>, has_addresses: bool, slice: &mut EndpointSlice) -> Option<()> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (addresses, conditions) = (fields.require("addresses"), fields.take("conditions"));
    let node = fields.take("nodeName").and_then(|item| item.text().map(ToString::to_string));
    fields.ignore(&["deprecatedTopology", "hints", "hostname", "targetRef", "zone"]);
    fields.finish();
    let [ready, serving, terminating] = conditions.and_then(|item| conditions_of(&item)).unwrap_or_default();
    let addresses: Vec<IpAddr> = addresses.filter(|_| has_addresses).iter().flat_map(address::many).collect();
    slice.nodes.extend(node.iter().flat_map(|node| addresses.iter().map(|own| (*own, node.clone()))));
    if ready != Some(false) {
        slice.addresses.extend(addresses);
    } else if terminating == Some(true) && serving != Some(false) {
        slice.terminating.extend(addresses);
    }
    Some(())
}

/// The conditions `ready`, `serving` and `terminating`, as far as they are there.
fn conditions_of(item: &Item<'_>) -> Option<[Option<bool>; 3]> {
    let mut fields = item.fields(Nulls::Absent)?;
    let found =
        ["ready", "serving", "terminating"].map(|name| fields.take(name).and_then(|item| item.boolean()));
    fields.finish();
    Some(found)
}

/// The ports of a slice or subset. A port without a number stands for no port that a service could have.
fn endpoint_ports(item: &Item<'_>) -> Vec<EndpointPort> {
    let port = |item: Item<'_>| {
        let mut fields = item.fields(Nulls::Absent)?;
        let (name, port, protocol) = (fields.take("name"), fields.take("port"), fields.take("protocol"));
        fields.ignore(&["appProtocol"]);
        fields.finish();
        let protocol =
            protocol.map_or(Some(TransportProtocol::Tcp), |item| item.one_of("protocol", PROTOCOLS));
        let name = name.and_then(|item| item.text()).unwrap_or_default().to_ascii_lowercase();
        let port = port.and_then(|item| item.integer(1..=65_535));
        Some(EndpointPort::named(name, protocol?, port?))
    };
    item.list().into_iter().filter_map(port).collect()
}
