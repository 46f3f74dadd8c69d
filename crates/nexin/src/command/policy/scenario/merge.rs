//! Whoever is there in one scenario, taken over into another: the cast of a test, without what the test does.

use super::{LabelMap, Scenario, ScenarioWorkload};
use agent::explain::Inventory;
use identity::key;
use manifest::Object;

/// Who is told of twice, and differently.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflict(pub(super) String);

impl Scenario {
    /// Takes the workloads, nodes and hosts of another scenario in place of its own, and the services that it lacks; keeps its
    /// policies.
    pub(in crate::command::policy) fn take_ends(&mut self, other: &Self) {
        let Self { namespaces, workloads, owners, externals, names, nodes, .. } = other.clone();
        (self.namespaces, self.workloads, self.externals) = (namespaces, workloads, externals);
        (self.owners, self.names, self.nodes) = (owners, names, nodes);
        // What policies refer to stands beside workloads in a dump of a cluster; what the policies' own files say counts first.
        let services = other
            .services
            .values()
            .filter(|one| !self.services.contains_key(&(one.namespace.clone(), one.name.clone())));
        let services: Vec<Object> = services.cloned().map(Object::Service).collect();
        let lists = other.endpoints.iter().filter(|(name, _)| !self.endpoints.contains_key(*name));
        let lists: Vec<Object> = lists.map(|(_, list)| Object::Endpoints(list.clone())).collect();
        services.into_iter().chain(lists).for_each(|object| self.take(object));
    }

    /// Whether policies, once their references are resolved, and all that they are about are the same in both.
    pub(in crate::command::policy) fn is_same_as(&self, other: &Self) -> bool {
        let resolved = |world: &Self| {
            let policies = world.policies.iter();
            policies.filter_map(|policy| world.policies.resolved(&policy.id).cloned()).collect::<Vec<_>>()
        };
        let parties = |world: &Self| {
            let ends = world.ends().chain([world.host()]);
            ends.map(|end| (end.name, end.labels, end.ports, end.names, end.addresses)).collect::<Vec<_>>()
        };
        self.namespaces == other.namespaces
            && (self.policies.mode(), self.audit) == (other.policies.mode(), other.audit)
            && parties(self) == parties(other)
            && self.api_servers() == other.api_servers()
            && resolved(self) == resolved(other)
    }

    /// Takes whoever is there in another scenario beside its own, and what policies may refer to; no policy.
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
            let group = other.policies.catalog().cidr_group(&name).cloned();
            self.refer(|catalog| group.into_iter().for_each(|group| catalog.put_cidr_group(&name, group)));
            self.groups.insert(name);
        }
        endpoints.into_values().for_each(|one| self.take(Object::Endpoints(one)));
        services.into_values().for_each(|one| self.take(Object::Service(one)));
        Ok(())
    }

    /// Whether a manifest says something else of somebody than what is known.
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
    /// Whether what is told of both can be told of one.
    fn is_like(&self, other: &Self) -> bool {
        let elsewhere = self.is_placed && other.is_placed && self.addresses != other.addresses;
        let is_same_place = self.host_network == other.host_network && self.node == other.node;
        are_alike(&self.labels, &other.labels) && self.ports == other.ports && is_same_place && !elsewhere
    }
}

/// Whether labels can be those of one workload. Who does not say which account it is does not say that it is another.
fn are_alike(one: &LabelMap, other: &LabelMap) -> bool {
    let says = |labels: &LabelMap| labels.contains_key(key::SERVICE_ACCOUNT);
    let is_compared = |name: &String| name != key::SERVICE_ACCOUNT || (says(one) && says(other));
    one.iter().filter(|(name, _)| is_compared(name)).eq(other.iter().filter(|(name, _)| is_compared(name)))
}

fn agree(what: &str, name: &str, agrees: bool) -> Result<(), Conflict> {
    if agrees { Ok(()) } else { Err(Conflict(format!("{what} {name}"))) }
}
