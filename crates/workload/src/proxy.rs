//! The interface and the routes by which packets reach a transparent proxy on the node.

use crate::families::{IpFamily, Ipv6};
use crate::network::{Network, Route, RouteKind, RoutingRule, Veth};
use crate::node::{NodeNamespace, WireError, disable_autoconfiguration, existing};
use crate::sysctl;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Name of the interface at whose ingress packets enter for the proxy.
pub const PROXY_INTERFACE: &str = "nexin_proxy";
/// Name of the other end of the veth pair, which is not used.
pub const PROXY_PEER: &str = "nexin_proxy_end";

/// Prefix of the temporary name of the interface; the process id of its creator follows.
const UNNAMED: &str = "nxp";

/// The mark and the routing table for packets to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyRouting {
    /// The mark of the packets.
    pub mark: u32,
    /// The mask of the mark.
    pub mask: u32,
    /// Number of the routing table, which must be unused otherwise.
    pub table: u32,
    /// Priority of the routing rule; it must be below 32766, that of the main table.
    pub priority: u32,
    /// MTU of the interface.
    pub mtu: u32,
}

/// The proxy's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyInterface {
    /// Index of [`PROXY_INTERFACE`].
    pub interface: u32,
    /// The link-layer address of the interface.
    pub mac: [u8; 6],
}

impl NodeNamespace {
    /// Creates the proxy's interface, and routes marked packets with any destination to the local stack. An interface of an
    /// earlier run is used again.
    ///
    /// A node has one proxy: an interface with another alias belongs to another program and is not changed.
    pub fn create_proxy(&mut self, routing: &ProxyRouting, alias: &str) -> Result<ProxyInterface, WireError> {
        self.claim_proxy(routing, alias)?;
        // The source of such a packet may be an address of the node, which the kernel refuses without this setting.
        let accept_local = format!("ipv4/conf/{PROXY_INTERFACE}/accept_local");
        self.namespace.enter(|| {
            disable_autoconfiguration(PROXY_INTERFACE)?;
            disable_autoconfiguration(PROXY_PEER)?;
            sysctl::write([(accept_local.as_str(), "1")])
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
        Ok(ProxyInterface { interface: link.index, mac: link.mac })
    }

    /// The alias of the proxy's interface: none without an interface, empty without an alias.
    pub fn proxy_alias(&mut self) -> Result<Option<String>, WireError> {
        Ok(self.network.link(PROXY_INTERFACE)?.map(|link| link.alias))
    }

    /// Removes the proxy's interface, routes and rules.
    pub fn remove_proxy(&mut self, routing: &ProxyRouting) -> Result<(), WireError> {
        // The rules and routes of IPv6 may exist though IPv6 is disabled by now.
        let known: &[IpFamily] =
            if self.ipv6 == Ipv6::Absent { &[IpFamily::V4] } else { &[IpFamily::V4, IpFamily::V6] };
        for family in known {
            self.network.delete_rule(&routing.rule(*family))?;
            let route = routing.route(*family, &mut self.network)?;
            self.network.delete_route(&route)?;
        }
        Ok(self.network.delete_link(PROXY_INTERFACE)?)
    }

    /// Creates the proxy's interfaces with their alias, or finds them.
    fn claim_proxy(&mut self, routing: &ProxyRouting, alias: &str) -> Result<(), WireError> {
        let network = &mut self.network;
        let name = || PROXY_INTERFACE.to_owned();
        match network.link(PROXY_INTERFACE)? {
            Some(link) if link.alias == alias => return Ok(()),
            // An older version creates the interface without an alias.
            Some(link) if link.alias.is_empty() => return Ok(network.set_alias(link.index, alias)?),
            Some(link) => return Err(WireError::Foreign { name: name(), alias: link.alias }),
            None => {}
        }
        self.remove_unnamed()?;
        let network = &mut self.network;
        // The interface is renamed last, so that an interface with this name always has its alias.
        let made = format!("{UNNAMED}{}", std::process::id());
        let (peer, mtu) = (PROXY_PEER, routing.mtu);
        network.create_veth(&Veth { name: &made, peer, peer_namespace: None, mtu, index: None })?;
        let link = existing(network, &made)?;
        let named =
            network.set_alias(link.index, alias).and_then(|()| network.rename(link.index, PROXY_INTERFACE));
        if named.is_err() {
            // The caller needs the error of the renaming, not an error of this cleanup.
            let _ = network.delete_link(&made);
        }
        Ok(named?)
    }

    /// Removes interfaces whose creator crashed before it renamed them.
    fn remove_unnamed(&mut self) -> Result<(), WireError> {
        for link in self.network.links()? {
            let maker = link.name.strip_prefix(UNNAMED).and_then(|process| process.parse::<u32>().ok());
            // Where this is not known, the process may be about to rename its interface.
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
    fn rule(&self, family: IpFamily) -> RoutingRule {
        RoutingRule { family, mark: self.mark, mask: self.mask, table: self.table, priority: self.priority }
    }

    fn route(&self, family: IpFamily, network: &mut Network) -> Result<Route, WireError> {
        let destination = match family {
            IpFamily::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpFamily::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let interface = existing(network, "lo")?.index;
        Ok(Route { destination, prefix: 0, interface, kind: RouteKind::Local, table: self.table })
    }
}
