//! Who a connection comes to: somebody, or whoever stands behind a service.

use super::surroundings::end;
use super::{End, Surroundings, protocol_name};
use abi::identity::is_workload;
use api::{Cause, Failure, Probe};
use policy::rule::Protocol;
use service::{Service, ServicePort, TargetPort};
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
    around: &dyn Surroundings,
    from: &End,
    probe: &Probe,
    number: u8,
) -> Result<Receivers, Failure> {
    let address = probe.to.parse::<IpAddr>().ok();
    let Some(service) = meant(around, &probe.to, address) else {
        return somebody(end(around, &probe.to)?, probe, number);
    };
    let name = format!("{}/{}", service.namespace, service.name);
    let offered = offered(service, probe, number);
    if address.is_none() && around.named(&probe.to).is_some() {
        let mut found = somebody(end(around, &probe.to)?, probe, number)?;
        if offered.is_some_and(|(_, offered)| offered.target != TargetPort::Number(found.ends[0].1)) {
            let at = service_address(service);
            found.notes.push(format!("{name} is also a service: --to {at} asks for what stands behind it"));
        }
        return Ok(found);
    }
    let is_translated = is_workload(from.number);
    let Some((port, target)) = offered else {
        let what = format!("{}/{}", wanted(probe), protocol_name(number));
        let offers = offers(service);
        let Some(address) = address else {
            return Err(invalid(format!("service {name} has no {what}; it has {offers}")));
        };
        let mut found = somebody(around.at(address), probe, number)?;
        found.ends[0].0.addresses = vec![address];
        found
            .notes
            .push(format!("{address} is service {name}, which has {offers}: {what} is not translated"));
        return Ok(found);
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

/// The service that is called by an address or a name.
fn meant<'a>(around: &'a dyn Surroundings, text: &str, address: Option<IpAddr>) -> Option<&'a Service> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    around.services().find(|service| match address {
        Some(address) => service.addresses.contains(&address),
        None => service.namespace == namespace && service.name == name,
    })
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
        // Its name stands for the addresses of its workloads; nothing is translated.
        let target = probe.port_name.clone().map_or(TargetPort::Number(probe.port), TargetPort::Name);
        let mut port = service.ports.iter().find(|port| port.protocol.number() == number)?.clone();
        port.target = target;
        return Some((probe.port, port));
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
    around: &dyn Surroundings,
    service: &Service,
    port: &ServicePort,
    frontend: IpAddr,
) -> Vec<(End, u16)> {
    let asked = Service { addresses: vec![frontend], ports: vec![port.clone()], ..service.clone() };
    let mut ends = Vec::new();
    around.candidates(&mut |candidates| {
        for found in service::frontends(&asked, candidates).flat_map(|frontend| frontend.backends) {
            let address = IpAddr::from(found.address);
            let end = End { addresses: vec![address], ..around.at(address) };
            ends.push((end, u16::from_be_bytes(found.port)));
        }
    });
    ends
}

/// Says what was translated to what.
fn translation(asked: &str, service: &str, ends: &[(End, u16)]) -> String {
    let is = if asked.starts_with(service) {
        format!("{asked} is a service")
    } else {
        format!("{asked} is service {service}")
    };
    if ends.is_empty() {
        return format!("{is}; no workload stands behind it");
    }
    let ends: Vec<String> = ends.iter().map(|(end, port)| format!("{}:{port}", end.called())).collect();
    format!("{is}; behind it {}", ends.join(" and "))
}

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
