//! The destinations of a connection: one end, or the backends of a service.

use super::end::ConnectionEnd;
use super::inventory::{Inventory, domain, end};
use super::protocol::protocol_name;
use abi::identity::is_workload;
use api::{Cause, ExplainProbe, Failure};
use identity::key::KUBE_APISERVER;
use policy::rule::Protocol;
use service::{API_SERVER, EndpointPort, EndpointSlice, Service, ServicePort, TargetPort};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The ends that a connection may reach, with the port at each.
pub(super) struct Destinations {
    /// One end, or each backend of a service.
    pub(super) ends: Vec<(ConnectionEnd, u16)>,
    /// Remarks for the explanation.
    pub(super) notes: Vec<String>,
    /// Whether they are backends of a service.
    pub(super) is_service: bool,
}

/// Resolves the destination of a probe; `number` is the protocol's number.
pub(super) fn destinations(
    inventory: &dyn Inventory,
    from: &ConnectionEnd,
    probe: &ExplainProbe,
    number: u8,
) -> Result<Destinations, Failure> {
    let address = probe.to.parse::<IpAddr>().ok();
    if probe.to == KUBE_APISERVER && inventory.named(&probe.to).is_none() {
        return api_servers(inventory, probe, number);
    }
    let Some(service) = service_named(inventory, probe, address, number) else {
        return single(end(inventory, &probe.to)?, probe, number);
    };
    let name = format!("{}/{}", service.namespace, service.name);
    if let Some(alias) = service.external_name.as_deref().filter(|_| inventory.named(&probe.to).is_none()) {
        return aliased(inventory, from, (&name, alias), probe, number);
    }
    let offered = offered(service, probe, number);
    // The verdicts for the workload and for the service can differ only where the service has another target port.
    let has_other_port = |(_, offered): &(u16, ServicePort)| offered.target != TargetPort::Number(probe.port);
    let is_service_meant =
        offered.as_ref().is_some_and(has_other_port) && inventory.prefers_service(&probe.to);
    if address.is_none() && !is_service_meant && inventory.named(&probe.to).is_some() {
        let mut found = single(end(inventory, &probe.to)?, probe, number)?;
        if offered.is_some_and(|(_, offered)| offered.target != TargetPort::Number(found.ends[0].1)) {
            let at = service_address(service);
            found.notes.push(format!("{name} is also a service: use --to {at} for its backends"));
        }
        return Ok(found);
    }
    let is_translated = is_workload(from.number);
    let Some((port, target)) = offered else {
        return unoffered(inventory, (service, &name), address, (probe, number));
    };
    if !is_translated && let Some(address) = address {
        let mut found =
            single(ConnectionEnd { addresses: vec![address], ..inventory.at(address) }, probe, number)?;
        let from = &from.name;
        found.notes.push(format!(
            "{address} is service {name}; only packets of workloads are translated, so for {from} it is an address like any \
             other"
        ));
        return Ok(found);
    }
    let ends = backends(inventory, service, &target, frontend(service, probe, address));
    let frontend = match address {
        Some(address) => socket(address, port),
        None if service.headless => format!("{name}:{}", wanted(probe)),
        None => format!("{name}:{port}"),
    };
    Ok(Destinations { notes: vec![translation(&frontend, &name, &ends)], ends, is_service: true })
}

/// The service with an address or a name; of several services with the same address the first that has the port.
fn service_named<'a>(
    inventory: &'a dyn Inventory,
    probe: &ExplainProbe,
    address: Option<IpAddr>,
    number: u8,
) -> Option<&'a Service> {
    let (namespace, name) = probe.to.split_once('/').unwrap_or(("default", &probe.to));
    let candidates = || {
        inventory.services().filter(|service| match address {
            Some(address) => service.addresses.contains(&address),
            None => {
                (service.namespace == namespace && service.name == name) || is_known_as(service, &probe.to)
            }
        })
    };
    candidates().find(|service| offered(service, probe, number).is_some()).or_else(|| candidates().next())
}

/// Whether this is the service's name in the cluster's DNS: `web.shop.svc`, with or without the usual domain.
fn is_known_as(service: &Service, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('.').unwrap_or(&text);
    let text = text.strip_suffix(".cluster.local").unwrap_or(text);
    text.strip_suffix(".svc") == Some(&format!("{}.{}", service.name, service.namespace))
}

/// Resolves a service of type ExternalName, whose target may be another service.
fn aliased(
    inventory: &dyn Inventory,
    from: &ConnectionEnd,
    (name, alias): (&str, &str),
    probe: &ExplainProbe,
    number: u8,
) -> Result<Destinations, Failure> {
    let is_other = |service: &&Service| service.external_name.is_none() && is_known_as(service, alias);
    if inventory.named(alias).is_none() && inventory.services().any(|service| is_other(&service)) {
        let mut found =
            destinations(inventory, from, &ExplainProbe { to: alias.to_owned(), ..probe.clone() }, number)?;
        found.notes.push(format!("service {name} is an alias of {alias}"));
        return Ok(found);
    }
    let end = inventory.named(alias).or_else(|| domain(alias)).ok_or_else(|| {
        invalid(format!("service {name} is an alias of {alias:?}, which is not a domain name"))
    })?;
    let mut found = single(end, probe, number)?;
    found.notes.push(format!("service {name} is an alias of {alias}"));
    Ok(found)
}

/// The end at the address of a service without the port: the address is not translated.
fn unoffered(
    inventory: &dyn Inventory,
    (service, name): (&Service, &str),
    address: Option<IpAddr>,
    (probe, number): (&ExplainProbe, u8),
) -> Result<Destinations, Failure> {
    let what = format!("{}/{}", wanted(probe), protocol_name(number));
    let offers = offers(service);
    let Some(address) = address else {
        return Err(invalid(format!("service {name} has no {what}; it has {offers}")));
    };
    let mut found =
        single(ConnectionEnd { addresses: vec![address], ..inventory.at(address) }, probe, number)?;
    found.notes.push(format!("{address} is service {name}, which has {offers}: {what} is not translated"));
    Ok(found)
}

/// The API servers with an address of the probe's family.
fn api_servers(inventory: &dyn Inventory, probe: &ExplainProbe, number: u8) -> Result<Destinations, Failure> {
    let is_v6 = probe.family.as_deref().map(|family| family.eq_ignore_ascii_case("IPv6"));
    let mut known = inventory.api_servers();
    known.retain(|address| is_v6.is_none_or(|is_v6| is_v6 == address.is_ipv6()));
    // With addresses of both families IPv4 is preferred, as everywhere.
    if known.iter().any(IpAddr::is_ipv4) && is_v6.is_none() {
        known.retain(IpAddr::is_ipv4);
    }
    let mut found = single(end(inventory, &probe.to)?, probe, number)?;
    if known.is_empty() {
        let (namespace, name) = API_SERVER;
        found.notes.push(format!(
            "no address is listed for service {namespace}/{name} {}, so {KUBE_APISERVER} selects no peer until one is",
            inventory.place()
        ));
        return Ok(found);
    }
    let port = found.ends[0].1;
    let ends = known
        .into_iter()
        .map(|address| (ConnectionEnd { addresses: vec![address], ..inventory.at(address) }, port));
    Ok(Destinations { ends: ends.collect(), ..found })
}

fn single(end: ConnectionEnd, probe: &ExplainProbe, number: u8) -> Result<Destinations, Failure> {
    let mut notes = Vec::new();
    if end.names.contains(&end.name) {
        notes.push(format!("{} is an external domain name", end.name));
    }
    let port = match &probe.port_name {
        None => probe.port,
        Some(name) => {
            let name = name.to_ascii_lowercase();
            let port =
                end.known_ports().resolve(&name, Protocol::Any).find(|(protocol, _)| *protocol == number);
            let (_, port) = port.ok_or_else(|| no_port(&end, &name, number))?;
            notes.push(format!("port {name} of {} is {port}/{}", end.asked_name(), protocol_name(number)));
            port
        }
    };
    Ok(Destinations { ends: vec![(end, port)], notes, is_service: false })
}

fn no_port(end: &ConnectionEnd, name: &str, number: u8) -> Failure {
    let known: Vec<&str> = end.known_ports().names().collect();
    let known = if known.is_empty() { "no named port".to_owned() } else { known.join(", ") };
    let protocol = protocol_name(number);
    invalid(format!(
        "{} has no {protocol} port called {name:?}; it has {known}: use the number",
        end.asked_name()
    ))
}

/// The port of the service that the probe names, and its target port.
fn offered(service: &Service, probe: &ExplainProbe, number: u8) -> Option<(u16, ServicePort)> {
    if service.headless {
        // The name resolves to the backends' addresses; nothing is translated.
        let protocol = PROTOCOLS.into_iter().find(|protocol| protocol.number() == number)?;
        let (name, port) = (String::new(), probe.port);
        let target = probe.port_name.clone().map_or(TargetPort::Number(port), TargetPort::Name);
        return Some((port, ServicePort { name, protocol, port, target }));
    }
    let found = service.ports.iter().filter(|port| port.protocol.number() == number);
    let mut found = found.filter(|port| match &probe.port_name {
        None => port.port == probe.port,
        Some(name) => port.name.eq_ignore_ascii_case(name),
    });
    found.next().map(|port| (port.port, port.clone()))
}

/// The frontend's address: the probe's, else the service's of the probe's family, else any of that family.
fn frontend(service: &Service, probe: &ExplainProbe, address: Option<IpAddr>) -> IpAddr {
    let v6 = probe.family.as_deref().map(|family| family.eq_ignore_ascii_case("IPv6"));
    let own = service.addresses.iter().find(|own| v6.is_none_or(|v6| own.is_ipv6() == v6)).copied();
    let any: IpAddr =
        if v6 == Some(true) { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    address.or(own).unwrap_or(any)
}

fn backends(
    inventory: &dyn Inventory,
    service: &Service,
    port: &ServicePort,
    frontend: IpAddr,
) -> Vec<(ConnectionEnd, u16)> {
    let probed = Service { addresses: vec![frontend], ports: vec![port.clone()], ..service.clone() };
    let listed = inventory.listed_slices(service);
    // For a headless service the client uses the listed addresses as they are, and a port of its own choice.
    let reached: Vec<EndpointSlice> = match &port.target {
        TargetPort::Number(number) if service.headless => {
            listed.into_iter().map(|one| with_port(one, port, *number)).collect()
        }
        _ => listed.into_iter().cloned().collect(),
    };
    let reached: Vec<&EndpointSlice> = reached.iter().collect();
    let frontends = service::frontends_among(&probed, &inventory.candidates(), &reached);
    let backends = frontends.into_iter().flat_map(|frontend| frontend.backends);
    let ends = backends.map(|backend| {
        let address = IpAddr::from(backend.address);
        (
            ConnectionEnd { addresses: vec![address], ..inventory.at(address) },
            u16::from_be_bytes(backend.port),
        )
    });
    ends.collect()
}

/// The same addresses with just this port, which has the name of the service's port.
fn with_port(slice: &EndpointSlice, port: &ServicePort, number: u16) -> EndpointSlice {
    let port = EndpointPort::named(&port.name, port.protocol, number);
    EndpointSlice { ports: vec![port], ..slice.clone() }
}

/// The remark on the translation of a service.
fn translation(frontend: &str, service: &str, ends: &[(ConnectionEnd, u16)]) -> String {
    let is = if frontend.starts_with(service) {
        format!("{frontend} is a service")
    } else {
        format!("{frontend} is service {service}")
    };
    if ends.is_empty() {
        return format!(
            "{is}; it has no backend: no workload matches its selector, and no address is listed for it"
        );
    }
    let ends: Vec<String> = ends.iter().map(|(end, port)| format!("{}:{port}", end.asked_name())).collect();
    format!("{is} with backends {}", ends.join(" and "))
}

const PROTOCOLS: [service::TransportProtocol; 3] =
    [service::TransportProtocol::Tcp, service::TransportProtocol::Udp, service::TransportProtocol::Sctp];

fn wanted(probe: &ExplainProbe) -> String {
    probe.port_name.clone().unwrap_or_else(|| probe.port.to_string())
}

fn offers(service: &Service) -> String {
    let ports =
        service.ports.iter().map(|port| format!("{}/{}", port.port, protocol_name(port.protocol.number())));
    let ports: Vec<String> = ports.collect();
    if ports.is_empty() { "no port".to_owned() } else { ports.join(" and ") }
}

fn service_address(service: &Service) -> String {
    service.addresses.first().map_or_else(|| "its address".to_owned(), ToString::to_string)
}

fn socket(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

fn invalid(message: String) -> Failure {
    Failure::new(Cause::Invalid, message)
}
