//! The receivers of a connection: one end, or the backends of a service.

use super::end::End;
use super::inventory::{Inventory, domain, end};
use super::protocol::protocol_name;
use abi::identity::is_workload;
use api::{Cause, Failure, Probe};
use identity::key::KUBE_APISERVER;
use policy::rule::Protocol;
use service::{API_SERVER, EndpointPort, EndpointSlice, Service, ServicePort, TargetPort};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who a connection may come to, and at which port.
pub(super) struct Receivers {
    /// One, or each that stands behind a service.
    pub(super) ends: Vec<(End, u16)>,
    /// What is worth knowing about who they are.
    pub(super) notes: Vec<String>,
    /// Whether they stand behind a service.
    pub(super) is_service: bool,
}

/// Finds who is meant; `number` is that of the protocol.
pub(super) fn receivers(
    around: &dyn Inventory,
    from: &End,
    probe: &Probe,
    number: u8,
) -> Result<Receivers, Failure> {
    let address = probe.to.parse::<IpAddr>().ok();
    if probe.to == KUBE_APISERVER && around.named(&probe.to).is_none() {
        return api_servers(around, probe, number);
    }
    let Some(service) = meant(around, probe, address, number) else {
        return somebody(end(around, &probe.to)?, probe, number);
    };
    let name = format!("{}/{}", service.namespace, service.name);
    if let Some(alias) = service.external_name.as_deref().filter(|_| around.named(&probe.to).is_none()) {
        return aliased(around, from, (&name, alias), probe, number);
    }
    let offered = offered(service, probe, number);
    // The verdicts for the workload and for the service can differ only where the service has another target port.
    let leads_on = |(_, offered): &(u16, ServicePort)| offered.target != TargetPort::Number(probe.port);
    let is_rather_a_service = offered.as_ref().is_some_and(leads_on) && around.is_rather_a_service(&probe.to);
    if address.is_none() && !is_rather_a_service && around.named(&probe.to).is_some() {
        let mut found = somebody(end(around, &probe.to)?, probe, number)?;
        if offered.is_some_and(|(_, offered)| offered.target != TargetPort::Number(found.ends[0].1)) {
            let at = service_address(service);
            found.notes.push(format!("{name} is also a service: --to {at} asks for what stands behind it"));
        }
        return Ok(found);
    }
    let is_translated = is_workload(from.number);
    let Some((port, target)) = offered else {
        return unoffered(around, (service, &name), address, (probe, number));
    };
    if !is_translated && let Some(address) = address {
        let mut found = somebody(End { addresses: vec![address], ..around.at(address) }, probe, number)?;
        let from = &from.name;
        found.notes.push(format!(
            "{address} is service {name}; only what workloads send is translated, so to {from} it is an address like any \
             other"
        ));
        return Ok(found);
    }
    let ends = behind(around, service, &target, frontend(service, probe, address));
    let asked = match address {
        Some(address) => socket(address, port),
        None if service.headless => format!("{name}:{}", wanted(probe)),
        None => format!("{name}:{port}"),
    };
    Ok(Receivers { notes: vec![translation(&asked, &name, &ends)], ends, is_service: true })
}

/// The service that is called by an address or a name; of several with one address the first that has the port.
fn meant<'a>(
    around: &'a dyn Inventory,
    probe: &Probe,
    address: Option<IpAddr>,
    number: u8,
) -> Option<&'a Service> {
    let (namespace, name) = probe.to.split_once('/').unwrap_or(("default", &probe.to));
    let called = || {
        around.services().filter(|service| match address {
            Some(address) => service.addresses.contains(&address),
            None => {
                (service.namespace == namespace && service.name == name) || is_known_as(service, &probe.to)
            }
        })
    };
    called().find(|service| offered(service, probe, number).is_some()).or_else(|| called().next())
}

/// Whether this is the service's name in the DNS of the cluster: `web.shop.svc`, with the usual domain or without.
fn is_known_as(service: &Service, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('.').unwrap_or(&text);
    let text = text.strip_suffix(".cluster.local").unwrap_or(text);
    text.strip_suffix(".svc") == Some(&format!("{}.{}", service.name, service.namespace))
}

/// What a service of type ExternalName is another name of, another service of the cluster perhaps.
fn aliased(
    around: &dyn Inventory,
    from: &End,
    (name, alias): (&str, &str),
    probe: &Probe,
    number: u8,
) -> Result<Receivers, Failure> {
    let is_other = |service: &&Service| service.external_name.is_none() && is_known_as(service, alias);
    if around.named(alias).is_none() && around.services().any(|service| is_other(&service)) {
        let mut found = receivers(around, from, &Probe { to: alias.to_owned(), ..probe.clone() }, number)?;
        found.notes.push(format!("service {name} is another name of {alias}"));
        return Ok(found);
    }
    let end = around
        .named(alias)
        .or_else(|| domain(alias))
        .ok_or_else(|| invalid(format!("service {name} stands for {alias:?}, which is no domain name")))?;
    let mut found = somebody(end, probe, number)?;
    found.notes.push(format!("service {name} is another name of {alias}"));
    Ok(found)
}

/// The end at the address of a service that lacks the port: nothing is translated.
fn unoffered(
    around: &dyn Inventory,
    (service, name): (&Service, &str),
    address: Option<IpAddr>,
    (probe, number): (&Probe, u8),
) -> Result<Receivers, Failure> {
    let what = format!("{}/{}", wanted(probe), protocol_name(number));
    let offers = offers(service);
    let Some(address) = address else {
        return Err(invalid(format!("service {name} has no {what}; it has {offers}")));
    };
    let mut found = somebody(End { addresses: vec![address], ..around.at(address) }, probe, number)?;
    found.notes.push(format!("{address} is service {name}, which has {offers}: {what} is not translated"));
    Ok(found)
}

/// The API servers with an address of the family of the probe.
fn api_servers(around: &dyn Inventory, probe: &Probe, number: u8) -> Result<Receivers, Failure> {
    let is_v6 = probe.family.as_deref().map(|family| family.eq_ignore_ascii_case("IPv6"));
    let mut known = around.api_servers();
    known.retain(|address| is_v6.is_none_or(|is_v6| is_v6 == address.is_ipv6()));
    // Where there are addresses of both families, IPv4 goes first, as everywhere.
    if known.iter().any(IpAddr::is_ipv4) && is_v6.is_none() {
        known.retain(IpAddr::is_ipv4);
    }
    let mut found = somebody(end(around, &probe.to)?, probe, number)?;
    if known.is_empty() {
        let (namespace, name) = API_SERVER;
        found.notes.push(format!(
            "no address is listed for service {namespace}/{name} {}, so {KUBE_APISERVER} selects no peer until one is",
            around.place()
        ));
        return Ok(found);
    }
    let port = found.ends[0].1;
    let ends =
        known.into_iter().map(|address| (End { addresses: vec![address], ..around.at(address) }, port));
    Ok(Receivers { ends: ends.collect(), ..found })
}

fn somebody(end: End, probe: &Probe, number: u8) -> Result<Receivers, Failure> {
    let mut notes = Vec::new();
    if end.names.contains(&end.name) {
        notes.push(format!("{} is a domain name outside the cluster", end.name));
    }
    let port = match &probe.port_name {
        None => probe.port,
        Some(name) => {
            let name = name.to_ascii_lowercase();
            let port =
                end.known_ports().resolve(&name, Protocol::Any).find(|(protocol, _)| *protocol == number);
            let (_, port) = port.ok_or_else(|| no_port(&end, &name, number))?;
            notes.push(format!("port {name} of {} is {port}/{}", end.called(), protocol_name(number)));
            port
        }
    };
    Ok(Receivers { ends: vec![(end, port)], notes, is_service: false })
}

fn no_port(end: &End, name: &str, number: u8) -> Failure {
    let known: Vec<&str> = end.known_ports().names().collect();
    let known = if known.is_empty() { "no named port".to_owned() } else { known.join(", ") };
    let protocol = protocol_name(number);
    invalid(format!(
        "{} has no {protocol} port called {name:?}; it has {known}: give the number",
        end.called()
    ))
}

/// The port of the service that is asked about, and the one behind it.
fn offered(service: &Service, probe: &Probe, number: u8) -> Option<(u16, ServicePort)> {
    if service.headless {
        // The name stands for the addresses of the backends; nothing is translated.
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

/// The service's address that is asked: the one given, else its own of the wanted family, else any of that family.
fn frontend(service: &Service, probe: &Probe, address: Option<IpAddr>) -> IpAddr {
    let v6 = probe.family.as_deref().map(|family| family.eq_ignore_ascii_case("IPv6"));
    let own = service.addresses.iter().find(|own| v6.is_none_or(|v6| own.is_ipv6() == v6)).copied();
    let any: IpAddr =
        if v6 == Some(true) { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    address.or(own).unwrap_or(any)
}

fn behind(
    around: &dyn Inventory,
    service: &Service,
    port: &ServicePort,
    frontend: IpAddr,
) -> Vec<(End, u16)> {
    let asked = Service { addresses: vec![frontend], ports: vec![port.clone()], ..service.clone() };
    let listed = around.listed(service);
    // Of a headless service the sender takes the listed addresses as they are, and a port of its own choice.
    let reached: Vec<EndpointSlice> = match &port.target {
        TargetPort::Number(number) if service.headless => {
            listed.into_iter().map(|one| opened(one, port, *number)).collect()
        }
        _ => listed.into_iter().cloned().collect(),
    };
    let reached: Vec<&EndpointSlice> = reached.iter().collect();
    let mut ends = Vec::new();
    around.candidates(&mut |candidates| {
        for found in service::frontends(&asked, candidates, &reached).flat_map(|frontend| frontend.backends) {
            let address = IpAddr::from(found.address);
            let end = End { addresses: vec![address], ..around.at(address) };
            ends.push((end, u16::from_be_bytes(found.port)));
        }
    });
    ends
}

/// The same addresses with just this port, under the name of the service's.
fn opened(slice: &EndpointSlice, port: &ServicePort, number: u16) -> EndpointSlice {
    let listed = EndpointPort { name: port.name.clone(), protocol: port.protocol, port: number };
    EndpointSlice { addresses: slice.addresses.clone(), ports: vec![listed] }
}

/// Says what was translated to what.
fn translation(asked: &str, service: &str, ends: &[(End, u16)]) -> String {
    let is = if asked.starts_with(service) {
        format!("{asked} is a service")
    } else {
        format!("{asked} is service {service}")
    };
    if ends.is_empty() {
        return format!("{is}; no workload stands behind it, and no address is listed for it");
    }
    let ends: Vec<String> = ends.iter().map(|(end, port)| format!("{}:{port}", end.called())).collect();
    format!("{is}; behind it {}", ends.join(" and "))
}

const PROTOCOLS: [service::Protocol; 3] =
    [service::Protocol::Tcp, service::Protocol::Udp, service::Protocol::Sctp];

fn wanted(probe: &Probe) -> String {
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
