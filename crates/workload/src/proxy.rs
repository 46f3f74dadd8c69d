//! The way of packets to a transparent proxy on the node: an interface for them, and routes to the local stack.

use crate::families::{Family, Ipv6};
use crate::network::{Network, Route, RouteKind, Rule, Veth};
use crate::node::{Node, WireError, disable_autoconfiguration, existing};
use crate::sysctl;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Name of the interface whose ingress hands packets to the proxy.
pub const PROXY_INTERFACE: &str = "nexin_proxy";
/// Name of its other end, which nothing uses.
pub const PROXY_PEER: &str = "nexin_proxy_end";

/// Begins the name of its first end while it is made; the number of the process that makes it follows.
const UNNAMED: &str = "nxp";

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
    ///
    /// One node has one proxy: an interface that carries another text than `alias` belongs to another, and stays.
    pub fn create_proxy(&mut self, routing: &ProxyRouting, alias: &str) -> Result<Proxy, WireError> {
        self.claim_proxy(routing, alias)?;
        // Packets that come here carry addresses of others, as source and as destination.
        let strangers = format!("ipv4/conf/{PROXY_INTERFACE}/accept_local");
        self.namespace.enter(|| {
            disable_autoconfiguration(PROXY_INTERFACE)?;
            disable_autoconfiguration(PROXY_PEER)?;
            sysctl::write([(strangers.as_str(), "1")])
        })??;
        for name in [PROXY_PEER, PROXY_INTERFACE] {
            let link = existing(&mut self.network, name)?;
            self.network.up(link.index)?;
        }
        let link = existing(&mut self.network, PROXY_INTERFACE)?;
        for family in self.ipv6.families() {
            self.network.add_rule(&routing.rule(*family))?;
            let route = routing.route(*family, &mut self.network)?;
            self.network.add_route(&route)?;
        }
        Ok(Proxy { interface: link.index, mac: link.mac })
    }

    /// The text on the proxy's interface; none where there is no interface, the empty one where nothing is written on it.
    pub fn proxy_alias(&mut self) -> Result<Option<String>, WireError> {
        Ok(self.network.link(PROXY_INTERFACE)?.map(|link| link.alias))
    }

    /// Removes the proxy's interface, routes and rules.
    pub fn remove_proxy(&mut self, routing: &ProxyRouting) -> Result<(), WireError> {
        // Rules and routes may be from a time when the node had IPv6.
        let known: &[Family] =
            if self.ipv6 == Ipv6::Absent { &[Family::V4] } else { &[Family::V4, Family::V6] };
        for family in known {
            self.network.delete_rule(&routing.rule(*family))?;
            let route = routing.route(*family, &mut self.network)?;
            self.network.delete_route(&route)?;
        }
        Ok(self.network.delete_link(PROXY_INTERFACE)?)
    }

    /// Makes the proxy's interfaces, or finds them, with the text on them.
    fn claim_proxy(&mut self, routing: &ProxyRouting, alias: &str) -> Result<(), WireError> {
        let network = &mut self.network;
        let name = || PROXY_INTERFACE.to_owned();
        match network.link(PROXY_INTERFACE)? {
            Some(link) if link.alias == alias => return Ok(()),
            // Made before interfaces were marked.
            Some(link) if link.alias.is_empty() => return Ok(network.set_alias(link.index, alias)?),
            Some(link) => return Err(WireError::Foreign { name: name(), alias: link.alias }),
            None => {}
        }
        self.remove_unnamed()?;
        let network = &mut self.network;
        // It gets its name last: who finds the name finds the text.
        let made = format!("{UNNAMED}{}", std::process::id());
        let (peer, mtu) = (PROXY_PEER, routing.mtu);
        network.create_veth(&Veth { name: &made, peer, peer_namespace: None, mtu, index: None })?;
        let link = existing(network, &made)?;
        let named =
            network.set_alias(link.index, alias).and_then(|()| network.rename(link.index, PROXY_INTERFACE));
        if named.is_err() {
            // The error of the naming is what the caller needs to know.
            let _ = network.delete_link(&made);
        }
        Ok(named?)
    }

    /// Removes the proxy's interfaces that a process made which crashed before it gave them their name.
    fn remove_unnamed(&mut self) -> Result<(), WireError> {
        for link in self.network.links()? {
            let maker = link.name.strip_prefix(UNNAMED).and_then(|process| process.parse::<u32>().ok());
            // Where that cannot be found out, the process may be about to name it.
            let has_ended =
                |maker: u32| Path::new("/proc").join(maker.to_string()).try_exists().is_ok_and(|is| !is);
            if maker.is_some_and(has_ended) {
                self.network.delete_links(&[link])?;
            }
        }
        Ok(())
    }
}

impl ProxyRouting {
    fn rule(&self, family: Family) -> Rule {
        Rule { family, mark: self.mark, mask: self.mask, table: self.table, priority: self.priority }
    }

    fn route(&self, family: Family, network: &mut Network) -> Result<Route, WireError> {
        let destination = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let interface = existing(network, "lo")?.index;
        Ok(Route { destination, prefix: 0, interface, kind: RouteKind::Local, table: self.table })
    }
}
