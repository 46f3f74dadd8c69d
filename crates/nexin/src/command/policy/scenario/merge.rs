//! Merges the workloads, nodes, hosts and services of one scenario into another, without its policies.

use super::{LabelMap, Scenario, ScenarioWorkload};
use agent::explain::Inventory;
use identity::key;
use manifest::Object;

/// An object with two different descriptions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflict(pub(super) String);

impl Scenario {
    /// Replaces the workloads, nodes and hosts by those of another scenario, and adds its missing services; keeps the
    /// policies.
    pub(in crate::command::policy) fn take_ends(&mut self, other: &Self) {
        let Self { namespaces, workloads, owners, externals, names, nodes, .. } = other.clone();
        (self.namespaces, self.workloads, self.externals) = (namespaces, workloads, externals);
        (self.owners, self.names, self.nodes) = (owners, names, nodes);
        // A dump of a cluster contains services beside workloads; the services in the policies' own files take
        // precedence.
        let services = other
            .services
            .values()
            .filter(|one| !self.services.contains_key(&(one.namespace.clone(), one.name.clone())));
        let services: Vec<Object> = services.cloned().map(Object::Service).collect();
        let lists = other.endpoints.iter().filter(|(name, _)| !self.endpoints.contains_key(*name));
        let lists: Vec<Object> = lists.map(|(_, list)| Object::Endpoints(list.clone())).collect();
        services.into_iter().chain(lists).for_each(|object| self.take(object));
    }

    /// Whether both scenarios have the same policies, with references resolved, and the same ends.
    pub(in crate::command::policy) fn is_same_as(&self, other: &Self) -> bool {
        let resolved = |world: &Self| {
            let policies = world.registry.policies.iter();
            policies
                .filter_map(|policy| world.registry.policies.resolved(&policy.id).cloned())
                .collect::<Vec<_>>()
        };
        let parties = |world: &Self| {
            let ends = world.ends().chain([world.host()]);
            ends.map(|end| (end.name, end.labels, end.ports, end.names, end.addresses)).collect::<Vec<_>>()
        };
        self.namespaces == other.namespaces
            && (self.registry.policies.mode(), self.audit) == (other.registry.policies.mode(), other.audit)
            && parties(self) == parties(other)
            && self.api_servers() == other.api_servers()
            && resolved(self) == resolved(other)
    }

    /// Adds the workloads, nodes, hosts and services of another scenario; no policies.
    pub(super) fn merge(&mut self, other: Self) -> Result<(), Conflict> {
        let Self { namespaces, workloads, externals, names, nodes, services, endpoints, .. } = other;
        for (name, labels) in namespaces {
            agree("namespace", &name, self.namespaces.get(&name).is_none_or(|known| *known == labels))?;
            self.namespaces.insert(name, labels);
        }
        for (name, addresses) in externals {
            agree("external", &name, self.externals.get(&name).is_none_or(|known| *known == addresses))?;
            self.externals.insert(name, addresses);
        }
        for (name, known) in names {
            self.names.entry(name).or_default().extend(known);
        }
        for (name, node) in nodes {
            agree("node", &name, self.nodes.get(&name).is_none_or(|known| *known == node))?;
            self.nodes.insert(name, node);
        }
        for (name, workload) in workloads {
            let (text, known) = (format!("{}/{}", name.0, name.1), self.workloads.get(&name));
            agree("workload", &text, known.is_none_or(|known| known.is_like(&workload)))?;
            if known.is_none_or(|known| !known.is_placed) {
                let placed = if workload.is_placed { workload.addresses.clone() } else { Vec::new() };
                let addresses = if placed.is_empty() { self.assign_addresses() } else { placed };
                self.workloads.insert(name, ScenarioWorkload { addresses, ..workload });
            }
        }
        for name in other.groups {
            let group = other.registry.policies.catalog().cidr_group(&name).cloned();
            self.refer(|catalog| group.into_iter().for_each(|group| catalog.put_cidr_group(&name, group)));
            self.groups.insert(name);
        }
        endpoints.into_values().for_each(|one| self.take(Object::Endpoints(one)));
        services.into_values().for_each(|one| self.take(Object::Service(one)));
        Ok(())
    }

    /// Checks that a manifest does not contradict the scenario.
    pub(super) fn check(&self, object: &Object) -> Result<(), Conflict> {
        match object {
            Object::Namespace(one) => agree(
                "namespace",
                &one.name,
                self.namespaces.get(&one.name).is_none_or(|known| *known == one.labels),
            ),
            Object::Node(one) => {
                let known = self.nodes.get(&one.name);
                agree("node", &one.name, known.is_none_or(|(labels, _)| *labels == one.labels))
            }
            Object::Workload(one) => {
                let known = self.workloads.get(&(one.namespace.clone(), one.name.clone()));
                let name = format!("{}/{}", one.namespace, one.name);
                agree("workload", &name, known.is_none_or(|known| are_alike(&known.labels, &one.labels)))
            }
            _ => Ok(()),
        }
    }
}

impl ScenarioWorkload {
    /// Whether both descriptions can be of the same workload.
    fn is_like(&self, other: &Self) -> bool {
        let has_other_addresses = self.is_placed && other.is_placed && self.addresses != other.addresses;
        let is_same_place = self.host_network == other.host_network && self.node == other.node;
        are_alike(&self.labels, &other.labels)
            && self.ports == other.ports
            && is_same_place
            && !has_other_addresses
    }
}

/// Whether labels can be of the same workload. A missing service account does not contradict another one.
fn are_alike(one: &LabelMap, other: &LabelMap) -> bool {
    let has_account = |labels: &LabelMap| labels.contains_key(key::SERVICE_ACCOUNT);
    let is_compared =
        |name: &String| name != key::SERVICE_ACCOUNT || (has_account(one) && has_account(other));
    one.iter().filter(|(name, _)| is_compared(name)).eq(other.iter().filter(|(name, _)| is_compared(name)))
}

fn agree(what: &str, name: &str, agrees: bool) -> Result<(), Conflict> {
    if agrees { Ok(()) } else { Err(Conflict(format!("{what} {name}"))) }
}
