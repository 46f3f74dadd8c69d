//! Applies the steps of a PolicyTest to a scenario.

use super::{Scenario, ScenarioWorkload};
use manifest::test::{TestStep, WorkloadState};
use manifest::{Object, ObjectName};
use testbed::HOST_ADDRESSES;

impl Scenario {
    /// Applies the changes of a step, in order; ignores its probes.
    pub(super) fn step(&mut self, step: TestStep) {
        self.local = HOST_ADDRESSES.to_vec();
        for name in step.remove_workloads {
            self.workloads.remove(&(name.namespace, name.name));
        }
        step.namespaces.into_iter().for_each(|one| self.take(Object::Namespace(one)));
        step.workloads.into_iter().for_each(|one| self.admit_again(one));
        for node in step.nodes {
            self.nodes.insert(node.name, (node.labels, node.addresses));
        }
        self.externals.extend(step.externals.into_iter().map(|one| (one.name, one.addresses)));
        self.names.extend(step.names);
        if let Some(mode) = step.enforcement {
            self.registry.policies.enforce(mode);
        }
        self.audit = step.audit.unwrap_or(self.audit);
        if let Some(policies) = step.policies {
            let ids: Vec<_> = self.registry.policies.iter().map(|policy| policy.id.clone()).collect();
            ids.iter().for_each(|id| drop(self.registry.remove(id)));
            policies.into_iter().for_each(|policy| self.take(Object::Policy(policy)));
        }
        if let Some(objects) = step.objects {
            self.forget_objects();
            objects.into_iter().for_each(|object| self.take(object));
        }
        step.delete.iter().for_each(|id| drop(self.registry.remove(id)));
        step.delete_objects.iter().for_each(|name| self.forget(name));
        step.apply.into_iter().for_each(|policy| self.take(Object::Policy(policy)));
        step.apply_objects.into_iter().for_each(|object| self.take(object));
    }

    /// Updates a workload: it keeps its addresses and ports unless the step gives new ones.
    fn admit_again(&mut self, one: WorkloadState) {
        let name = (one.name.namespace, one.name.name);
        let known = self.workloads.remove(&name);
        let is_placed = !one.addresses.is_empty() || known.as_ref().is_some_and(|known| known.is_placed);
        let shares =
            one.host_network.unwrap_or_else(|| known.as_ref().is_some_and(|known| known.host_network));
        let node = one.node.or_else(|| known.as_ref().and_then(|known| known.node.clone()));
        let (ports, addresses) =
            known.map(|ScenarioWorkload { ports, addresses, .. }| (ports, addresses)).unzip();
        let assigned = if one.addresses.is_empty() { addresses.unwrap_or_default() } else { one.addresses };
        self.admit(name.clone(), one.labels, &one.named_ports, assigned);
        let Some(again) = self.workloads.get_mut(&name) else { return };
        again.is_placed = is_placed;
        (again.host_network, again.node) = (shares, node);
        if let (true, Some(ports)) = (one.named_ports.is_empty(), ports) {
            again.ports = ports;
        }
    }

    /// Removes all objects that policies refer to.
    fn forget_objects(&mut self) {
        let (groups, services) = (std::mem::take(&mut self.groups), std::mem::take(&mut self.services));
        self.endpoints.clear();
        self.refer(|catalog| {
            groups.iter().for_each(|name| catalog.remove_cidr_group(name));
            services.keys().for_each(|(namespace, name)| catalog.remove_service(namespace, name));
        });
    }

    fn forget(&mut self, name: &ObjectName) {
        let within = (name.namespace.clone().unwrap_or_default(), name.name.clone());
        match name.kind {
            "Namespace" => drop(self.namespaces.remove(&name.name)),
            "Service" => {
                self.services.remove(&within);
                self.refer(|catalog| catalog.remove_service(&within.0, &within.1));
            }
            "CiliumCIDRGroup" => {
                self.groups.remove(&name.name);
                self.refer(|catalog| catalog.remove_cidr_group(&name.name));
            }
            _ => {
                if let Some(gone) = self.endpoints.remove(name) {
                    self.refer_to(&(gone.namespace, gone.service));
                }
            }
        }
    }
}
