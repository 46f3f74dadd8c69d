//! Connects workloads to the node: a veth pair, addresses and routes for each.

use crate::families::Ipv6;
use crate::namespace::{NamespaceError, NetworkNamespace};
use crate::network::{Network, NetworkError, Route, RouteKind, Veth};
use crate::sysctl::{self, SysctlError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// The IPv4 gateway of every workload. No interface has this address; the packet path answers ARP requests for it.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The IPv6 gateway of every workload.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The index of the loopback interface, in each network namespace.
const LOOPBACK: u32 = 1;
/// Name of the interface in a workload.
pub const WORKLOAD_INTERFACE: &str = "eth0";

/// Kernel settings of the node's namespace.
const SETTINGS: [(&str, &str); 7] = [
    // The node routes packets between workloads, itself and the world.
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    // The source of a transparent proxy's packet is routed to another interface. The packet path checks sources itself.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // The proxy has sockets with addresses of workloads and of hosts outside. A packet for such an address that arrives at
    // an interface without our programs must be forwarded to the workload's interface, but the kernel drops a forwarded
    // packet that early demux assigned to a socket. The setting covers both families, despite its name.
    ("ipv4/tcp_early_demux", "0"),
    // Every workload uses the gateway for all destinations, so a redirect is never right.
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];

/// The network namespace to which workloads are connected.
#[derive(Debug)]
pub struct NodeNamespace {
    pub(crate) namespace: NetworkNamespace,
    pub(crate) network: Network,
    pub(crate) ipv6: Ipv6,
}

/// The parameters of a connection.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Name of the host-side interface, such as `nx7`; at most 15 bytes.
    pub host: &'a str,
    /// The workload's addresses, of either family or both.
    pub addresses: &'a [IpAddr],
    /// MTU of both ends.
    pub mtu: u32,
    /// Index of the host-side interface; none lets the kernel choose.
    pub index: Option<u32>,
    /// Alias of the host-side interface, by which its creator recognizes it.
    pub alias: Option<&'a str>,
}

/// A connected workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wired {
    /// Index of the host-side interface.
    pub interface: u32,
    /// Name of the host-side interface.
    pub name: String,
    /// Link-layer address of the host-side interface.
    pub host_mac: [u8; 6],
    /// Link-layer address of the workload's interface.
    pub mac: [u8; 6],
    /// The workload's addresses.
    pub addresses: Vec<IpAddr>,
}

/// Why a workload could not be connected.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A change of the network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A kernel setting could not be written.
    #[error(transparent)]
    Setting(#[from] SysctlError),
    /// An interface does not exist though it was just created.
    #[error("interface {0} is gone: another program deletes interfaces here")]
    Gone(String),
    /// The node lacks the family of an address.
    #[error("{address} cannot be given to a workload: {ipv6}")]
    Family {
        /// The address.
        address: IpAddr,
        /// Why the node lacks it.
        ipv6: Ipv6,
    },
    /// The address families of the node could not be read.
    #[error("reading whether IPv6 is enabled: {0}")]
    Families(std::io::Error),
    /// Another program created the interface for itself.
    #[error("interface {name} has the alias {alias:?} and so belongs to another program")]
    Foreign {
        /// The interface.
        name: String,
        /// Its alias.
        alias: String,
    },
}

impl NodeNamespace {
    /// The node of the calling thread.
    pub fn current() -> Result<Self, WireError> {
        Self::of(NetworkNamespace::current()?)
    }

    /// A node in the given namespace.
    pub fn of(namespace: NetworkNamespace) -> Result<Self, WireError> {
        let network = Network::of(&namespace)?;
        let ipv6 = namespace.enter(Ipv6::here)?.map_err(WireError::Families)?;
        Ok(Self { namespace, network, ipv6 })
    }

    /// The same node, for another thread.
    pub fn duplicate(&self) -> Result<Self, WireError> {
        let namespace = self.namespace.duplicate()?;
        Ok(Self { network: Network::of(&namespace)?, namespace, ipv6: self.ipv6 })
    }

    /// Whether the node has IPv6, as of the last [`Self::refresh`].
    pub fn ipv6(&self) -> Ipv6 {
        self.ipv6
    }

    /// Reads again whether the node has IPv6. A node that lacked IPv6 is treated as lacking it for good, because its IPv6 routes
    /// and rules were not created.
    pub fn refresh(&mut self) -> Result<(), WireError> {
        if self.ipv6 == Ipv6::Enabled {
            self.ipv6 = self.namespace.enter(Ipv6::here)?.map_err(WireError::Families)?;
        }
        Ok(())
    }

    /// The node's own network.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// The node's namespace.
    pub fn namespace(&self) -> &NetworkNamespace {
        &self.namespace
    }

    /// Enables routing between workloads, and disables reverse-path filtering.
    pub fn prepare(&mut self) -> Result<(), WireError> {
        self.namespace.enter(|| sysctl::write(SETTINGS))??;
        let loopback = existing(&mut self.network, "lo")?;
        if !loopback.is_up {
            self.network.up(loopback.index)?;
        }
        Ok(())
    }

    /// Connects a namespace. The host side stays down until [`Self::up`], so that no packet passes before programs and map
    /// entries are in place. An error leaves no interface.
    pub fn wire(&mut self, workload: &NetworkNamespace, plan: &Plan<'_>) -> Result<Wired, WireError> {
        self.wire_as(workload, plan, WORKLOAD_INTERFACE)
    }

    /// As [`Self::wire`], with another name of the workload's interface. The error that the namespace has an interface with
    /// this name leaves that interface as it is.
    pub fn wire_as(
        &mut self,
        workload: &NetworkNamespace,
        plan: &Plan<'_>,
        inside: &str,
    ) -> Result<Wired, WireError> {
        if let Some(&address) = plan.addresses.iter().find(|address| address.is_ipv6())
            && self.ipv6 != Ipv6::Enabled
        {
            return Err(WireError::Family { address, ipv6: self.ipv6 });
        }
        self.network.create_veth(&Veth {
            name: plan.host,
            peer: inside,
            peer_namespace: Some(workload),
            mtu: plan.mtu,
            index: plan.index,
        })?;
        let wired = self.wire_ends(workload, plan, inside);
        if wired.is_err() {
            // The caller needs this error, not an error of this cleanup.
            let _ = self.network.delete_link(plan.host);
        }
        wired
    }

    /// Sets the host side up, and routes the workload's addresses to it.
    pub fn up(&mut self, wired: &Wired) -> Result<(), WireError> {
        self.network.up(wired.interface)?;
        self.await_running(&wired.name)?;
        for &destination in &wired.addresses {
            // A permanent entry: the node must not ask for the address, because policy could drop the answer.
            self.network.add_neighbour(wired.interface, destination, wired.mac)?;
            self.network.add_route(&Route {
                destination,
                prefix: host_prefix(destination),
                interface: wired.interface,
                kind: RouteKind::Direct,
                table: Route::MAIN,
            })?;
        }
        Ok(())
    }

    /// Deletes a workload's interfaces with their routes; succeeds where they do not exist.
    pub fn unwire(&mut self, host: &str) -> Result<(), WireError> {
        Ok(self.network.delete_link(host)?)
    }

    /// Waits a short time until the kernel reports that both ends are up. It drops packets before, and the loss of the first
    /// packet costs its sender a second.
    fn await_running(&mut self, name: &str) -> Result<(), WireError> {
        let deadline = Instant::now() + Duration::from_millis(100);
        while !existing(&mut self.network, name)?.is_running && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    fn wire_ends(
        &mut self,
        workload: &NetworkNamespace,
        plan: &Plan<'_>,
        inside: &str,
    ) -> Result<Wired, WireError> {
        let host = existing(&mut self.network, plan.host)?;
        let has_ipv6 = self.ipv6 == Ipv6::Enabled;
        match plan.alias {
            alias if has_ipv6 => self.network.without_own_address(host.index, alias)?,
            Some(alias) => self.network.set_alias(host.index, alias)?,
            None => {}
        }
        self.namespace.visit(|| disable_autoconfiguration(plan.host))??;
        let mac = workload.visit(|| wire_inside(inside, plan.addresses, (host.mac, has_ipv6)))??;
        Ok(Wired {
            interface: host.index,
            name: host.name,
            host_mac: host.mac,
            mac,
            addresses: plan.addresses.to_vec(),
        })
    }
}

/// Sets up the interface in a workload, whose namespace the calling thread visits; returns the link-layer address.
fn wire_inside(
    name: &str,
    addresses: &[IpAddr],
    (host_mac, has_ipv6): ([u8; 6], bool),
) -> Result<[u8; 6], WireError> {
    let mut network = Network::current()?;
    network.up(LOOPBACK)?;
    if addresses.iter().any(IpAddr::is_ipv6) {
        // A new namespace can inherit the setting that disables IPv6.
        let enabled = ["lo", name].map(|name| format!("ipv6/conf/{name}/disable_ipv6"));
        sysctl::write(enabled.iter().map(|name| (name.as_str(), "0")))?;
    }
    let own = existing(&mut network, name)?;
    if has_ipv6 {
        network.without_own_address(own.index, None)?;
    }
    disable_autoconfiguration(name)?;
    network.up(own.index)?;
    for &address in addresses {
        network.add_address(own.index, address, host_prefix(address))?;
        let (gateway, anywhere) = match address {
            IpAddr::V4(_) => (IpAddr::V4(GATEWAY_V4), IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            IpAddr::V6(_) => (IpAddr::V6(GATEWAY_V6), IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        // A permanent entry, so that a workload's first packet needs no ARP or neighbour discovery.
        network.add_neighbour(own.index, gateway, host_mac)?;
        network.add_route(&Route {
            destination: anywhere,
            prefix: 0,
            interface: own.index,
            kind: RouteKind::Via(gateway),
            table: Route::MAIN,
        })?;
    }
    Ok(own.mac)
}

/// Disables duplicate address detection, router advertisements and automatic addresses at an interface.
pub(crate) fn disable_autoconfiguration(interface: &str) -> Result<(), SysctlError> {
    let [v4, v6] = ["ipv4", "ipv6"].map(|family| format!("{family}/conf/{interface}"));
    let settings = [
        (format!("{v4}/rp_filter"), "0"),
        (format!("{v6}/accept_dad"), "0"),
        (format!("{v6}/accept_ra"), "0"),
        (format!("{v6}/addr_gen_mode"), "1"),
    ];
    sysctl::write(settings.iter().map(|(name, value)| (name.as_str(), *value)))
}

/// The interface with this name.
///
/// # Errors
/// It does not exist.
pub(crate) fn existing(network: &mut Network, name: &str) -> Result<crate::Link, WireError> {
    network.link(name)?.ok_or_else(|| WireError::Gone(name.to_owned()))
}

/// The prefix length of a single address.
fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
