//! Workloads as the node's network sees them: namespace, wire, programs, in an order that never leaves a gap.

use crate::kernel::Kernel;
use crate::paths::Paths;
use crate::state::{Process, Stage, WorkloadRecord};
use abi::protocol;
use anyhow::Context;
use control::{Attachment, Change, Endpoint, Proxy, Workload};
use loader::Loaded;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use workload::{
    ExpeditedRcu, Group, Ipv6, Link, Namespace, Network, Node, PROXY_INTERFACE, Plan, ProxyRouting,
    WORKLOAD_INTERFACE, WireError, Wired, kill_all,
};

/// Longest packet on a workload's wire.
const MTU: u32 = 1500;

/// From how many interfaces on their deletion is hurried.
const MANY: usize = 4;

/// The way of packets to the node proxy; the field's incumbent has used the same table for the same purpose.
const PROXY: ProxyRouting =
    ProxyRouting { mark: abi::mark::TO_PROXY, mask: abi::mark::MASK, table: 2004, priority: 9, mtu: MTU };

/// Everything about the node's network but the packet path itself.
#[derive(Debug)]
pub(crate) struct Wiring {
    node: Node,
    instance: String,
    /// Where control groups are, if they can be had.
    groups: Option<PathBuf>,
    /// The file that tells that the kernel hurries at our wish.
    marker: PathBuf,
}

/// What is left of a workload that the state does not name.
#[derive(Debug)]
pub(crate) struct Orphan {
    id: u32,
    pub(crate) namespace: String,
    group: Option<Group>,
    /// How many processes run in it.
    pub(crate) processes: usize,
}

impl Wiring {
    /// The network namespace of the calling thread, unless it is another agent's.
    ///
    /// Agents cannot share one. The proxy's packets carry a mark that every program of ours trusts, one rule leads them
    /// to one interface, and the settings are those of the namespace. The proxy's interface tells whose it is, also while
    /// its agent does not run.
    pub(crate) fn claim(paths: &Paths) -> anyhow::Result<Self> {
        let instance = paths.instance();
        let mut node = Node::of(Namespace::current()?)?;
        let own = alias(instance, "proxy");
        if let Some(alias) = node.proxy_alias()?.filter(|alias| !alias.is_empty() && *alias != own) {
            let other = alias.split('/').nth(1).unwrap_or(&alias);
            anyhow::bail!(
                "this network namespace is that of another agent, instance {other}, and two cannot share one; give \
                 this agent a network namespace of its own (networkNamespace), or, where that agent and its workloads \
                 are gone for good, delete its interface: ip link delete {PROXY_INTERFACE}"
            );
        }
        Ok(Self { node, instance: instance.to_owned(), groups: None, marker: paths.hurry() })
    }

    /// Finds out whether processes can be kept in control groups; says what is amiss where they cannot.
    pub(crate) fn find_groups(&mut self) -> Option<String> {
        const AMISS: &str =
            "a process that leaves the network namespace of its workload outlives the workload";
        let hierarchy = match Group::hierarchy() {
            Ok(Some(hierarchy)) => hierarchy,
            Ok(None) => {
                return Some(format!("no control groups of version 2 are mounted (cgroup2): {AMISS}"));
            }
            Err(error) => return Some(format!("where control groups are is not known ({error}): {AMISS}")),
        };
        let groups = hierarchy.join("nexin").join(&self.instance);
        match Group::at(&groups).create() {
            Ok(()) => self.groups = Some(groups),
            Err(error) => return Some(format!("{} cannot be made ({error}): {AMISS}", groups.display())),
        }
        None
    }

    /// Whether the node has IPv6.
    pub(crate) fn ipv6(&self) -> Ipv6 {
        self.node.ipv6()
    }

    /// Finds out whether the node has lost its IPv6.
    pub(crate) fn refresh(&mut self) -> anyhow::Result<()> {
        Ok(self.node.refresh()?)
    }

    /// Refuses addresses of a family that the node does not have.
    pub(crate) fn check_families(&self, addresses: &[IpAddr]) -> anyhow::Result<()> {
        let ipv6 = self.ipv6();
        match addresses.iter().find(|address| address.is_ipv6()) {
            Some(address) if ipv6 != Ipv6::Enabled => {
                Err(WireError::Family { address: *address, ipv6 }.into())
            }
            _ => Ok(()),
        }
    }

    /// Makes the network namespace fit to be a node, with these addresses of its own; returns where its proxy is.
    pub(crate) fn prepare(&mut self, addresses: &[IpAddr], port: u16) -> anyhow::Result<Proxy> {
        ExpeditedRcu::recover(&self.marker).context("setting back what an agent that crashed had set")?;
        let node = &mut self.node;
        node.prepare()?;
        let interface = node.create_proxy(&PROXY, &alias(&self.instance, "proxy"))?.interface;
        for &address in addresses {
            match node.network().add_address(interface, address, if address.is_ipv4() { 32 } else { 128 }) {
                // From an earlier run.
                Err(error) if error.is_present() => {}
                result => result?,
            }
        }
        Ok(Proxy { interface, port })
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

    /// The next number whose names nothing has: what an earlier agent, or another program, made under them stays.
    pub(crate) fn free_number(&mut self, last: u32) -> anyhow::Result<u32> {
        let namespaces = Namespace::names()?;
        let links = self.node.network().links()?;
        let is_free = |id: &u32| {
            let (interface, namespace) = (interface(*id), namespace(&self.instance, *id));
            !namespaces.contains(&namespace)
                && links
                    .iter()
                    .all(|link| link.name != interface && link.alias != number_alias(&self.instance, *id))
        };
        (last + 1..=u32::MAX).find(is_free).context("every number of a workload is taken")
    }

    /// A workload with this number, which gives it its names; nothing of it is made yet.
    pub(crate) fn plan(&self, id: u32, wanted: api::WorkloadSpec) -> anyhow::Result<WorkloadRecord> {
        let owner =
            wanted.owner.map(Process::find).transpose().context("its owner cannot be found out about")?;
        Ok(WorkloadRecord {
            id,
            interface: interface(id),
            network_namespace: namespace(&self.instance, id),
            owner: owner.flatten(),
            mac: [0; 6],
            audit: false,
            stage: Stage::Making,
            group: self.groups.as_ref().map(|groups| groups.join(id.to_string())),
            wanted,
        })
    }

    /// Makes a workload. Its wire carries nothing before its rows are written and its programs attached. What is left of
    /// it when that fails is the caller's to take down.
    pub(crate) fn create(
        &mut self,
        kernel: &mut Kernel,
        workload: &mut WorkloadRecord,
    ) -> anyhow::Result<()> {
        let namespace = Namespace::create(&workload.network_namespace)?;
        if let Some(directory) = &workload.group {
            Group::at(directory).create().with_context(|| format!("making {}", directory.display()))?;
        }
        let WorkloadRecord { interface: host, wanted: api::WorkloadSpec { addresses, .. }, .. } = &*workload;
        let alias = number_alias(&self.instance, workload.id);
        let plan = Plan { host, addresses, mtu: MTU, index: None, alias: Some(&alias) };
        let wired: Wired = self.node.wire(&namespace, &plan)?;
        workload.mac = wired.mac;
        let interface = Attachment { interface: wired.interface, mac: wired.mac, host_mac: wired.host_mac };
        let endpoint = endpoint(workload, interface)?;
        kernel.apply([Change::Endpoint(Box::new(endpoint.clone()))])?;
        anyhow::ensure!(
            kernel.world.endpoint_row(&endpoint).is_some(),
            "no identity is left for these labels: all {} are in use; end workloads, or give this one labels that \
             others have",
            kernel.world.identities().allocated().count()
        );
        kernel.loaded.attach(wired.interface).context("the packet path cannot be attached")?;
        Ok(self.node.up(&wired)?)
    }

    /// Takes a workload of an earlier run back in, as a change to apply, and tells its interface; none where its wire
    /// is gone.
    pub(crate) fn adopt(&mut self, workload: &WorkloadRecord) -> anyhow::Result<Option<(Change, u32)>> {
        let Some(link) = self.node.network().link(&workload.interface)? else { return Ok(None) };
        if !self.is_of(&link, workload) {
            return Ok(None);
        }
        self.node.network().set_alias(link.index, &number_alias(&self.instance, workload.id))?;
        let mac = workload.mac;
        let interface = Attachment { interface: link.index, mac, host_mac: link.mac };
        Ok(Some((Change::Endpoint(Box::new(endpoint(workload, interface)?)), link.index)))
    }

    /// Whether the name of a workload's network namespace is there.
    pub(crate) fn has_namespace(&self, workload: &WorkloadRecord) -> anyhow::Result<bool> {
        Ok(Namespace::find(&workload.network_namespace)?.is_some())
    }

    /// The workloads whose wire is gone.
    pub(crate) fn missing<'a>(
        &mut self,
        workloads: &'a [WorkloadRecord],
    ) -> anyhow::Result<Vec<&'a WorkloadRecord>> {
        let links = self.node.network().links()?;
        let has_wire = |workload: &WorkloadRecord| {
            links.iter().any(|link| link.name == workload.interface && self.is_of(link, workload))
        };
        let whole = workloads.iter().filter(|workload| workload.stage == Stage::Made);
        Ok(whole.filter(|workload| !has_wire(workload)).collect())
    }

    /// Ends what runs in workloads and removes their wires, before anything else of theirs, so that nothing passes
    /// unguarded. That some of it is gone already is fine.
    pub(crate) fn take_down(
        &mut self,
        loaded: &mut Loaded,
        workloads: &[WorkloadRecord],
    ) -> anyhow::Result<()> {
        let found = workloads.iter().map(|workload| Namespace::find(&workload.network_namespace));
        let namespaces: Vec<Namespace> = found.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        // An owner that asks for the end of its own workload lives on, to report how the command ended.
        let owners = workloads.iter().filter_map(|workload| workload.owner).map(|owner| owner.process);
        kill_all(&namespaces, &owners.collect())?;
        for directory in workloads.iter().filter_map(|workload| workload.group.as_ref()) {
            let killed = Group::at(directory).kill();
            killed.with_context(|| format!("ending the processes of {}", directory.display()))?;
        }
        let links = self.node.network().links()?;
        let is_theirs = |link: &Link| {
            workloads.iter().any(|workload| link.name == workload.interface && self.is_of(link, workload))
        };
        let links: Vec<Link> = links.into_iter().filter(is_theirs).collect();
        let expedited = if links.len() < MANY { None } else { ExpeditedRcu::begin(&self.marker) };
        self.node.network().delete_links(&links)?;
        drop(expedited);
        for namespace in &namespaces {
            // A wire that was not marked yet ends by its other end.
            Network::of(namespace)?.delete_link(WORKLOAD_INTERFACE)?;
        }
        links.iter().try_for_each(|link| Ok(loaded.detach(link.index)?))
    }

    /// Removes the names of a workload that was taken down.
    pub(crate) fn forget(&self, workload: &WorkloadRecord) -> anyhow::Result<()> {
        Namespace::delete(&workload.network_namespace)?;
        match &workload.group {
            Some(directory) => {
                Group::at(directory).remove().with_context(|| format!("removing {}", directory.display()))
            }
            None => Ok(()),
        }
    }

    /// What is left of workloads of this instance with other numbers than these.
    pub(crate) fn orphans(&mut self, known: &BTreeSet<u32>) -> anyhow::Result<Vec<Orphan>> {
        let names = Namespace::names()?;
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
            if let Some(namespace) = Namespace::find(&namespace)? {
                processes.extend(namespace.processes()?);
            }
            if let Some(group) = &group {
                processes.extend(group.processes()?);
            }
            Ok(Orphan { id, namespace, group, processes: processes.len() })
        });
        orphans.collect()
    }

    /// Removes what is left of a workload in which nothing runs.
    pub(crate) fn clear(&mut self, loaded: &mut Loaded, stray: &Orphan) -> anyhow::Result<()> {
        let mark = number_alias(&self.instance, stray.id);
        let links = self.node.network().links()?;
        let links: Vec<Link> = links.into_iter().filter(|link| link.alias == mark).collect();
        self.node.network().delete_links(&links)?;
        links.iter().try_for_each(|link| loaded.detach(link.index))?;
        if let Some(namespace) = Namespace::find(&stray.namespace)? {
            Network::of(&namespace)?.delete_link(WORKLOAD_INTERFACE)?;
        }
        Namespace::delete(&stray.namespace)?;
        stray.group.iter().try_for_each(|group| Ok(group.remove()?))
    }

    /// Whether an interface that has the name of a workload's was made for it. Those of earlier releases carry no mark.
    fn is_of(&self, link: &Link, workload: &WorkloadRecord) -> bool {
        let is_unmarked = link.alias.is_empty() && workload.stage == Stage::Made;
        is_unmarked || link.alias == number_alias(&self.instance, workload.id)
    }
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network namespace {}", self.namespace)
    }
}

/// What is written on an interface of an agent's, by which it is known again.
pub(crate) fn alias(instance: &str, part: &str) -> String {
    format!("nexin/{instance}/{part}")
}

fn number_alias(instance: &str, id: u32) -> String {
    alias(instance, &id.to_string())
}

fn interface(id: u32) -> String {
    format!("nx{id}")
}

/// The name of a workload's network namespace.
pub(crate) fn namespace(instance: &str, id: u32) -> String {
    format!("nexin-{instance}-{id}")
}

/// The number that a name has after its beginning, where nothing else is there.
pub(crate) fn number_of(name: &str, beginning: &str) -> Option<u32> {
    let number: u32 = name.strip_prefix(beginning)?.parse().ok()?;
    // Not what only looks like a number of ours, such as +7 or 007.
    name.ends_with(&format!("{beginning}{number}")).then_some(number)
}

/// A workload as the world knows it.
fn endpoint(workload: &WorkloadRecord, attachment: Attachment) -> anyhow::Result<Endpoint> {
    Ok(Endpoint {
        id: workload.id,
        workload: Workload {
            namespace: workload.wanted.namespace.clone(),
            name: workload.wanted.name.clone(),
            labels: workload.wanted.labels.clone().into(),
            addresses: workload.wanted.addresses.clone(),
            named_ports: named_ports(&workload.wanted.named_ports)?.into(),
        },
        attachment,
        audit: workload.audit,
    })
}

/// Ports by name and protocol number, from `http` and `80/TCP`.
pub(crate) fn named_ports(written: &BTreeMap<String, String>) -> anyhow::Result<BTreeMap<(String, u8), u16>> {
    let ports = written.iter().map(|(name, port)| {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "TCP"));
        let protocol =
            protocol::number(protocol).filter(|number| protocol::WITH_PORTS.contains(number)).with_context(
                || format!("port {name}: {port:?} should be a number and TCP, UDP or SCTP, as in 80/TCP"),
            )?;
        let number = number.parse().ok().filter(|number| *number != 0);
        let number = number
            .with_context(|| format!("port {name}: {port:?} should begin with 1 to 65535, as in 80/TCP"))?;
        Ok(((name.to_ascii_lowercase(), protocol), number))
    });
    ports.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_instance_and_number_and_no_other_instance_is_taken_for_ours() {
        let check = |name: &str, expected: Option<u32>| {
            assert_eq!(number_of(name, "nexin-a-"), expected, "{name}");
        };
        check(&namespace("a", 7), Some(7));
        check(&namespace("a-1", 7), None);
        check(&namespace("b", 7), None);
        check("nexin-a-", None);
        check("nexin-a-+7", None);
        check("nexin-a-007", None);
        check("nexin-a-x", None);
        assert_eq!(number_of(&number_alias("a", 7), &alias("a", "")), Some(7));
        assert_eq!(number_of(&number_alias("a", 7), &alias("b", "")), None);
    }
}
