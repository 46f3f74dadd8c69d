//! Endpoints and EndpointSlice: the addresses of a service's backends, with their ports.

use super::service::PROTOCOLS;
use crate::address;
use crate::header::Header;
use crate::item::{Fields, Item, Nulls};
use crate::object::Endpoints;
use service::{EndpointPort, EndpointSlice, TransportProtocol};
use std::collections::BTreeSet;
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
    Some(EndpointSlice { addresses, ports: ports.as_ref().map(endpoint_ports).unwrap_or_default() })
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
    let ready: Vec<Item<'_>> =
        endpoints.iter().flat_map(Item::list).filter_map(|item| ready(&item)).collect();
    let addresses: BTreeSet<IpAddr> = match family {
        None => BTreeSet::new(),
        Some(_) => ready.iter().flat_map(address::many).collect(),
    };
    let is_stray = |address: &&IpAddr| address.is_ipv4() != (family == Some(Family::Ipv4));
    if let (Some(stray), Some(kind)) = (addresses.iter().find(is_stray), &kind) {
        kind.error(format!("{stray} is of the other family; a slice has addresses of one"));
    }
    let ports = ports.as_ref().map(endpoint_ports).unwrap_or_default();
    let service = header.labels.get(SERVICE).cloned().unwrap_or_default();
    let slices = vec![EndpointSlice { addresses, ports }];
    Some(Endpoints { namespace: header.namespace, service, slice_name: Some(header.name?), slices })
}

/// The addresses of an endpoint; none where it is not ready.
fn ready<'a>(item: &Item<'a>) -> Option<Item<'a>> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (addresses, conditions) = (fields.require("addresses"), fields.take("conditions"));
    fields.ignore(&["deprecatedTopology", "hints", "hostname", "nodeName", "targetRef", "zone"]);
    fields.finish();
    let is_ready = conditions.and_then(|item| {
        let mut fields = item.fields(Nulls::Absent)?;
        let ready = fields.take("ready");
        fields.ignore(&["serving", "terminating"]);
        fields.finish();
        ready?.boolean()
    });
    addresses.filter(|_| is_ready != Some(false))
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
