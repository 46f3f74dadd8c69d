//! Looks into network namespaces that a container runtime made: whether an interface is as it was made, and its other end.

use crate::families::IpFamily;
use crate::namespace::NetworkNamespace;
use crate::network::{Link, Network, NetworkError, address_of, ways_out_by};
use crate::node::{NodeNamespace, WireError, existing};
use netlink::message::address::AddressMessage;
use netlink::message::route::RouteMessage;
use netlink::message::{AddressFamily, RouteNetlinkMessage as Message};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How an interface in a namespace should be.
#[derive(Clone, Debug)]
pub struct ExpectedInterface<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// The addresses that it has, possibly among others.
    pub addresses: &'a [IpAddr],
    /// Whether the default routes of the addresses' families lead to it.
    pub has_routes: bool,
}

/// What differs between an interface and what is expected, one sentence each.
pub fn differences(
    namespace: &NetworkNamespace,
    expected: &ExpectedInterface<'_>,
) -> Result<Vec<String>, WireError> {
    let mut network = Network::of(namespace)?;
    let ExpectedInterface { name, mac, addresses, has_routes } = expected;
    let Some(link) = network.link(name)? else {
        return Ok(vec![format!("there is no interface {name}")]);
    };
    let mut found = Vec::new();
    if link.mac != *mac {
        found.push(format!("interface {name} has another link-layer address"));
    }
    if !link.is_up {
        found.push(format!("interface {name} is down"));
    }
    let present = network.addresses_at(link.index)?;
    let missing = addresses.iter().filter(|address| !present.contains(address));
    found.extend(missing.map(|address| format!("interface {name} has lost its address {address}")));
    for family in [IpFamily::V4, IpFamily::V6].into_iter().filter(|_| *has_routes) {
        let is_needed = addresses.iter().any(|address| address.is_ipv4() == (family == IpFamily::V4));
        if is_needed && !network.ways_out_of(family)?.contains(&link.index) {
            found.push(format!("no default route of {family:?} leads to interface {name}"));
        }
    }
    Ok(found)
}

/// The ends of a veth pair that another program made: the interface with this name in the namespace, and its other end in
/// the node. None where the node does not have it.
pub fn find_pair(
    node: &mut NodeNamespace,
    namespace: &NetworkNamespace,
    name: &str,
) -> Result<Option<(Link, Link)>, WireError> {
    let Some(inside) = Network::of(namespace)?.link(name)? else { return Ok(None) };
    let is_end = |link: &Link| link.index == inside.peer && link.peer == inside.index;
    let outside = node.network().links()?.into_iter().find(is_end);
    Ok(outside.map(|outside| (inside, outside)))
}

/// Sets the loopback interface of a namespace up.
pub fn set_up_loopback(namespace: &NetworkNamespace) -> Result<(), WireError> {
    let mut network = Network::of(namespace)?;
    let loopback = existing(&mut network, "lo")?;
    Ok(network.up(loopback.index)?)
}

impl Network {
    /// The addresses of an interface.
    pub fn addresses_at(&mut self, interface: u32) -> Result<BTreeSet<IpAddr>, NetworkError> {
        let answers = self.socket.dump(Message::GetAddress(AddressMessage::default()));
        let answers =
            answers.map_err(|source| NetworkError::Kernel { what: "addresses".to_owned(), source })?;
        let is_its = |answer: &Message| match answer {
            Message::NewAddress(message) => message.header.index == interface,
            _ => false,
        };
        Ok(answers.into_iter().filter(is_its).filter_map(address_of).collect())
    }

    /// The interfaces of the default routes of a family.
    fn ways_out_of(&mut self, family: IpFamily) -> Result<BTreeSet<u32>, NetworkError> {
        let mut request = RouteMessage::default();
        request.header.address_family = match family {
            IpFamily::V4 => AddressFamily::Inet,
            IpFamily::V6 => AddressFamily::Inet6,
        };
        let answers = self.socket.dump(Message::GetRoute(request));
        let answers = answers.map_err(|source| NetworkError::Kernel { what: "routes".to_owned(), source })?;
        Ok(answers.into_iter().flat_map(ways_out_by).collect())
    }
}
