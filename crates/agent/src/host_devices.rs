//! The external interfaces of the node, where policies that select the node are enforced.

use anyhow::Context;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use workload::{Link, Network};

/// Finds the external interfaces.
#[derive(Debug)]
pub(crate) struct HostDevices {
    network: Network,
    named: Vec<String>,
    known: BTreeSet<u32>,
    cache: DeviceCache,
}

/// Whether the external interfaces that were found last are still right.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeviceCache {
    is_valid: Arc<AtomicBool>,
}

impl DeviceCache {
    /// Records that interfaces or default routes changed.
    pub(crate) fn invalidate(&self) {
        self.is_valid.store(false, Ordering::Release);
    }
}

impl HostDevices {
    /// The interfaces with these names in the network namespace of the calling thread; without names, those of the
    /// default routes.
    pub(crate) fn new(named: Vec<String>) -> anyhow::Result<Self> {
        let cache = DeviceCache::default();
        Ok(Self { network: Network::current()?, named, known: BTreeSet::new(), cache })
    }

    /// The record of whether the interfaces must be searched again.
    pub(crate) fn cache(&self) -> DeviceCache {
        self.cache.clone()
    }

    /// The present indices of the interfaces.
    pub(crate) fn interfaces(&mut self) -> anyhow::Result<BTreeSet<u32>> {
        // Set before the search: a change during the search leads to another one.
        if !self.cache.is_valid.swap(true, Ordering::AcqRel) {
            let found = self.find();
            if found.is_err() {
                self.cache.invalidate();
            }
            self.known = found?;
        }
        Ok(self.known.clone())
    }

    /// The first address of each family that the interfaces have, in the order of their indices; link-local ones do not count.
    pub(crate) fn addresses(&mut self) -> anyhow::Result<Vec<IpAddr>> {
        let interfaces = self.interfaces()?;
        let mut addresses = self.network.addresses_by_interface()?;
        addresses.retain(|(interface, address)| {
            let is_link_local = match address {
                IpAddr::V4(v4) => v4.is_link_local(),
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
            };
            interfaces.contains(interface) && !is_link_local
        });
        addresses.sort_by_key(|(interface, _)| *interface);
        let first = |is_v4: bool| addresses.iter().find(|(_, address)| address.is_ipv4() == is_v4);
        Ok([true, false].into_iter().filter_map(first).map(|(_, address)| *address).collect())
    }

    fn find(&mut self) -> anyhow::Result<BTreeSet<u32>> {
        let links = self.network.links()?;
        let found = if self.named.is_empty() {
            by_routes(&mut self.network, &links)?
        } else {
            self.by_names(&links)?
        };
        if let Some(link) = found.iter().find(|link| !link.is_ethernet) {
            anyhow::bail!(
                "interface {} carries no Ethernet frames, and the node's policy cannot be enforced there; name others in \
                 hostDevices",
                link.name
            );
        }
        Ok(found.into_iter().map(|link| link.index).collect())
    }

    fn by_names<'a>(&self, links: &'a [Link]) -> anyhow::Result<Vec<&'a Link>> {
        let named = |name: &String| {
            let link = links.iter().find(|link| link.name == *name);
            link.with_context(|| format!("hostDevices: there is no interface {name}"))
        };
        self.named.iter().map(named).collect()
    }
}

fn by_routes<'a>(network: &mut Network, links: &'a [Link]) -> anyhow::Result<Vec<&'a Link>> {
    let indices = network.ways_out()?;
    Ok(links.iter().filter(|link| indices.contains(&link.index)).collect())
}
