//! Ports of the node that lead to pods (hostPort): which a pod may get, and those of a recorded one.

use crate::config::AgentConfig;
use crate::state::{SandboxRecord, WorkloadRecord};
use abi::protocol::{self, SCTP, TCP, UDP};
use api::{Cause, Failure};
use control::{HostPort, TransportProtocol};
use std::net::IpAddr;
use workload::Group;

/// A note if processes of the node itself do not reach such ports.
pub(crate) fn note(config: &AgentConfig) -> Option<String> {
    config.cni.as_ref().filter(|_| Group::of_node().is_none())?;
    let what = "the control group of all processes of the node is not visible (cgroup2, hostPID)";
    Some(format!("{what}: processes of the node do not reach hostPorts; others do"))
}

/// Checks ports that an attachment wants: that they can be opened, and that no other workload has one of them.
pub(crate) fn check<'a>(
    wanted: &[api::AttachmentPort],
    known: impl Iterator<Item = &'a WorkloadRecord>,
) -> Result<(), Failure> {
    for (at, port) in wanted.iter().enumerate() {
        let parsed = parse(port).map_err(|message| Failure::new(Cause::Invalid, message))?;
        let is_repeated = wanted[..at].iter().filter_map(|other| parse(other).ok());
        if is_repeated.into_iter().any(|other| overlap(&other, &parsed)) {
            let message = format!("hostPort {} is there twice", name(port));
            return Err(Failure::new(Cause::Invalid, message));
        }
    }
    for other in known {
        let held = of(other.sandbox.as_ref());
        let taken = wanted
            .iter()
            .find(|port| parse(port).is_ok_and(|wanted| held.iter().any(|held| overlap(held, &wanted))));
        if let Some(port) = taken {
            let api::WorkloadSpec { namespace, name: pod, .. } = &other.wanted;
            let message = format!("hostPort {} leads to pod {namespace}/{pod} of this node", name(port));
            return Err(Failure::new(Cause::Conflict, message));
        }
    }
    Ok(())
}

/// The ports of the node that lead to a workload.
pub(crate) fn of(sandbox: Option<&SandboxRecord>) -> Vec<HostPort> {
    let ports = sandbox.into_iter().flat_map(|sandbox| &sandbox.host_ports);
    ports.filter_map(|port| parse(port).ok()).collect()
}

fn parse(port: &api::AttachmentPort) -> Result<HostPort, String> {
    let protocol = match protocol::number(&port.protocol) {
        Some(TCP) => TransportProtocol::Tcp,
        Some(UDP) => TransportProtocol::Udp,
        Some(SCTP) if port.port != port.container_port => {
            return Err(format!(
                "hostPort {}: the checksum of SCTP does not allow another port; it should equal containerPort {}",
                name(port),
                port.container_port
            ));
        }
        Some(SCTP) => TransportProtocol::Sctp,
        _ => return Err(format!("hostPort {}: protocol should be TCP, UDP or SCTP", name(port))),
    };
    if port.port == 0 || port.container_port == 0 {
        return Err(format!("hostPort {}: ports should be 1 to 65535", name(port)));
    }
    Ok(HostPort { address: port.address, port: port.port, protocol, container_port: port.container_port })
}

/// Whether a packet may be for both ports.
fn overlap(one: &HostPort, other: &HostPort) -> bool {
    let covers = |wide: Option<IpAddr>, narrow: Option<IpAddr>| match (wide, narrow) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => {
            wide == narrow || wide.is_unspecified() && wide.is_ipv4() == narrow.is_ipv4()
        }
        (Some(_), None) => false,
    };
    let is_same = one.port == other.port && one.protocol == other.protocol;
    is_same && (covers(one.address, other.address) || covers(other.address, one.address))
}

fn name(port: &api::AttachmentPort) -> String {
    let at = port.address.map(|address| format!(" of {address}")).unwrap_or_default();
    format!("{}/{}{at}", port.port, port.protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(port: u16, protocol: &str, address: &str) -> api::AttachmentPort {
        let address = (!address.is_empty()).then(|| address.parse().unwrap());
        api::AttachmentPort { address, port, protocol: protocol.into(), container_port: 80 }
    }

    #[test]
    fn ports_overlap_if_a_packet_may_be_for_both() {
        let check = |one: &api::AttachmentPort, other: &api::AttachmentPort| {
            let [one, other] = [one, other].map(|port| parse(port).unwrap());
            assert_eq!(overlap(&one, &other), overlap(&other, &one));
            overlap(&one, &other)
        };
        let all = port(8080, "TCP", "");
        for (other, expected) in [
            (port(8080, "tcp", ""), true),
            (port(8080, "TCP", "192.0.2.1"), true),
            (port(8080, "TCP", "0.0.0.0"), true),
            (port(8080, "UDP", ""), false),
            (port(8081, "TCP", ""), false),
        ] {
            assert_eq!(check(&all, &other), expected, "{other:?}");
        }
        let one = port(8080, "TCP", "192.0.2.1");
        assert!(check(&one, &port(8080, "TCP", "0.0.0.0")));
        assert!(!check(&one, &port(8080, "TCP", "::")));
        assert!(!check(&one, &port(8080, "TCP", "192.0.2.2")));
    }

    #[test]
    fn what_cannot_be_opened_is_refused_by_name() {
        let refused =
            |ports: &[api::AttachmentPort]| check(ports, [].into_iter()).unwrap_err().messages.join("; ");
        assert!(refused(&[port(8080, "SCTP", "")]).contains("containerPort 80"));
        assert!(refused(&[port(8080, "ICMP", "192.0.2.1")]).contains("8080/ICMP of 192.0.2.1"));
        assert!(refused(&[port(0, "TCP", "")]).contains("1 to 65535"));
        assert!(refused(&[port(8080, "TCP", ""), port(8080, "TCP", "192.0.2.1")]).contains("twice"));
        assert!(check(&[port(80, "SCTP", ""), port(80, "TCP", "")], [].into_iter()).is_ok());
    }
}
