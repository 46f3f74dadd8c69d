//! Service of Kubernetes: its cluster addresses, its ports, and the labels of its backends.

use crate::header::Header;
use crate::item::{Fields, Item, Nulls};
use crate::label;
use crate::{address, name};
use service::{Service, ServicePort, TargetPort, TransportProtocol};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Protocols of ports.
pub(crate) const PROTOCOLS: &[(&str, TransportProtocol)] =
    &[("TCP", TransportProtocol::Tcp), ("UDP", TransportProtocol::Udp), ("SCTP", TransportProtocol::Sctp)];

/// Reads the fields beside the header: `spec` and `status`.
pub(crate) fn service(mut fields: Fields<'_>, header: Header<'_>) -> Option<Service> {
    let spec = fields.require("spec");
    fields.ignore(&["status"]);
    fields.finish();
    let mut fields = spec?.fields(Nulls::Absent)?;
    let selector = fields.take("selector").map(|item| label::read(&item)).unwrap_or_default();
    let (addresses, headless) = addresses(&mut fields);
    let ports = fields.take("ports");
    let external_name = external_name(&mut fields);
    let affinity = fields.take("sessionAffinity");
    let affinities = &[("", false), ("None", false), ("ClientIP", true)];
    let keeps_clients = affinity.and_then(|item| item.one_of("affinity", affinities)).unwrap_or_default();
    let policies = &[("", false), ("Cluster", false), ("Local", true)];
    let stays_on_node = fields.take("internalTrafficPolicy");
    let stays_on_node =
        stays_on_node.and_then(|item| item.one_of("traffic policy", policies)).unwrap_or_default();
    check_other_fields(&mut fields);
    fields.finish();
    let items = ports.iter().flat_map(Item::list).collect::<Vec<_>>();
    let many = items.len() > 1;
    let ports = items.iter().filter_map(|item| port(item, many)).collect();
    let Header { namespace, name, labels, .. } = header;
    let name = name?;
    let service = Service {
        namespace,
        name,
        labels,
        selector,
        addresses,
        headless,
        external_name: None,
        keeps_clients,
        stays_on_node,
        ports,
    };
    Some(match external_name {
        // Such a service is a DNS alias: it has no address, and Kubernetes ignores its selector.
        Some(_) => {
            let (selector, addresses) = (BTreeMap::new(), Vec::new());
            Service { selector, addresses, headless: true, external_name, ..service }
        }
        None => service,
    })
}

/// Reads `type` and `externalName`: the domain name that the service is an alias for.
fn external_name(fields: &mut Fields<'_>) -> Option<String> {
    let types: &[(&str, bool)] = &[
        ("", false),
        ("ClusterIP", false),
        ("NodePort", false),
        ("LoadBalancer", false),
        ("ExternalName", true),
    ];
    let kind = fields.take("type");
    let is_alias = kind.as_ref().and_then(|item| item.one_of("type", types)).unwrap_or_default();
    let name = fields.take("externalName").and_then(|item| item.text()).filter(|name| !name.is_empty());
    if let (true, None, Some(kind)) = (is_alias, name, &kind) {
        kind.error("a service of type ExternalName needs `externalName`");
    }
    name.filter(|_| is_alias).map(str::to_owned)
}

/// Reads `clusterIP` and `clusterIPs`: the addresses, and whether the service is headless.
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

/// The values of an enumeration; the empty text is the default.
type Values = &'static [(&'static str, ())];

const FAMILIES: Values = &[("IPv4", ()), ("IPv6", ())];
const POLICIES: Values = &[("", ()), ("Cluster", ()), ("Local", ())];

/// Checks fields that policies do not depend on: neither the address of the service nor its set of backends depends on
/// them.
fn check_other_fields(fields: &mut Fields<'_>) {
    let checked: &[(&'static str, &str, Values)] = &[
        ("externalTrafficPolicy", "traffic policy", POLICIES),
        (
            "ipFamilyPolicy",
            "family policy",
            &[("", ()), ("SingleStack", ()), ("PreferDualStack", ()), ("RequireDualStack", ())],
        ),
    ];
    for (name, what, values) in checked {
        fields.take(name).iter().for_each(|item| _ = item.one_of(what, values));
    }
    for name in ["allocateLoadBalancerNodePorts", "publishNotReadyAddresses"] {
        fields.take(name).iter().for_each(|item| _ = item.boolean());
    }
    for name in ["loadBalancerClass", "loadBalancerIP", "trafficDistribution"] {
        fields.take(name).iter().for_each(Item::check_text);
    }
    fields.take("healthCheckNodePort").iter().for_each(|item| _ = item.integer::<u16>(0..=65_535));
    fields
        .take("ipFamilies")
        .iter()
        .flat_map(Item::list)
        .for_each(|item| _ = item.one_of("family", FAMILIES));
    fields.take("loadBalancerSourceRanges").iter().flat_map(Item::list).for_each(|item| item.check_text());
    if let Some(item) = fields.take("externalIPs")
        && !item.list().is_empty()
    {
        item.list().iter().for_each(Item::check_text);
        item.warn("traffic to these addresses is not translated; policy applies to the address as it is");
    }
    affinity(fields);
}

/// Reads `sessionAffinityConfig`: how long a client keeps its backend.
fn affinity(fields: &mut Fields<'_>) {
    let Some(mut fields) = fields.take("sessionAffinityConfig").and_then(|item| item.fields(Nulls::Absent))
    else {
        return;
    };
    let client = fields.take("clientIP");
    fields.finish();
    let Some(mut fields) = client.and_then(|item| item.fields(Nulls::Absent)) else { return };
    fields.take("timeoutSeconds").iter().for_each(|item| _ = item.integer::<u32>(1..=86_400));
    fields.finish();
}

fn port(item: &Item<'_>, many: bool) -> Option<ServicePort> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (name, port, target) = (fields.take("name"), fields.require("port"), fields.take("targetPort"));
    let protocol = fields.take("protocol");
    fields.take("appProtocol").iter().for_each(Item::check_text);
    fields.take("nodePort").iter().for_each(|item| _ = item.integer::<u16>(0..=65_535));
    fields.finish();
    if many && name.is_none() {
        item.error("`name` is missing; where a service has several ports, each needs one");
    }
    let protocol = protocol.map_or(Some(TransportProtocol::Tcp), |item| item.one_of("protocol", PROTOCOLS));
    let port = port.and_then(|item| item.integer(1..=65_535));
    // 0 and the empty text stand for the service's own port, as in Kubernetes.
    let target = match target {
        None => port.map(TargetPort::Number),
        Some(item) if item.is_text() && item.text() == Some("") => port.map(TargetPort::Number),
        Some(item) if item.is_text() => name::port(&item).map(TargetPort::Name),
        Some(item) => match item.integer(0..=65_535) {
            Some(0) => port.map(TargetPort::Number),
            number => number.map(TargetPort::Number),
        },
    };
    let name = name.and_then(|item| item.text()).unwrap_or_default().to_ascii_lowercase();
    Some(ServicePort { name, protocol: protocol?, port: port?, target: target? })
}
