//! The network of workloads, created and removed in an order that never leaves a workload without policy.

mod orphans;
mod sandboxes;

use crate::paths::Paths;
use crate::state::{Process, WorkloadRecord, WorkloadStage};
use crate::step_times::StepTimes;
use abi::protocol;
use anyhow::Context;
use control::{Change, Endpoint, ProxyLocation, Wire, Workload};
use loader::Attacher;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use workload::{
    Group, Ipv6, Link, Network, NetworkNamespace, NodeNamespace, PROXY_INTERFACE, Plan, ProxyRouting,
    RcuExpediter, WORKLOAD_INTERFACE, WireError, Wired, kill_all,
};

/// MTU of a workload's veth pair.
pub(crate) const MTU: u32 = 1500;

/// Prefix of the names of workloads' interfaces; a number follows.
const INTERFACE: &str = "nx";

/// From this number of interfaces on, their deletion is expedited.
const MANY: usize = 4;

/// Number of workloads that are taken down together. The kernel makes no other change of the network meanwhile.
const TOGETHER: usize = 128;

/// The routing of packets to the node proxy; Cilium uses the same table for its proxy.
const PROXY: ProxyRouting =
    ProxyRouting { mark: abi::mark::TO_PROXY, mask: abi::mark::MASK, table: 2004, priority: 9, mtu: MTU };

/// The network of the node, except for the packet path.
#[derive(Debug)]
pub(crate) struct Wiring {
    node: NodeNamespace,
    instance: String,
    /// Directory of the workloads' control groups, if these can be created.
    groups: Option<PathBuf>,
    expediter: Arc<RcuExpediter>,
}

impl Wiring {
    /// Claims the network namespace of the calling thread; an error if it belongs to another agent.
    ///
    /// Agents cannot share a namespace: all programs trust the same mark on the proxy's packets, a single rule routes
    /// them to a single interface, and sysctls apply to the whole namespace. The alias of the proxy's interface names
    /// the owner, also while its agent does not run.
    pub(crate) fn claim(paths: &Paths) -> anyhow::Result<Self> {
        let instance = paths.instance();
        let mut node = NodeNamespace::of(NetworkNamespace::current()?)?;
        let own = alias(instance, "proxy");
        if let Some(alias) = node.proxy_alias()?.filter(|alias| !alias.is_empty() && *alias != own) {
            let other = alias.split('/').nth(1).unwrap_or(&alias);
            anyhow::bail!(
                "this network namespace belongs to another agent, instance {other}, and two agents cannot share one; give \
                 this agent a network namespace of its own (networkNamespace), or, if that agent and its workloads \
                 are gone for good, delete its interface: ip link delete {PROXY_INTERFACE}"
            );
        }
        let expediter = RcuExpediter::new(paths.hurry());
        Ok(Self { node, instance: instance.to_owned(), groups: None, expediter })
    }

    /// The same, for another thread.
    pub(crate) fn duplicate(&self) -> anyhow::Result<Self> {
        Ok(Self {
            node: self.node.duplicate()?,
            instance: self.instance.clone(),
            groups: self.groups.clone(),
            expediter: Arc::clone(&self.expediter),
        })
    }

    /// What expedites grace periods of the kernel.
    pub(crate) fn expediter(&self) -> Arc<RcuExpediter> {
        Arc::clone(&self.expediter)
    }

    /// Gives the kernel its usual grace periods back before the agent ends, whatever other threads still do.
    pub(crate) fn end(&self) {
        self.expediter.end();
    }

    /// Creates the directory of the workloads' control groups; returns a note if that fails.
    pub(crate) fn find_groups(&mut self) -> Option<String> {
        const CONSEQUENCE: &str =
            "a process that leaves the network namespace of its workload outlives the workload";
        let hierarchy = match Group::hierarchy() {
            Ok(Some(hierarchy)) => hierarchy,
            Ok(None) => {
                return Some(format!("no control groups of version 2 are mounted (cgroup2): {CONSEQUENCE}"));
            }
            Err(error) => {
                return Some(format!("the control group hierarchy cannot be found ({error}): {CONSEQUENCE}"));
            }
        };
        let groups = hierarchy.join("nexin").join(&self.instance);
        match Group::at(&groups).create() {
            Ok(()) => self.groups = Some(groups),
            Err(error) => {
                return Some(format!("{} cannot be created ({error}): {CONSEQUENCE}", groups.display()));
            }
        }
        None
    }

    /// Whether the node has IPv6.
    pub(crate) fn ipv6(&self) -> Ipv6 {
        self.node.ipv6()
    }

    /// Checks again whether the node has IPv6.
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

    /// Prepares the network namespace as a node with these addresses; returns the proxy's interface and port.
    pub(crate) fn prepare(&mut self, addresses: &[IpAddr], port: u16) -> anyhow::Result<ProxyLocation> {
        self.expediter.recover().context("resetting a sysctl that an agent set before it crashed")?;
        let node = &mut self.node;
        node.prepare()?;
        let interface = node.create_proxy(&PROXY, &alias(&self.instance, "proxy"))?.interface;
        self.assign_to_node(interface, addresses)?;
        Ok(ProxyLocation { interface, port })
    }

    /// Assigns addresses to the node, at the proxy's interface.
    pub(crate) fn assign_to_node(&mut self, interface: u32, addresses: &[IpAddr]) -> anyhow::Result<()> {
        for &address in addresses {
            let length = if address.is_ipv4() { 32 } else { 128 };
            match self.node.network().add_address(interface, address, length) {
                // From an earlier run.
                Err(error) if error.is_present() => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// The addresses of the node on all interfaces.
    pub(crate) fn node_addresses(&mut self) -> anyhow::Result<Vec<IpAddr>> {
        Ok(routed(&self.node.network().addresses()?.into_iter().collect()))
    }

    /// The next workload number whose names are unused: objects of earlier agents or other programs with these names
    /// are left alone.
    pub(crate) fn free_number(&mut self, last: u32) -> anyhow::Result<u32> {
        for id in last + 1..=u32::MAX {
            let is_taken = NetworkNamespace::is_taken(&namespace(&self.instance, id))?;
            if !is_taken && self.node.network().link(&interface(id))?.is_none() {
                return Ok(id);
            }
        }
        anyhow::bail!("all workload numbers are taken")
    }

    /// The record of a workload with this number and the names that follow from it; nothing is created.
    pub(crate) fn plan(&self, id: u32, wanted: api::WorkloadSpec) -> anyhow::Result<WorkloadRecord> {
        let owner =
            wanted.owner.map(Process::find).transpose().context("the owner's process cannot be read")?;
        Ok(WorkloadRecord {
            id,
            interface: interface(id),
            network_namespace: namespace(&self.instance, id),
            owner: owner.flatten(),
            mac: [0; 6],
            audit: false,
            stage: WorkloadStage::Making,
            group: self.groups.as_ref().map(|groups| groups.join(id.to_string())),
            sandbox: None,
            wanted,
        })
    }

    /// Creates a workload except for its map entries, and returns its endpoint. Its veth pair is down until its programs are
    /// attached; they drop its packets until its map entries are written. After a failure the caller must take down what
    /// exists.
    pub(crate) fn create(
        &mut self,
        attacher: &Attacher,
        workload: &mut WorkloadRecord,
        times: &mut StepTimes,
    ) -> anyhow::Result<Endpoint> {
        let namespace = match &workload.sandbox {
            None => NetworkNamespace::create(&workload.network_namespace)?,
            Some(_) => self.open_sandbox(workload)?,
        };
        if workload.is_chained() {
            return self.join_interface(attacher, (workload, &namespace), times);
        }
        if let Some(directory) = &workload.group {
            Group::at(directory).create().with_context(|| format!("creating {}", directory.display()))?;
        }
        let WorkloadRecord { interface: host, wanted: api::WorkloadSpec { addresses, .. }, .. } = &*workload;
        let alias = number_alias(&self.instance, workload.id);
        let plan = Plan { host, addresses, mtu: MTU, index: None, alias: Some(&alias) };
        let wired: Wired = self.node.wire_as(&namespace, &plan, workload.inside())?;
        workload.mac = wired.mac;
        let interface = Wire { interface: wired.interface, mac: wired.mac, host_mac: wired.host_mac };
        let endpoint = endpoint(workload, interface)?;
        times.end("interface");
        let expedited = self.expediter.begin();
        attacher.attach(wired.interface).context("the programs cannot be attached")?;
        drop(expedited);
        times.end("programs");
        self.node.up(&wired)?;
        times.end("up");
        Ok(endpoint)
    }

    /// Adopts a workload of an earlier run; returns the change to apply and its interface, or none if its interface
    /// is gone.
    pub(crate) fn adopt(&mut self, workload: &WorkloadRecord) -> anyhow::Result<Option<(Change, u32)>> {
        let Some(link) = self.node.network().link(&workload.interface)? else { return Ok(None) };
        if !self.is_of(&link, workload) {
            return Ok(None);
        }
        if link.alias.is_empty() && !workload.is_chained() {
            self.node.network().set_alias(link.index, &number_alias(&self.instance, workload.id))?;
        }
        let mac = workload.mac;
        let interface = Wire { interface: link.index, mac, host_mac: link.mac };
        Ok(Some((Change::Endpoint(Box::new(endpoint(workload, interface)?)), link.index)))
    }

    /// Whether the name of a workload's network namespace exists.
    pub(crate) fn has_namespace(&self, workload: &WorkloadRecord) -> anyhow::Result<bool> {
        Ok(namespace_of(workload)?.is_some())
    }

    /// Whether the interface of a workload exists, under its name.
    pub(crate) fn has_interface(&mut self, workload: &WorkloadRecord) -> anyhow::Result<bool> {
        let link = self.node.network().link(&workload.interface)?;
        Ok(link.is_some_and(|link| self.is_of(&link, workload)))
    }

    /// Removes workloads from the network and the system, as far as they exist; returns the result for each, by its
    /// number. Their map entries are removed already.
    pub(crate) fn remove(
        &mut self,
        attacher: &Attacher,
        workloads: &[WorkloadRecord],
    ) -> Vec<(u32, anyhow::Result<()>)> {
        let mut results = Vec::new();
        for some in workloads.chunks(TOGETHER) {
            if some.len() > 1 && self.remove_together(attacher, some).is_ok() {
                results.extend(some.iter().map(|one| (one.id, Ok(()))));
            } else {
                // Where one of them failed: removed one by one, each has its own error.
                let alone = some
                    .iter()
                    .map(|one| (one.id, self.remove_together(attacher, std::slice::from_ref(one))));
                results.extend(alone);
            }
        }
        results
    }

    fn remove_together(&mut self, attacher: &Attacher, workloads: &[WorkloadRecord]) -> anyhow::Result<()> {
        self.take_down(attacher, workloads)?;
        workloads.iter().try_for_each(|one| self.forget(one))
    }

    /// Kills the processes of workloads, then deletes their interfaces, then detaches the programs, so that no packet
    /// passes without policy. Missing parts are not errors.
    fn take_down(&mut self, attacher: &Attacher, workloads: &[WorkloadRecord]) -> anyhow::Result<()> {
        // The processes of a sandbox are the container runtime's.
        let own = workloads.iter().filter(|workload| workload.sandbox.is_none());
        let found = own.map(|workload| NetworkNamespace::find(&workload.network_namespace));
        let namespaces: Vec<NetworkNamespace> =
            found.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        // An owner that removes its own workload must survive, to report the exit code of the command.
        let owners = workloads.iter().filter_map(|workload| workload.owner).map(|owner| owner.process);
        kill_all(&namespaces, &owners.collect())?;
        let groups = workloads.iter().filter_map(|workload| workload.group.as_ref()).map(Group::at);
        Group::kill_all(&groups.collect::<Vec<_>>())
            .map_err(|(group, error)| error_of(&group, "killing the processes of", error))?;
        let mut links = Vec::new();
        for workload in workloads {
            let link = self.node.network().link(&workload.interface)?;
            match link.filter(|link| self.is_of(link, workload)) {
                // The plugin that made the interface deletes it; until then nothing passes.
                Some(link) if workload.is_chained() => {
                    self.node.network().down(link.index)?;
                    attacher.detach(link.index)?;
                }
                Some(link) => links.push(link),
                None if workload.sandbox.is_some() => self.delete_unmarked_end(workload)?,
                None => delete_unmarked_link(workload)?,
            }
        }
        let expedited = (links.len() >= MANY).then(|| self.expediter.begin());
        self.node.network().delete_links(&links)?;
        drop(expedited);
        links.iter().try_for_each(|link| Ok(attacher.detach(link.index)?))
    }

    /// Deletes the network namespace and the control group of a workload that was taken down.
    fn forget(&self, workload: &WorkloadRecord) -> anyhow::Result<()> {
        if workload.sandbox.is_some() {
            return Ok(());
        }
        NetworkNamespace::delete(&workload.network_namespace)?;
        match &workload.group {
            Some(directory) => {
                let group = Group::at(directory);
                group.remove().map_err(|error| error_of(&group, "removing", error))
            }
            None => Ok(()),
        }
    }

    /// Whether an interface with a workload's name was created for it. Interfaces of earlier releases have no alias.
    fn is_of(&self, link: &Link, workload: &WorkloadRecord) -> bool {
        let has_no_alias = link.alias.is_empty() && workload.stage == WorkloadStage::Made;
        has_no_alias || workload.is_chained() || link.alias == number_alias(&self.instance, workload.id)
    }
}

/// The network namespace of a workload; none where it is gone.
fn namespace_of(workload: &WorkloadRecord) -> anyhow::Result<Option<NetworkNamespace>> {
    Ok(match &workload.sandbox {
        None => NetworkNamespace::find(&workload.network_namespace)?,
        Some(_) => NetworkNamespace::at(Path::new(&workload.network_namespace))?,
    })
}

/// Deletes a veth pair that has no alias yet by its end in the namespace.
fn delete_unmarked_link(workload: &WorkloadRecord) -> anyhow::Result<()> {
    match NetworkNamespace::find(&workload.network_namespace)? {
        Some(namespace) => Ok(Network::of(&namespace)?.delete_link(WORKLOAD_INTERFACE)?),
        None => Ok(()),
    }
}

fn error_of(group: &Group, operation: &str, error: std::io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("{operation} {}", group.directory().display()))
}

/// The alias of an interface of an agent, by which the agent recognises it.
pub(crate) fn alias(instance: &str, part: &str) -> String {
    format!("nexin/{instance}/{part}")
}

fn number_alias(instance: &str, id: u32) -> String {
    alias(instance, &id.to_string())
}

fn interface(id: u32) -> String {
    format!("{INTERFACE}{id}")
}

/// Whether an interface's name is one that an agent gives to the interface of a workload.
pub(crate) fn is_interface(name: &str) -> bool {
    number_of(name, INTERFACE).is_some()
}

/// Addresses without link-local ones, which are not routed; sorted.
pub(crate) fn routed(addresses: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let is_routed = |address: &&IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    addresses.iter().filter(is_routed).copied().collect()
}

/// The name of a workload's network namespace.
pub(crate) fn namespace(instance: &str, id: u32) -> String {
    format!("nexin-{instance}-{id}")
}

/// Parses the number in a name that consists of this prefix and a number.
pub(crate) fn number_of(name: &str, prefix: &str) -> Option<u32> {
    let number: u32 = name.strip_prefix(prefix)?.parse().ok()?;
    // Refuses other forms of the number, such as +7 or 007.
    name.ends_with(&format!("{prefix}{number}")).then_some(number)
}

/// The endpoint of a workload, for the world.
fn endpoint(workload: &WorkloadRecord, wire: Wire) -> anyhow::Result<Endpoint> {
    Ok(Endpoint {
        id: workload.id,
        workload: Workload {
            namespace: workload.wanted.namespace.clone(),
            name: workload.wanted.name.clone(),
            labels: workload.wanted.labels.clone().into(),
            addresses: workload.wanted.addresses.clone(),
            named_ports: named_ports(&workload.wanted.named_ports)?.into(),
        },
        wire,
        audit: workload.audit,
        host_ports: crate::host_ports::of(workload.sandbox.as_ref()),
    })
}

/// Parses named ports such as `http` and `80/TCP`, by name and protocol number.
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
    fn names_contain_instance_and_number_and_those_of_other_instances_are_not_recognised() {
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
