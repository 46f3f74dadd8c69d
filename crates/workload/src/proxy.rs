//! The way of packets to a transparent proxy on the node: an interface for them, and routes to the local stack.

use crate::network::{Network, Route, RouteKind, Rule, Veth};
use crate::node::{Node, WireError, existing, quiet};
use crate::sysctl;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Name of the interface whose ingress hands packets to the proxy.
pub const PROXY_INTERFACE: &str = "nexin_proxy";
/// Name of its other end, which nothing uses.
pub const PROXY_PEER: &str = "nexin_proxy_end";

/// How packets for the proxy are told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyRouting {
    /// Their mark.
    pub mark: u32,
    /// The bits of it that count.
    pub mask: u32,
    /// Number of the routing table for them, otherwise unused.
    pub table: u32,
    /// When their rule is asked; lower comes first, and it must come before that of the local table's peers (32766).
    pub priority: u32,
    /// Longest packet.
    pub mtu: u32,
}

/// The proxy's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Index of [`PROXY_INTERFACE`].
    pub interface: u32,
    /// Its link-layer address.
    pub mac: [u8; 6],
}

impl Node {
    /// Makes the proxy's interface and routes marked packets to the local stack, whatever their destination. What an
    /// earlier run left is taken over.
    pub fn create_proxy(&mut self, routing: &ProxyRouting) -> Result<Proxy, WireError> {
        let network = &mut self.network;
        if network.link(PROXY_INTERFACE)?.is_none() {
            let (name, peer, mtu) = (PROXY_INTERFACE, PROXY_PEER, routing.mtu);
            network.create_veth(&Veth { name, peer, peer_namespace: None, mtu, index: None })?;
        }
        // Packets that come here carry addresses of others, as source and as destination.
        let strangers = format!("ipv4/conf/{PROXY_INTERFACE}/accept_local");
        self.namespace.enter(|| {
            quiet(PROXY_INTERFACE)?;
            quiet(PROXY_PEER)?;
            sysctl::write([(strangers.as_str(), "1")])
        })??;
        for name in [PROXY_PEER, PROXY_INTERFACE] {
            let link = existing(&mut self.network, name)?;
            self.network.up(link.index)?;
        }
        let link = existing(&mut self.network, PROXY_INTERFACE)?;
        self.network.add_rule(&routing.rule())?;
        for route in routing.routes(&mut self.network)? {
            self.network.add_route(&route)?;
        }
        Ok(Proxy { interface: link.index, mac: link.mac })
    }

    /// Removes the proxy's interface, routes and rules.
    pub fn remove_proxy(&mut self, routing: &ProxyRouting) -> Result<(), WireError> {
        self.network.delete_rule(&routing.rule())?;
        for route in routing.routes(&mut self.network)? {
            self.network.delete_route(&route)?;
        }
        Ok(self.network.delete_link(PROXY_INTERFACE)?)
    }
}

impl ProxyRouting {
    fn rule(&self) -> Rule {
        Rule { mark: self.mark, mask: self.mask, table: self.table, priority: self.priority }
    }

    fn routes(&self, network: &mut Network) -> Result<[Route; 2], WireError> {
        let loopback = existing(network, "lo")?;
        let anywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        Ok(anywhere.map(|destination| Route {
            destination,
            prefix: 0,
            interface: loopback.index,
            kind: RouteKind::Local,
            table: self.table,
        }))
    }
}
