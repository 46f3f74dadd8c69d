//! Interfaces, addresses, routes, neighbours and rules of one network namespace.

use crate::families::IpFamily;
use crate::namespace::{NamespaceError, NetworkNamespace};
use netlink::message::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink::message::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink::message::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink::message::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink::message::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink::message::{AddressFamily, RouteNetlinkMessage as Message};
use netlink::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Socket};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

/// The network configuration of one namespace, usable from every thread.
#[derive(Debug)]
pub struct Network {
    pub(crate) socket: Socket,
}

/// Why a request to the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused it.
    #[error("{what}: {source}")]
    Kernel {
        /// The operation.
        what: String,
        /// The error.
        source: io::Error,
    },
    /// The namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Link-layer address; zero for an interface without one of six bytes.
    pub mac: [u8; 6],
    /// MTU.
    pub mtu: u32,
    /// Whether it is set up.
    pub is_up: bool,
    /// Whether packets pass: both ends are up.
    pub is_running: bool,
    /// Whether its packets have an Ethernet header.
    pub is_ethernet: bool,
    /// Its alias; empty where it has none.
    pub alias: String,
    /// Its interface group.
    pub group: u32,
    /// The index of the interface at the other end of a veth pair; zero for an interface without one.
    pub peer: u32,
}

/// The parameters of a veth pair; both ends are created down.
#[derive(Debug)]
pub struct Veth<'a> {
    /// Name of the end in this namespace.
    pub name: &'a str,
    /// Name of the other end.
    pub peer: &'a str,
    /// The namespace of the other end; none for this namespace.
    pub peer_namespace: Option<&'a NetworkNamespace>,
    /// MTU.
    pub mtu: u32,
    /// Index of the end in this namespace; none lets the kernel choose.
    pub index: Option<u32>,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub destination: IpAddr,
    /// The prefix length of the destination.
    pub prefix: u8,
    /// Index of the interface.
    pub interface: u32,
    /// The next hop.
    pub kind: RouteKind,
    /// Number of the table.
    pub table: u32,
}

/// The next hop of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// The destination itself is on the link.
    Direct,
    /// The gateway, which is on the link whatever its address.
    Via(IpAddr),
    /// The local stack.
    Local,
}

/// A routing rule: packets with a mark are routed by a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingRule {
    /// The family of the packets.
    pub family: IpFamily,
    /// The mark.
    pub mark: u32,
    /// The mask of the mark.
    pub mask: u32,
    /// Number of the table.
    pub table: u32,
    /// Priority of the rule; a lower number comes first.
    pub priority: u32,
}

impl Route {
    /// The number of the main table.
    pub const MAIN: u32 = 254;
}

impl Network {
    /// The network of the calling thread's namespace.
    pub fn current() -> Result<Self, NetworkError> {
        let socket =
            Socket::open().map_err(|source| NetworkError::Kernel { what: "netlink".to_owned(), source })?;
        Ok(Self { socket })
    }

    /// The network of a namespace.
    pub fn of(namespace: &NetworkNamespace) -> Result<Self, NetworkError> {
        namespace.enter(Self::current)?
    }

    /// Every interface, by index.
    pub fn links(&mut self) -> Result<Vec<Link>, NetworkError> {
        let answers = self.socket.dump(Message::GetLink(LinkMessage::default()));
        let answers =
            answers.map_err(|source| NetworkError::Kernel { what: "interfaces".to_owned(), source })?;
        Ok(answers.into_iter().filter_map(Link::of).collect())
    }

    /// Every address of every interface.
    pub fn addresses(&mut self) -> Result<Vec<IpAddr>, NetworkError> {
        let answers = self.socket.dump(Message::GetAddress(AddressMessage::default()));
        let answers =
            answers.map_err(|source| NetworkError::Kernel { what: "addresses".to_owned(), source })?;
        Ok(answers.into_iter().filter_map(address_of).collect())
    }

    /// Every address, with the index of its interface, in the order in which the kernel prefers them as sources.
    pub fn addresses_by_interface(&mut self) -> Result<Vec<(u32, IpAddr)>, NetworkError> {
        let answers = self.socket.dump(Message::GetAddress(AddressMessage::default()));
        let answers =
            answers.map_err(|source| NetworkError::Kernel { what: "addresses".to_owned(), source })?;
        Ok(answers.into_iter().filter_map(address_with_index).collect())
    }

    /// The indices of the interfaces of all default routes.
    pub fn ways_out(&mut self) -> Result<BTreeSet<u32>, NetworkError> {
        let answers = self.socket.dump(Message::GetRoute(RouteMessage::default()));
        let answers = answers.map_err(|source| NetworkError::Kernel { what: "routes".to_owned(), source })?;
        Ok(answers.into_iter().flat_map(ways_out_by).collect())
    }

    /// The interface with this name.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetworkError> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.socket.find(Message::GetLink(request)) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(None),
            Err(source) => Err(NetworkError::Kernel { what: format!("interface {name}"), source }),
            Ok(answer) => Ok(answer.and_then(Link::of)),
        }
    }

    /// Creates a veth pair.
    pub fn create_veth(&mut self, veth: &Veth<'_>) -> Result<(), NetworkError> {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::IfName(veth.peer.to_owned()));
        peer.attributes.push(LinkAttribute::Mtu(veth.mtu));
        if let Some(namespace) = veth.peer_namespace {
            peer.attributes.push(LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd()));
        }
        let mut link = LinkMessage::default();
        link.header.index = veth.index.unwrap_or(0);
        link.attributes = vec![
            LinkAttribute::IfName(veth.name.to_owned()),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        let what = || format!("making interfaces {} and {}", veth.name, veth.peer);
        self.change(Message::NewLink(link), NLM_F_CREATE | NLM_F_EXCL, what)
    }

    /// Sets an interface up.
    pub fn up(&mut self, interface: u32) -> Result<(), NetworkError> {
        self.switch(interface, LinkFlags::Up)
    }

    /// Sets an interface down.
    pub fn down(&mut self, interface: u32) -> Result<(), NetworkError> {
        self.switch(interface, LinkFlags::empty())
    }

    /// Adds an address to an interface, without duplicate address detection. For the error that the interface has the address
    /// already, [`NetworkError::is_present`] is true.
    pub fn add_address(&mut self, interface: u32, address: IpAddr, prefix: u8) -> Result<(), NetworkError> {
        let mut request = AddressMessage::default();
        request.header.family = family(address);
        request.header.index = interface;
        request.header.prefix_len = prefix;
        request.attributes.push(AddressAttribute::Address(address));
        request.attributes.push(AddressAttribute::Local(address));
        if address.is_ipv6() {
            request.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let what = || format!("address {address}/{prefix} at interface {interface}");
        self.change(Message::NewAddress(request), NLM_F_CREATE | NLM_F_EXCL, what)
    }

    /// Adds a route, or replaces the one to the same destination.
    pub fn add_route(&mut self, route: &Route) -> Result<(), NetworkError> {
        let what = || format!("route to {}/{}", route.destination, route.prefix);
        self.change(Message::NewRoute(route.message()), NLM_F_CREATE | NLM_F_REPLACE, what)
    }

    /// Removes a route; succeeds where it does not exist.
    pub fn delete_route(&mut self, route: &Route) -> Result<(), NetworkError> {
        let what = || format!("deleting the route to {}/{}", route.destination, route.prefix);
        match self.change(Message::DelRoute(route.message()), 0, what) {
            Err(error) if error.is(rustix::io::Errno::SRCH) => Ok(()),
            deleted => deleted,
        }
    }

    /// Adds a permanent neighbour entry.
    pub fn add_neighbour(
        &mut self,
        interface: u32,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), NetworkError> {
        let mut request = NeighbourMessage::default();
        request.header.family = family(address);
        request.header.ifindex = interface;
        request.header.state = NeighbourState::Permanent;
        request.attributes.push(NeighbourAttribute::Destination(match address {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        }));
        request.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        let what = || format!("neighbour {address} at interface {interface}");
        self.change(Message::NewNeighbour(request), NLM_F_CREATE | NLM_F_REPLACE, what)
    }

    /// Adds a rule, unless it exists.
    pub fn add_rule(&mut self, rule: &RoutingRule) -> Result<(), NetworkError> {
        let what = || format!("rule for mark {:#x}/{:#x}", rule.mark, rule.mask);
        match self.change(Message::NewRule(rule.message()), NLM_F_CREATE | NLM_F_EXCL, what) {
            Err(error) if error.is(rustix::io::Errno::EXIST) => Ok(()),
            added => added,
        }
    }

    /// Removes a rule; succeeds where it does not exist.
    pub fn delete_rule(&mut self, rule: &RoutingRule) -> Result<(), NetworkError> {
        let what = || format!("deleting the rule for mark {:#x}/{:#x}", rule.mark, rule.mask);
        match self.change(Message::DelRule(rule.message()), 0, what) {
            Err(error) if error.is(rustix::io::Errno::NOENT) => Ok(()),
            deleted => deleted,
        }
    }

    fn switch(&mut self, interface: u32, to: LinkFlags) -> Result<(), NetworkError> {
        let mut request = LinkMessage::default();
        request.header.index = interface;
        request.header.flags = to;
        request.header.change_mask = LinkFlags::Up;
        let state = if to.is_empty() { "down" } else { "up" };
        self.change(Message::SetLink(request), 0, || format!("taking interface {interface} {state}"))
    }

    pub(crate) fn change(
        &mut self,
        request: Message,
        flags: u16,
        what: impl Fn() -> String,
    ) -> Result<(), NetworkError> {
        self.socket.change(request, flags).map_err(|source| NetworkError::Kernel { what: what(), source })
    }
}

impl NetworkError {
    /// True where the object to be created exists already.
    pub fn is_present(&self) -> bool {
        self.is(rustix::io::Errno::EXIST)
    }

    pub(crate) fn is(&self, errno: rustix::io::Errno) -> bool {
        match self {
            Self::Kernel { source, .. } => source.raw_os_error() == Some(errno.raw_os_error()),
            Self::Namespace(_) => false,
        }
    }
}

/// The own address of an interface: `Local`, because `Address` is the other end's on a point-to-point link.
pub(crate) fn address_of(answer: Message) -> Option<IpAddr> {
    let Message::NewAddress(message) = answer else { return None };
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

pub(crate) fn address_with_index(message: Message) -> Option<(u32, IpAddr)> {
    let Message::NewAddress(address) = &message else { return None };
    let index = address.header.index;
    address_of(message).map(|address| (index, address))
}

/// The interfaces of a default route.
pub(crate) fn ways_out_by(answer: Message) -> Vec<u32> {
    let Message::NewRoute(RouteMessage { header, attributes, .. }) = answer else { return Vec::new() };
    if header.destination_prefix_length != 0 || header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let interfaces = attributes.into_iter().map(|attribute| match attribute {
        RouteAttribute::Oif(interface) => vec![interface],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    });
    interfaces.flatten().collect()
}

impl Link {
    pub(crate) fn of(answer: Message) -> Option<Self> {
        let Message::NewLink(message) = answer else { return None };
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: [0; 6],
            mtu: 0,
            is_up: message.header.flags.contains(LinkFlags::Up),
            is_running: message.header.flags.contains(LinkFlags::Running),
            is_ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            alias: String::new(),
            group: 0,
            peer: 0,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::IfAlias(alias) => link.alias = alias,
                LinkAttribute::Group(group) => link.group = group,
                LinkAttribute::Link(peer) => link.peer = peer,
                LinkAttribute::Address(mac) => link.mac = mac.try_into().unwrap_or_default(),
                _ => {}
            }
        }
        Some(link)
    }
}

impl Route {
    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.destination);
        message.header.destination_prefix_length = self.prefix;
        message.header.protocol = RouteProtocol::Static;
        // The header has one byte for the table; a greater number is in the attribute only.
        message.header.table = u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        message.attributes.push(RouteAttribute::Table(self.table));
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(self.destination)));
        message.attributes.push(RouteAttribute::Oif(self.interface));
        (message.header.kind, message.header.scope) = match self.kind {
            RouteKind::Direct => (RouteType::Unicast, RouteScope::Link),
            RouteKind::Via(_) => (RouteType::Unicast, RouteScope::Universe),
            RouteKind::Local => (RouteType::Local, RouteScope::Host),
        };
        if let RouteKind::Via(gateway) = self.kind {
            message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
            message.header.flags = RouteFlags::Onlink;
        }
        message
    }
}

impl RoutingRule {
    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = match self.family {
            IpFamily::V4 => AddressFamily::Inet,
            IpFamily::V6 => AddressFamily::Inet6,
        };
        message.header.action = RuleAction::ToTable;
        message.attributes = vec![
            RuleAttribute::FwMark(self.mark),
            RuleAttribute::FwMask(self.mask),
            RuleAttribute::Table(self.table),
            RuleAttribute::Priority(self.priority),
        ];
        message
    }
}

pub(crate) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
