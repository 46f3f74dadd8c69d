//! A step of a test: what changes in the world, and the probes that follow.

use super::world::World;
use super::{Load, Probe, policies, probe};
use crate::item::{Fields, Item, Nulls};
use crate::kubernetes::service::PROTOCOLS;
use crate::object::{NamedPort, Namespace, Policy};
use crate::{address, name};
use policy::rule::PolicyId;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Changes, made in the order of these fields, then probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What people call it; may be empty.
    pub name: String,
    /// Workloads that go away.
    pub remove_workloads: Vec<WorkloadName>,
    /// Namespaces that come or get other labels.
    pub namespaces: Vec<Namespace>,
    /// Workloads that come or change; each replaces the one of the same name.
    pub workloads: Vec<WorkloadState>,
    /// Hosts outside the cluster that come or change.
    pub externals: Vec<External>,
    /// The whole set of policies from here on, where given.
    pub policies: Option<Vec<Policy>>,
    /// Policies that go away.
    pub delete: Vec<PolicyId>,
    /// Policies that come or change.
    pub apply: Vec<Policy>,
    /// The manifest of each policy of this step as JSON, for whoever has to send it on.
    pub manifests: BTreeMap<PolicyId, String>,
    /// What is then asked, matrices included.
    pub probes: Vec<Probe>,
}

/// Names a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A workload as a test describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadState {
    /// Its name.
    pub name: WorkloadName,
    /// Its own labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses; where a family is missing the engine may assign one, where all are missing it must.
    pub addresses: Vec<IpAddr>,
    /// Its ports that have names.
    pub named_ports: Vec<NamedPort>,
}

/// A host outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Its name in this test.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Step {
    /// Puts the world that a test begins with before what this step changes.
    pub(super) fn begin_with(&mut self, world: Self) {
        self.namespaces.splice(0..0, world.namespaces);
        self.workloads.splice(0..0, world.workloads);
        self.externals.splice(0..0, world.externals);
    }

    /// Keeps the manifests of policies that were read.
    fn keep(&mut self, read: Vec<(Policy, String)>) -> Vec<Policy> {
        let kept = read.into_iter().map(|(policy, manifest)| {
            self.manifests.insert(policy.id.clone(), manifest);
            policy
        });
        kept.collect()
    }

    /// Whether it does nothing but describe who is there.
    pub(super) fn is_world_only(&self) -> bool {
        self.remove_workloads.is_empty()
            && self.policies.is_none()
            && self.delete.is_empty()
            && self.apply.is_empty()
            && self.probes.is_empty()
    }
}

/// Reads the fields of a step; `world` is what was there before, and then after it.
pub(super) fn read(fields: &mut Fields<'_>, world: &mut World<'_>, load: &mut Load<'_>) -> Step {
    let name = fields.take("name").and_then(|item| item.text()).unwrap_or_default().to_owned();
    let removed = fields.take("removeWorkloads");
    let mut step = Step {
        name,
        remove_workloads: list(removed, |item| world.workload(item)),
        namespaces: list(fields.take("namespaces"), namespace),
        workloads: list(fields.take("workloads"), workload),
        externals: list(fields.take("externals"), external),
        ..Step::default()
    };
    step.policies = policies::read(fields, "policies", "policyFiles", load).map(|read| step.keep(read));
    world.apply(&step);
    let delete = fields.take("delete");
    step.delete = list(delete, |item| world.policy(item));
    let applied = policies::read(fields, "apply", "applyFiles", load).unwrap_or_default();
    step.apply = step.keep(applied);
    if let Some(policy) = step.apply.iter().find(|policy| step.delete.contains(&policy.id)) {
        fields.item().error(format!("{} is deleted and applied in one step; make two", policy.id));
    }
    world.apply(&step);
    step.probes = probe::read(fields, world);
    step
}

/// Reads each value of a list, where there is one.
fn list<T>(item: Option<Item<'_>>, read: impl FnMut(&Item<'_>) -> Option<T>) -> Vec<T> {
    item.map(|item| item.list()).unwrap_or_default().iter().filter_map(read).collect()
}

fn namespace(item: &Item<'_>) -> Option<Namespace> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (name, labels) = (fields.require("name"), fields.take("labels"));
    fields.finish();
    let labels = labels.map(|item| item.text_map()).unwrap_or_default();
    Some(Namespace { name: name::namespace(&name?)?, labels })
}

fn workload(item: &Item<'_>) -> Option<WorkloadState> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (name, namespace) = (fields.require("name"), fields.take("namespace"));
    let (labels, ips, ports) = (fields.take("labels"), fields.take("ips"), fields.take("namedPorts"));
    fields.finish();
    let name = name.and_then(|item| name::object(&item));
    let namespace = namespace.map_or(Some("default".to_owned()), |item| name::namespace(&item));
    let labels = labels.map(|item| item.text_map()).unwrap_or_default();
    let addresses = ips.map(|item| address::many(&item)).unwrap_or_default();
    let ports = ports.iter().flat_map(Item::entries).filter_map(|(name, port)| named_port(name, &port));
    let named_ports = ports.collect();
    Some(WorkloadState {
        name: WorkloadName { namespace: namespace?, name: name? },
        labels,
        addresses,
        named_ports,
    })
}

/// Reads `name: 80/TCP`.
fn named_port(name: &str, item: &Item<'_>) -> Option<NamedPort> {
    let text = item.text()?;
    let parts = text.split_once('/').and_then(|(port, protocol)| {
        let protocol = PROTOCOLS.iter().find(|(known, _)| *known == protocol)?.1;
        Some((port.parse().ok().filter(|port| *port > 0)?, protocol))
    });
    if parts.is_none() {
        item.error(format!("{text:?} is no port; write one such as 80/TCP, 53/UDP or 9/SCTP"));
    }
    if !name::is_port_name(name) {
        item.error(format!("{name:?} is no port name; write at most 15 letters, digits and single `-`"));
    }
    let (port, protocol) = parts?;
    Some(NamedPort { name: name.to_lowercase(), protocol, port })
}

fn external(item: &Item<'_>) -> Option<External> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (name, ips) = (fields.require("name"), fields.require("ips"));
    fields.finish();
    let name = name.and_then(|item| name::object(&item));
    let addresses = address::many(&ips?);
    if addresses.is_empty() {
        item.error("`ips` lists no address; an external is known by its addresses");
    }
    Some(External { name: name?, addresses })
}
