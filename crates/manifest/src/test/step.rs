//! A step of a test: changes of the world, and the probes after them.

use super::end::WorkloadName;
use super::known_names::KnownNames;
use super::manifests::{self, Load, ObjectWithManifest};
use super::participant::{self, External, ExternalNames, NodeState, WorkloadState};
use super::probe::{self, Probe};
use crate::item::{Fields, Item};
use crate::object::{Namespace, Object, ObjectName, Policy};
use policy::rule::{EnforcementMode, PolicyId};
use std::collections::{BTreeMap, BTreeSet};

/// Changes, applied in the order of these fields, and then probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestStep {
    /// Its name; may be empty.
    pub name: String,
    /// The new enforcement mode, if it changes.
    pub enforcement: Option<EnforcementMode>,
    /// The new audit mode, if it changes: denied traffic is forwarded and reported.
    pub audit: Option<bool>,
    /// Workloads to remove.
    pub remove_workloads: Vec<WorkloadName>,
    /// Namespaces to add or relabel.
    pub namespaces: Vec<Namespace>,
    /// Workloads to add or replace by name.
    pub workloads: Vec<WorkloadState>,
    /// Nodes to add or change; `host` is the local node, which always exists.
    pub nodes: Vec<NodeState>,
    /// External hosts to add or change.
    pub externals: Vec<External>,
    /// External hosts with changed domain names: all names of each from here on.
    pub names: ExternalNames,
    /// The policies that replace all policies, if given.
    pub policies: Option<Vec<Policy>>,
    /// The objects that replace all services, endpoints and groups, if `policies` are given.
    pub objects: Option<Vec<Object>>,
    /// Policies to delete.
    pub delete: Vec<PolicyId>,
    /// Other objects to delete: services, endpoints, groups, labels of namespaces.
    pub delete_objects: Vec<ObjectName>,
    /// Policies to apply.
    pub apply: Vec<Policy>,
    /// Other objects to apply.
    pub apply_objects: Vec<Object>,
    /// The manifest of each policy and object of this step as JSON, for engines that send manifests on.
    pub manifests: BTreeMap<ObjectName, String>,
    /// The probes, with those of matrices.
    pub probes: Vec<Probe>,
}

const MODES: &[(&str, EnforcementMode)] = &[
    ("default", EnforcementMode::Default),
    ("always", EnforcementMode::Always),
    ("never", EnforcementMode::Never),
];

impl TestStep {
    /// Inserts the initial world of a test before the changes of this step.
    pub(super) fn begin_with(&mut self, world: Self) {
        self.enforcement = self.enforcement.or(world.enforcement);
        self.audit = self.audit.or(world.audit);
        self.namespaces.splice(0..0, world.namespaces);
        self.workloads.splice(0..0, world.workloads);
        self.nodes.splice(0..0, world.nodes);
        self.externals.splice(0..0, world.externals);
        for (external, names) in world.names {
            self.names.entry(external).or_insert(names);
        }
    }

    /// Sorts manifests: adds namespaces to this step, and returns the policies and the other objects.
    fn sort(&mut self, read: Vec<ObjectWithManifest>) -> (Vec<Policy>, Vec<Object>) {
        let (mut policies, mut objects) = (Vec::new(), Vec::new());
        for (object, manifest) in read {
            self.manifests.insert(object.name(), manifest);
            match object {
                Object::Policy(policy) => policies.push(policy),
                Object::Namespace(namespace) => self.namespaces.push(namespace),
                other => objects.push(other),
            }
        }
        (policies, objects)
    }

    /// The names of all objects in `apply`.
    fn applied(&self) -> impl Iterator<Item = ObjectName> {
        let policies = self.apply.iter().map(|policy| (&policy.id).into());
        policies.chain(self.apply_objects.iter().map(Object::name))
    }

    /// The names of all objects in `delete`.
    pub(super) fn deleted(&self) -> impl Iterator<Item = ObjectName> {
        self.delete.iter().map(Into::into).chain(self.delete_objects.iter().cloned())
    }

    /// Adds the names of this step to the known names, and removes the deleted ones.
    pub(super) fn apply_to(&self, known: &mut KnownNames<'_>) {
        for name in &self.remove_workloads {
            known.workloads.remove(name);
        }
        known.workloads.extend(self.workloads.iter().map(|workload| workload.name.clone()));
        known.nodes.extend(self.nodes.iter().map(|node| node.name.clone()));
        known.externals.extend(self.externals.iter().map(|external| external.name.clone()));
        known.namespaces.extend(self.namespaces.iter().map(|one| Object::Namespace(one.clone()).name()));
        if let (Some(policies), Some(objects)) = (&self.policies, &self.objects) {
            let policies = policies.iter().map(|policy| ObjectName::from(&policy.id));
            known.objects = policies.chain(objects.iter().map(Object::name)).collect();
        }
        for name in self.deleted() {
            known.objects.remove(&name);
            known.namespaces.remove(&name);
        }
        known.objects.extend(self.apply.iter().map(|policy| ObjectName::from(&policy.id)));
        known.objects.extend(self.apply_objects.iter().map(Object::name));
    }

    /// Whether it only describes participants.
    pub(super) fn is_world_only(&self) -> bool {
        self.remove_workloads.is_empty()
            && self.policies.is_none()
            && self.deleted().next().is_none()
            && self.manifests.is_empty()
            && self.probes.is_empty()
    }
}

/// Reads the fields of a step. `world` has the names before the step, and after the call those after it.
pub(super) fn read(fields: &mut Fields<'_>, world: &mut KnownNames<'_>, load: &mut Load<'_>) -> TestStep {
    let mut step = participants(fields, world);
    if let Some(read) = manifests::read(fields, "policies", "policyFiles", load) {
        let (policies, objects) = step.sort(read);
        (step.policies, step.objects) = (Some(policies), Some(objects));
    }
    step.apply_to(world);
    if let Some(names) = fields.take("names") {
        step.names.extend(participant::names(&names, world));
    }
    for (name, policy) in list(fields.take("delete"), |item| world.object(item)) {
        match policy {
            Some(id) => step.delete.push(id),
            None => step.delete_objects.push(name),
        }
    }
    let applied = manifests::read(fields, "apply", "applyFiles", load).unwrap_or_default();
    (step.apply, step.apply_objects) = step.sort(applied);
    if let Some(name) = step.applied().find(|name| step.deleted().any(|deleted| deleted == *name)) {
        fields.item().error(format!("{name} is deleted and applied in one step; use two steps"));
    }
    step.apply_to(world);
    step.probes = probe::read(fields, world);
    step
}

/// Reads the changes of participants and modes.
fn participants(fields: &mut Fields<'_>, world: &KnownNames<'_>) -> TestStep {
    let name = fields.take("name").and_then(|item| item.text()).unwrap_or_default().to_owned();
    let mode = fields.take("policyEnforcement").and_then(|item| item.one_of("mode", MODES));
    let (mut names, mut listed) = (ExternalNames::new(), BTreeSet::new());
    TestStep {
        name,
        enforcement: mode,
        audit: fields.take("policyAuditMode").and_then(|item| item.boolean()),
        remove_workloads: list(fields.take("removeWorkloads"), |item| world.workload(item)),
        namespaces: list(fields.take("namespaces"), participant::namespace),
        workloads: list(fields.take("workloads"), |item| {
            let workload = participant::workload(item)?;
            if !listed.insert(workload.name.clone()) {
                let WorkloadName { namespace, name } = &workload.name;
                item.error(format!("{namespace}/{name} is listed twice; keep one"));
            }
            Some(workload)
        }),
        nodes: list(fields.take("nodes"), participant::node),
        externals: list(fields.take("externals"), |item| participant::external(item, &mut names)),
        names,
        ..TestStep::default()
    }
}

/// Reads each value of a list, where there is one.
fn list<T>(item: Option<Item<'_>>, read: impl FnMut(&Item<'_>) -> Option<T>) -> Vec<T> {
    item.map(|item| item.list()).unwrap_or_default().iter().filter_map(read).collect()
}
