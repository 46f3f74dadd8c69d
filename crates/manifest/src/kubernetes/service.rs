//! Service of Kubernetes: a cluster address, its ports, and who stands behind it.

use crate::document::Header;
use crate::item::{Fields, Item, Nulls};
use crate::label;
use crate::{address, name};
use service::{Protocol, Service, ServicePort, TargetPort};
use std::net::IpAddr;

/// Protocols of ports.
pub(crate) const PROTOCOLS: &[(&str, Protocol)] =
    &[("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];

/// Reads what stands beside the header: `spec` and `status`.
pub(crate) fn service(mut fields: Fields<'_>, header: Header<'_>) -> Option<Service> {
    let spec = fields.require("spec");
    fields.ignore(&["status"]);
    fields.finish();
    let mut fields = spec?.fields(Nulls::Absent)?;
    let selector = fields.take("selector").map(|item| label::read(&item)).unwrap_or_default();
    let (addresses, headless) = addresses(&mut fields);
    let ports = fields.take("ports");
    other_kinds(&mut fields);
    fields.finish();
    let items = ports.iter().flat_map(Item::list).collect::<Vec<_>>();
    let many = items.len() > 1;
    let ports = items.iter().filter_map(|item| port(item, many)).collect();
    let Header { namespace, name, labels, .. } = header;
    Some(Service { namespace, name: name?, labels, selector, addresses, headless, ports })
}

/// Reads `clusterIP` and `clusterIPs`: the addresses, and whether none is wanted.
fn addresses(fields: &mut Fields<'_>) -> (Vec<IpAddr>, bool) {
    let (one, many) = (fields.take("clusterIP"), fields.take("clusterIPs"));
    let items = match (one, many) {
        (_, Some(many)) => many.list(),
        (Some(one), None) => vec![one],
        (None, None) => Vec::new(),
    };
    let given = |item: &&Item<'_>| !(item.is_text() && item.text() == Some(""));
    let is_none = |item: &Item<'_>| item.is_text() && item.text() == Some("None");
    if items.iter().any(is_none) {
        return (Vec::new(), true);
    }
    let addresses: Vec<IpAddr> = items.iter().filter(given).filter_map(address::one).collect();
    let twice =
        |first: &IpAddr| addresses.iter().filter(|other| other.is_ipv4() == first.is_ipv4()).count() > 1;
    if let Some(item) = items.first().filter(|_| addresses.iter().any(twice)) {
        item.error("a service has at most one address of each family");
    }
    (addresses, false)
}

/// Sees to what other kinds of services ask for.
fn other_kinds(fields: &mut Fields<'_>) {
    let plain: &[(&str, bool)] =
        &[("ClusterIP", true), ("NodePort", false), ("LoadBalancer", false), ("ExternalName", false)];
    if let Some(item) = fields.take("type")
        && item.one_of("type", plain) == Some(false)
    {
        item.not_supported(format_args!("type {}", item.text().unwrap_or_default()));
    }
    if let Some(item) = fields.take("sessionAffinity")
        && item.one_of("affinity", &[("None", true), ("ClientIP", false)]) == Some(false)
    {
        item.not_supported("affinity ClientIP");
    }
    if let Some(item) = fields.take("internalTrafficPolicy")
        && item.one_of("traffic policy", &[("Cluster", true), ("Local", false)]) == Some(false)
    {
        item.not_supported("traffic policy Local");
    }
    fields.not_supported(&["externalIPs", "loadBalancerIP", "loadBalancerSourceRanges", "externalName"]);
    fields.ignore(&["ipFamilies", "ipFamilyPolicy", "publishNotReadyAddresses", "sessionAffinityConfig"]);
}

fn port(item: &Item<'_>, many: bool) -> Option<ServicePort> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (name, port, target) = (fields.take("name"), fields.require("port"), fields.take("targetPort"));
    let protocol = fields.take("protocol");
    fields.ignore(&["appProtocol"]);
    fields.not_supported(&["nodePort"]);
    fields.finish();
    if many && name.is_none() {
        item.error("`name` is missing; where a service has several ports, each needs one");
    }
    let protocol = protocol.map_or(Some(Protocol::Tcp), |item| item.one_of("protocol", PROTOCOLS));
    let port = port.and_then(|item| item.integer(1..=65_535));
    let target = match target {
        None => port.map(TargetPort::Number),
        Some(item) if item.is_text() => name::port(&item).map(TargetPort::Name),
        Some(item) => item.integer(1..=65_535).map(TargetPort::Number),
    };
    let name = name.and_then(|item| item.text()).unwrap_or_default().to_owned();
    Some(ServicePort { name, protocol: protocol?, port: port?, target: target? })
}
