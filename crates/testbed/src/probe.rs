//! From a probe to its crossings: names are resolved to ends and addresses.

use crate::crossing::{Crossing, CrossingEnd, CrossingFrontend, Sent, WrittenEnd};
use crate::state::{HOST_ADDRESSES, TestState};
use manifest::test::{HttpRequest, Probe, ProbeEnd, ProbeTraffic};
use policy::rule::Family;
use std::net::{IpAddr, SocketAddr};

/// Why a probe's ends have no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartyError {
    /// A name that the test does not define.
    #[error("{0} is no workload, node or external of this test at this step")]
    Unknown(WrittenEnd),
    /// An end without an address of the family.
    #[error("{name} has no {} address", family_name(*.family))]
    NoAddress {
        /// The end.
        name: WrittenEnd,
        /// The family that the probe names.
        family: Family,
    },
    /// Ends that share no family.
    #[error("{from} and {to} have no address family in common")]
    NoCommonFamily {
        /// One end.
        from: WrittenEnd,
        /// The other.
        to: WrittenEnd,
    },
}

impl TestState {
    /// Resolves the ends of a probe, and an address of one family for both. A probe from a workload to a service's address
    /// has one crossing for each backend.
    pub fn crossings(&self, probe: &Probe) -> Result<Vec<Crossing>, PartyError> {
        let asked = self.untranslated(probe)?;
        let (CrossingEnd::Workload(_), Some(protocol)) = (&asked.from, asked.sent.protocol()) else {
            return Ok(vec![asked]);
        };
        let address = SocketAddr::new(asked.destination, asked.port());
        let Some((mut backends, keeps_clients)) = self.backends(address, protocol) else {
            return Ok(vec![asked]);
        };
        if keeps_clients {
            let index = asked.backend_of_client(backends.len());
            backends = backends.into_iter().skip(index).take(1).collect();
        }
        let count = u32::try_from(backends.len()).expect("a test has fewer backends than 2^32");
        if backends.is_empty() {
            return Ok(vec![Crossing {
                frontend: Some(CrossingFrontend { address, index: 0, count }),
                ..asked
            }]);
        }
        let crossing = |(index, backend): (u32, SocketAddr)| Crossing {
            to: self.end_at(backend.ip()),
            destination: backend.ip(),
            sent: asked.sent.at_port(backend.port()),
            frontend: Some(CrossingFrontend { address, index, count }),
            ..asked.clone()
        };
        Ok((0..).zip(backends).map(crossing).collect())
    }

    /// The crossing to the address that the probe names, without translation.
    fn untranslated(&self, probe: &Probe) -> Result<Crossing, PartyError> {
        let (from, sources) = self.party(&probe.from)?;
        let (to, destinations) = self.party(&probe.to)?;
        let of = |addresses: &[IpAddr], family| addresses.iter().copied().find(|&one| is_of(one, family));
        let pair = |family| Some((of(&sources, family)?, of(&destinations, family)?));
        let (source, destination) = match probe.family {
            Some(family) => {
                let missing =
                    |party: &ProbeEnd| PartyError::NoAddress { name: WrittenEnd(party.clone()), family };
                let source = of(&sources, family).ok_or_else(|| missing(&probe.from))?;
                (source, of(&destinations, family).ok_or_else(|| missing(&probe.to))?)
            }
            None => pair(Family::Ipv4).or_else(|| pair(Family::Ipv6)).ok_or_else(|| {
                PartyError::NoCommonFamily {
                    from: WrittenEnd(probe.from.clone()),
                    to: WrittenEnd(probe.to.clone()),
                }
            })?,
        };
        Ok(Crossing { from, to, source, destination, sent: sent(probe), frontend: None })
    }

    fn party(&self, party: &ProbeEnd) -> Result<(CrossingEnd, Vec<IpAddr>), PartyError> {
        let unknown = || PartyError::Unknown(WrittenEnd(party.clone()));
        Ok(match party {
            ProbeEnd::Workload(name) => {
                let workload = self.workloads.get(name).ok_or_else(unknown)?;
                match workload.node.as_ref().and_then(|node| self.nodes.get(node)) {
                    _ if !workload.host_network => {
                        (CrossingEnd::Workload(name.clone()), workload.addresses.clone())
                    }
                    Some(node) => (CrossingEnd::Node(node.name.clone()), node.addresses.clone()),
                    None => (CrossingEnd::Host, HOST_ADDRESSES.to_vec()),
                }
            }
            ProbeEnd::Node(name) => {
                (CrossingEnd::Node(name.clone()), self.nodes.get(name).ok_or_else(unknown)?.addresses.clone())
            }
            ProbeEnd::External(name) => {
                (CrossingEnd::World, self.externals.get(name).ok_or_else(unknown)?.clone())
            }
            ProbeEnd::Host => (CrossingEnd::Host, HOST_ADDRESSES.to_vec()),
            ProbeEnd::Address(address) => (self.end_at(*address), vec![*address]),
        })
    }

    fn end_at(&self, address: IpAddr) -> CrossingEnd {
        let has = |addresses: &[IpAddr]| addresses.contains(&address);
        if let Some((name, _)) = self.workloads.iter().find(|(_, workload)| has(&workload.addresses)) {
            return CrossingEnd::Workload(name.clone());
        }
        match self.nodes.values().find(|node| has(&node.addresses)) {
            _ if has(&HOST_ADDRESSES) => CrossingEnd::Host,
            Some(node) => CrossingEnd::Node(node.name.clone()),
            None => CrossingEnd::World,
        }
    }
}

fn sent(probe: &Probe) -> Sent {
    match &probe.traffic {
        ProbeTraffic::Connect { protocol, port } => Sent::Connection(*protocol, *port),
        ProbeTraffic::Icmp { kind } => Sent::Icmp(*kind),
        ProbeTraffic::Http { port, request } => {
            let host = request.host.clone().unwrap_or_else(|| host_of(&probe.to));
            Sent::Request(*port, HttpRequest { host: Some(host), ..request.clone() })
        }
    }
}

/// The Host field of a request whose probe names no host.
fn host_of(party: &ProbeEnd) -> String {
    match party {
        ProbeEnd::Workload(name) => name.name.clone(),
        ProbeEnd::External(name) | ProbeEnd::Node(name) => name.clone(),
        ProbeEnd::Address(IpAddr::V6(address)) => format!("[{address}]"),
        ProbeEnd::Address(address) => address.to_string(),
        ProbeEnd::Host => "host".into(),
    }
}

fn is_of(address: IpAddr, family: Family) -> bool {
    address.is_ipv4() == (family == Family::Ipv4)
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}
