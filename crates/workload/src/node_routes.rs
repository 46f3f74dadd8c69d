//! Routes to the pods of other nodes, which have a routing protocol of their own.

use crate::network::{Network, NetworkError, family};
use netlink::message::RouteNetlinkMessage as Message;
use netlink::message::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink::{NLM_F_CREATE, NLM_F_REPLACE};
use rustix::io::Errno;
use std::net::IpAddr;

/// The routing protocol of these routes; `ip route` shows the number. No program in `/etc/iproute2/rt_protos` has it.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(78);

/// The metric of these routes. A route of the administrator to the same block has a lower one, and comes first.
const METRIC: u32 = 2048;

/// A route to the pods of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRoute {
    /// The first address of the block.
    pub destination: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// The address of the other node.
    pub gateway: IpAddr,
}

impl Network {
    /// The routes to the pods of other nodes in the main table.
    pub fn node_routes(&mut self) -> Result<Vec<NodeRoute>, NetworkError> {
        let answers = self.socket.dump(Message::GetRoute(RouteMessage::default()));
        let answers = answers.map_err(|source| NetworkError::Kernel { what: "routes".to_owned(), source })?;
        Ok(answers.into_iter().filter_map(NodeRoute::of).collect())
    }

    /// Adds a route to the pods of another node, or replaces the one to the same block. The gateway must be on a link; if it is
    /// not, [`NetworkError::is_unreachable`] is true.
    pub fn put_node_route(&mut self, route: &NodeRoute) -> Result<(), NetworkError> {
        let what = || format!("route to {}/{} via {}", route.destination, route.prefix, route.gateway);
        self.change(Message::NewRoute(route.message()), NLM_F_CREATE | NLM_F_REPLACE, what)
    }

    /// Removes a route to the pods of another node; succeeds where it does not exist.
    pub fn delete_node_route(&mut self, route: &NodeRoute) -> Result<(), NetworkError> {
        let what = || format!("deleting the route to {}/{}", route.destination, route.prefix);
        match self.change(Message::DelRoute(route.message()), 0, what) {
            Err(error) if error.is(Errno::SRCH) => Ok(()),
            deleted => deleted,
        }
    }
}

impl NetworkError {
    /// True where the gateway of a route is on no link of this node.
    pub fn is_unreachable(&self) -> bool {
        // IPv6 refuses a gateway behind another gateway as invalid.
        [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::NETDOWN, Errno::INVAL]
            .into_iter()
            .any(|errno| self.is(errno))
    }
}

impl NodeRoute {
    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.destination);
        message.header.destination_prefix_length = self.prefix;
        message.header.protocol = PROTOCOL;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![
            RouteAttribute::Destination(RouteAddress::from(self.destination)),
            RouteAttribute::Gateway(RouteAddress::from(self.gateway)),
            RouteAttribute::Priority(METRIC),
        ];
        message
    }

    /// The route in an answer, if it is one to pods of another node.
    fn of(answer: Message) -> Option<Self> {
        let Message::NewRoute(RouteMessage { header, attributes, .. }) = answer else { return None };
        if header.protocol != PROTOCOL || header.table != RouteHeader::RT_TABLE_MAIN {
            return None;
        }
        let (mut destination, mut gateway) = (None, None);
        for attribute in attributes {
            match attribute {
                RouteAttribute::Destination(found) => destination = address(&found),
                RouteAttribute::Gateway(found) => gateway = address(&found),
                _ => {}
            }
        }
        Some(Self { destination: destination?, prefix: header.destination_prefix_length, gateway: gateway? })
    }
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
