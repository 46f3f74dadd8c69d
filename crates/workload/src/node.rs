//! The node's side of the wiring: a veth pair, addresses and routes for each workload.

use crate::families::Ipv6;
use crate::namespace::{Namespace, NamespaceError};
use crate::network::{Network, NetworkError, Route, RouteKind, Veth};
use crate::sysctl::{self, SysctlError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// The gateway that every workload sees; nobody has the address, the packet path answers for it.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The IPv6 gateway that every workload sees.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Name of the interface inside a workload.
pub const WORKLOAD_INTERFACE: &str = "eth0";

/// Settings of the node's namespace.
const SETTINGS: [(&str, &str); 7] = [
    // Packets between workloads, the node and the world are routed.
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    // Packets of a transparent proxy have sources that are routed elsewhere; the packet path checks sources.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // The proxy has sockets with addresses of workloads and hosts outside. A packet that comes in for one of them by
    // an interface without our programs must first be routed to the workload's door, and what is routed on is dropped
    // where it was given to a socket before. Of both families, despite its name.
    ("ipv4/tcp_early_demux", "0"),
    // Every workload is behind the same gateway; there is no shorter way to tell of.
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];

/// The network namespace that workloads are wired to.
#[derive(Debug)]
pub struct Node {
    pub(crate) namespace: Namespace,
    pub(crate) network: Network,
    pub(crate) ipv6: Ipv6,
}

/// How to wire a workload.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Name of the host-side interface, such as `nx7`; at most 15 bytes.
    pub host: &'a str,
    /// The workload's addresses, of either family or both.
    pub addresses: &'a [IpAddr],
    /// Longest packet.
    pub mtu: u32,
    /// Index of the host-side interface; none for the kernel's choice.
    pub index: Option<u32>,
    /// A text on the host-side interface, by which its maker knows it again; none where that is left out.
    pub alias: Option<&'a str>,
}

/// A workload that is wired.
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

/// Why a workload could not be wired.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The kernel refused.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A namespace could not be used.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A setting could not be made.
    #[error(transparent)]
    Setting(#[from] SysctlError),
    /// An interface that must be there is not.
    #[error("interface {0} is gone; someone else deletes interfaces here")]
    Gone(String),
    /// An address is of a family that the node does not have.
    #[error("{address} cannot be given to a workload: {ipv6}")]
    Family {
        /// The address.
        address: IpAddr,
        /// Why there is no such family.
        ipv6: Ipv6,
    },
    /// The address families could not be found out.
    #[error("finding out about IPv6: {0}")]
    Families(std::io::Error),
    /// An interface was made by another, for its own use.
    #[error("interface {name} is marked {alias:?}, and so belongs to another")]
    Foreign {
        /// The interface.
        name: String,
        /// What its maker wrote on it.
        alias: String,
    },
}

impl Node {
    /// The node that the calling thread is in.
    pub fn current() -> Result<Self, WireError> {
        Self::of(Namespace::current()?)
    }

    /// A node in a namespace of its own.
    pub fn of(namespace: Namespace) -> Result<Self, WireError> {
        let network = Network::of(&namespace)?;
        let ipv6 = namespace.enter(Ipv6::here)?.map_err(WireError::Families)?;
        Ok(Self { namespace, network, ipv6 })
    }

    /// Whether the node had IPv6 when that was last found out.
    pub fn ipv6(&self) -> Ipv6 {
        self.ipv6
    }

    /// Finds out again whether the node has IPv6. One that had none keeps none: its routes and rules were not made.
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
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Makes the node route between workloads, and take packets whose way back is another than their way here.
    pub fn prepare(&mut self) -> Result<(), WireError> {
        self.namespace.enter(|| sysctl::write(SETTINGS))??;
        let loopback = existing(&mut self.network, "lo")?;
        if !loopback.is_up {
            self.network.up(loopback.index)?;
        }
        Ok(())
    }

    /// Wires a namespace. The host side stays down until [`Self::up`], so that nothing passes before programs and
    /// rows are there; what fails leaves no interface.
    pub fn wire(&mut self, workload: &Namespace, plan: &Plan<'_>) -> Result<Wired, WireError> {
        if let Some(&address) = plan.addresses.iter().find(|address| address.is_ipv6())
            && self.ipv6 != Ipv6::Enabled
        {
            return Err(WireError::Family { address, ipv6: self.ipv6 });
        }
        self.network.create_veth(&Veth {
            name: plan.host,
            peer: WORKLOAD_INTERFACE,
            peer_namespace: Some(workload),
            mtu: plan.mtu,
            index: plan.index,
        })?;
        let wired = self.wire_ends(workload, plan);
        if wired.is_err() {
            // The error of the wiring is what the caller needs to know.
            let _ = self.network.delete_link(plan.host);
        }
        wired
    }

    /// Takes the host side up, and routes the workload's addresses to it.
    pub fn up(&mut self, wired: &Wired) -> Result<(), WireError> {
        self.network.up(wired.interface)?;
        self.await_running(&wired.name)?;
        for &destination in &wired.addresses {
            // Written down, so that the node asks nobody: who could answer is behind the policy.
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

    /// Deletes a workload's interfaces, and its routes with them; that there are none is no error.
    pub fn unwire(&mut self, host: &str) -> Result<(), WireError> {
        Ok(self.network.delete_link(host)?)
    }

    /// Waits a little until the kernel has noticed that both ends are up: it drops packets before, and a first packet
    /// that is lost costs its sender a second.
    fn await_running(&mut self, name: &str) -> Result<(), WireError> {
        let deadline = Instant::now() + Duration::from_millis(100);
        while !existing(&mut self.network, name)?.is_running && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    fn wire_ends(&mut self, workload: &Namespace, plan: &Plan<'_>) -> Result<Wired, WireError> {
        let host = existing(&mut self.network, plan.host)?;
        if let Some(alias) = plan.alias {
            self.network.set_alias(host.index, alias)?;
        }
        self.namespace.enter(|| disable_autoconfiguration(plan.host))??;
        let mac = workload.enter(|| wire_inside(plan.addresses, host.mac))??;
        Ok(Wired {
            interface: host.index,
            name: host.name,
            host_mac: host.mac,
            mac,
            addresses: plan.addresses.to_vec(),
        })
    }
}

/// Sets up a workload's own side, on a thread inside it; returns its link-layer address.
fn wire_inside(addresses: &[IpAddr], host_mac: [u8; 6]) -> Result<[u8; 6], WireError> {
    let mut network = Network::current()?;
    let loopback = existing(&mut network, "lo")?;
    network.up(loopback.index)?;
    if addresses.iter().any(IpAddr::is_ipv6) {
        // A new namespace may have inherited from another that it has no IPv6.
        let enabled = ["lo", WORKLOAD_INTERFACE].map(|name| format!("ipv6/conf/{name}/disable_ipv6"));
        sysctl::write(enabled.iter().map(|name| (name.as_str(), "0")))?;
    }
    disable_autoconfiguration(WORKLOAD_INTERFACE)?;
    let own = existing(&mut network, WORKLOAD_INTERFACE)?;
    network.up(own.index)?;
    for &address in addresses {
        network.add_address(own.index, address, host_prefix(address))?;
        let (gateway, anywhere) = match address {
            IpAddr::V4(_) => (IpAddr::V4(GATEWAY_V4), IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            IpAddr::V6(_) => (IpAddr::V6(GATEWAY_V6), IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        // Written down, so that a workload's first packet does not wait for an answer.
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

/// Keeps an interface from asking and telling its link things of its own accord (duplicate addresses, routers).
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

/// The interface of this name, which must be there.
pub(crate) fn existing(network: &mut Network, name: &str) -> Result<crate::Link, WireError> {
    network.link(name)?.ok_or_else(|| WireError::Gone(name.to_owned()))
}

/// The prefix length of one address alone.
fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
