//! Workloads as the node's network sees them: namespace, wire, programs, in an order that never leaves a gap.

use crate::kernel::Kernel;
use crate::state::{Owner, Workload};
use anyhow::Context;
use control::{Change, Endpoint, Interface, Proxy};
use std::collections::BTreeMap;
use std::net::IpAddr;
use workload::{Namespace, Node, Plan, ProxyRouting, Wired};

/// Longest packet on a workload's wire.
const MTU: u32 = 1500;

/// The way of packets to the node proxy; the field's incumbent has used the same table for the same purpose.
const PROXY: ProxyRouting =
    ProxyRouting { mark: abi::mark::TO_PROXY, mask: abi::mark::MASK, table: 2004, priority: 9, mtu: MTU };

/// Everything about the node's network but the packet path itself.
#[derive(Debug)]
pub(crate) struct Wiring {
    node: Node,
}

impl Wiring {
    /// Makes the namespace of the calling thread fit to be a node, with these addresses of its own; returns where its
    /// proxy is.
    pub(crate) fn prepare(addresses: &[IpAddr], port: u16) -> anyhow::Result<(Self, Proxy)> {
        let mut node = Node::of(Namespace::current()?)?;
        node.prepare()?;
        let interface = node.create_proxy(&PROXY)?.interface;
        for &address in addresses {
            match node.network().add_address(interface, address, if address.is_ipv4() { 32 } else { 128 }) {
                // From an earlier run.
                Err(error) if error.is_present() => {}
                result => result?,
            }
        }
        Ok((Self { node }, Proxy { interface, port }))
    }

    /// The addresses of the node itself, on whichever interface; link-local ones are not routed and not looked up.
    pub(crate) fn node_addresses(&mut self) -> anyhow::Result<Vec<IpAddr>> {
        let mut addresses = self.node.network().addresses()?;
        addresses.retain(|address| match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        });
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }

    /// Makes a workload. Its wire carries nothing before its rows are written and its programs attached; when that
    /// fails nothing is left of it.
    pub(crate) fn create(&mut self, kernel: &mut Kernel, workload: &mut Workload) -> anyhow::Result<()> {
        let namespace = Namespace::create(&workload.network_namespace)?;
        let made = self.connect(kernel, workload, &namespace);
        if made.is_err()
            && let Err(error) = self.remove(kernel, workload)
        {
            tracing::error!(
                error = api::sentence(error.as_ref()),
                "a workload that failed could not be removed whole"
            );
        }
        made
    }

    /// Takes a workload of an earlier run back in, as a change to apply, and tells its interface; none where its wire
    /// is gone.
    pub(crate) fn adopt(&mut self, workload: &Workload) -> anyhow::Result<Option<(Change, u32)>> {
        let Some(link) = self.node.network().link(&workload.interface)? else { return Ok(None) };
        let mac = workload.mac;
        let interface = Interface { index: link.index, mac, host_mac: link.mac };
        Ok(Some((Change::Endpoint(Box::new(endpoint(workload, interface)?)), link.index)))
    }

    /// Removes a workload: its wire first, and nothing else where that stays, so that nothing passes unguarded.
    pub(crate) fn remove(&mut self, kernel: &mut Kernel, workload: &Workload) -> anyhow::Result<()> {
        let name = &workload.interface;
        let link = self.node.network().link(name)?;
        end_processes(workload)?;
        self.node.unwire(name)?;
        if let Some(link) = link {
            kernel.loaded.detach(link.index)?;
        }
        kernel.apply([Change::RemoveEndpoint(workload.id)])?;
        Ok(Namespace::delete(&workload.network_namespace)?)
    }

    fn connect(
        &mut self,
        kernel: &mut Kernel,
        workload: &mut Workload,
        namespace: &Namespace,
    ) -> anyhow::Result<()> {
        let Workload { interface: host, wanted: api::Workload { addresses, .. }, .. } = &*workload;
        let plan = Plan { host, addresses, mtu: MTU, index: None };
        let wired: Wired = self.node.wire(namespace, &plan)?;
        workload.mac = wired.mac;
        let interface = Interface { index: wired.interface, mac: wired.mac, host_mac: wired.host_mac };
        kernel.apply([Change::Endpoint(Box::new(endpoint(workload, interface)?))])?;
        kernel.loaded.attach(wired.interface).context("the packet path cannot be attached")?;
        Ok(self.node.up(&wired)?)
    }
}

/// Ends what runs in a workload: without its name the namespace could not be found again.
fn end_processes(workload: &Workload) -> anyhow::Result<()> {
    if Namespace::names()?.contains(&workload.network_namespace) {
        // Whoever asks for the end of its own workload goes on, to tell how it ended.
        let owner = workload.owner.map(|owner| owner.process);
        Namespace::open(&workload.network_namespace)?.kill_all(owner)?;
    }
    Ok(())
}

/// A workload as the world knows it.
fn endpoint(workload: &Workload, interface: Interface) -> anyhow::Result<Endpoint> {
    Ok(Endpoint {
        id: workload.id,
        namespace: workload.wanted.namespace.clone(),
        name: workload.wanted.name.clone(),
        labels: workload.wanted.labels.clone().into(),
        addresses: workload.wanted.addresses.clone(),
        named_ports: named_ports(&workload.wanted.named_ports)?.into(),
        interface,
        audit: workload.audit,
    })
}

/// Ports by name and protocol number, from `http` and `80/TCP`.
pub(crate) fn named_ports(written: &BTreeMap<String, String>) -> anyhow::Result<BTreeMap<(String, u8), u16>> {
    let ports = written.iter().map(|(name, port)| {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "TCP"));
        let protocol = match protocol.to_ascii_uppercase().as_str() {
            "TCP" => 6,
            "UDP" => 17,
            "SCTP" => 132,
            _ => anyhow::bail!("port {name}: {port:?} should be a number and TCP, UDP or SCTP, as in 80/TCP"),
        };
        let number = number.parse().ok().filter(|number| *number != 0);
        let number = number
            .with_context(|| format!("port {name}: {port:?} should begin with 1 to 65535, as in 80/TCP"))?;
        Ok(((name.to_ascii_lowercase(), protocol), number))
    });
    ports.collect()
}

impl Workload {
    /// A workload with this number; its interface and namespace are named after it.
    pub(crate) fn new(id: u32, instance: &str, wanted: api::Workload) -> Self {
        Self {
            id,
            interface: format!("nx{id}"),
            network_namespace: format!("nexin-{instance}-{id}"),
            owner: wanted.owner.and_then(Owner::of),
            mac: [0; 6],
            audit: false,
            wanted,
        }
    }
}
