//! The interfaces that lead out of the node, where its own policy is asked.

use anyhow::Context;
use std::collections::BTreeSet;
use workload::{Link, Network};

/// Where to find them.
#[derive(Debug)]
pub(crate) struct HostDevices {
    network: Network,
    named: Vec<String>,
}

impl HostDevices {
    /// Those with these names in the namespace of the calling thread; with none given, those of default routes.
    pub(crate) fn new(named: Vec<String>) -> anyhow::Result<Self> {
        Ok(Self { network: Network::current()?, named })
    }

    /// Their indices, as things are now.
    pub(crate) fn interfaces(&mut self) -> anyhow::Result<BTreeSet<u32>> {
        let links = self.network.links()?;
        let ways = if self.named.is_empty() {
            by_routes(&mut self.network, &links)?
        } else {
            self.by_names(&links)?
        };
        if let Some(link) = ways.iter().find(|link| !link.is_ethernet) {
            anyhow::bail!(
                "interface {} carries no Ethernet frames, and the node's policy cannot be asked there; name others in \
                 hostDevices",
                link.name
            );
        }
        Ok(ways.into_iter().map(|link| link.index).collect())
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
    let ways = network.ways_out()?;
    Ok(links.iter().filter(|link| ways.contains(&link.index)).collect())
}
