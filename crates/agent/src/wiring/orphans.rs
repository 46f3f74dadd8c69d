//! The remains of workloads that the state does not name: found at a start, and removed.

use super::{Wiring, alias, namespace, number_alias, number_of};
use loader::Attacher;
use std::collections::BTreeSet;
use std::fmt;
use workload::{Group, Link, Network, NetworkNamespace, WORKLOAD_INTERFACE};

/// The remains of a workload that the state does not name.
#[derive(Debug)]
pub(crate) struct Orphan {
    id: u32,
    pub(crate) namespace: String,
    group: Option<Group>,
    /// Number of processes in it.
    pub(crate) processes: usize,
}

impl Wiring {
    /// The remains of workloads of this instance whose numbers are not `known`.
    pub(crate) fn orphans(&mut self, known: &BTreeSet<u32>) -> anyhow::Result<Vec<Orphan>> {
        let names = NetworkNamespace::names()?;
        let spaces = names.iter().filter_map(|name| number_of(name, &format!("nexin-{}-", self.instance)));
        let links = self.node.network().links()?;
        let wires = links.iter().filter_map(|link| number_of(&link.alias, &alias(&self.instance, "")));
        let mut found: BTreeSet<u32> = spaces.chain(wires).collect();
        if let Some(groups) = &self.groups {
            for entry in std::fs::read_dir(groups)? {
                found.extend(entry?.file_name().to_str().and_then(|name| number_of(name, "")));
            }
        }
        let orphans = found.difference(known).map(|&id| {
            let namespace = namespace(&self.instance, id);
            let group = self.groups.as_ref().map(|groups| Group::at(groups.join(id.to_string())));
            let mut processes = BTreeSet::new();
            if let Some(namespace) = NetworkNamespace::find(&namespace)? {
                processes.extend(namespace.processes()?);
            }
            if let Some(group) = &group {
                processes.extend(group.processes()?);
            }
            Ok(Orphan { id, namespace, group, processes: processes.len() })
        });
        orphans.collect()
    }

    /// Removes the remains of a workload without processes.
    pub(crate) fn clear(&mut self, attacher: &Attacher, stray: &Orphan) -> anyhow::Result<()> {
        let mark = number_alias(&self.instance, stray.id);
        let links = self.node.network().links()?;
        let links: Vec<Link> = links.into_iter().filter(|link| link.alias == mark).collect();
        self.node.network().delete_links(&links)?;
        links.iter().try_for_each(|link| attacher.detach(link.index))?;
        if let Some(namespace) = NetworkNamespace::find(&stray.namespace)? {
            Network::of(&namespace)?.delete_link(WORKLOAD_INTERFACE)?;
        }
        NetworkNamespace::delete(&stray.namespace)?;
        stray.group.iter().try_for_each(|group| Ok(group.remove()?))
    }
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network namespace {}", self.namespace)
    }
}
