//! A step of a test: what changes in the world, and the probes that follow.

use super::end::WorkloadName;
use super::known_names::KnownNames;
use super::manifests::{self, Load, ObjectWithManifest};
use super::participant::{self, External, ExternalNames, NodeState, WorkloadState};
use super::probe::{self, Probe};
use crate::item::{Fields, Item};
use crate::object::{Namespace, Object, ObjectName, Policy};
use policy::rule::{EnforcementMode, PolicyId};
use std::collections::{BTreeMap, BTreeSet};

/// Changes, made in the order of these fields, then probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What people call it; may be empty.
    pub name: String,
    /// Whom policies are enforced for from here on, where given.
    pub enforcement: Option<EnforcementMode>,
    /// Whether what policy refuses is only reported from here on, where given.
    pub audit: Option<bool>,
    /// Workloads that go away.
    pub remove_workloads: Vec<WorkloadName>,
    /// Namespaces that come or get other labels.
    pub namespaces: Vec<Namespace>,
    /// Workloads that come or change; each replaces the one of the same name.
    pub workloads: Vec<WorkloadState>,
    /// Nodes that come or change; `host` is the local one, which is always there.
    pub nodes: Vec<NodeState>,
    /// Hosts outside the cluster that come or change.
    pub externals: Vec<External>,
    /// The domain names of hosts outside that change: all that each is known by from here on.
    pub names: ExternalNames,
    /// The whole set of policies from here on, where given.
    pub policies: Option<Vec<Policy>>,
    /// The whole set of what they refer to from here on, where `policies` are given: services, endpoints, groups.
    pub objects: Option<Vec<Object>>,
    /// Policies that go away.
    pub delete: Vec<PolicyId>,
    /// What else goes away: services, endpoints, groups, the labels of namespaces.
    pub delete_objects: Vec<ObjectName>,
    /// Policies that come or change.
    pub apply: Vec<Policy>,
    /// What policies refer to that comes or changes.
    pub apply_objects: Vec<Object>,
    /// The manifest of each policy and object of this step as JSON, for whoever has to send it on.
    pub manifests: BTreeMap<ObjectName, String>,
    /// What is then asked, matrices included.
    pub probes: Vec<Probe>,
}

const MODES: &[(&str, EnforcementMode)] = &[
    ("default", EnforcementMode::Default),
    ("always", EnforcementMode::Always),
    ("never", EnforcementMode::Never),
];

impl Step {
    /// Puts the world that a test begins with before what this step changes.
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

    /// Sorts manifests that were read: namespaces go to the others of this step, the rest is given back by kind.
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

    /// Everything that comes by `apply`, by name.
    fn applied(&self) -> impl Iterator<Item = ObjectName> {
        let policies = self.apply.iter().map(|policy| (&policy.id).into());
        policies.chain(self.apply_objects.iter().map(Object::name))
    }

    /// Everything that goes by `delete`, by name.
    pub(super) fn deleted(&self) -> impl Iterator<Item = ObjectName> {
        self.delete.iter().map(Into::into).chain(self.delete_objects.iter().cloned())
    }

    /// Adds the names that this step brings to those that are known, and removes those that it deletes.
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

    /// Whether it does nothing but describe who is there.
    pub(super) fn is_world_only(&self) -> bool {
        self.remove_workloads.is_empty()
            && self.policies.is_none()
            && self.deleted().next().is_none()
            && self.manifests.is_empty()
            && self.probes.is_empty()
    }
}

/// Reads the fields of a step; `world` is what was there before, and then after it.
pub(super) fn read(fields: &mut Fields<'_>, world: &mut KnownNames<'_>, load: &mut Load<'_>) -> Step {
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
        fields.item().error(format!("{name} is deleted and applied in one step; make two"));
    }
    step.apply_to(world);
    step.probes = probe::read(fields, world);
    step
}

/// Reads who comes, goes and changes, and what holds for all of them.
fn participants(fields: &mut Fields<'_>, world: &KnownNames<'_>) -> Step {
    let name = fields.take("name").and_then(|item| item.text()).unwrap_or_default().to_owned();
    let mode = fields.take("policyEnforcement").and_then(|item| item.one_of("mode", MODES));
    let (mut names, mut listed) = (ExternalNames::new(), BTreeSet::new());
    Step {
        name,
        enforcement: mode,
        audit: fields.take("policyAuditMode").and_then(|item| item.boolean()),
        remove_workloads: list(fields.take("removeWorkloads"), |item| world.workload(item)),
        namespaces: list(fields.take("namespaces"), participant::namespace),
        workloads: list(fields.take("workloads"), |item| {
            let workload = participant::workload(item)?;
            if !listed.insert(workload.name.clone()) {
                let WorkloadName { namespace, name } = &workload.name;
                item.error(format!("{namespace}/{name} is listed twice; a workload is there once"));
            }
            Some(workload)
        }),
        nodes: list(fields.take("nodes"), participant::node),
        externals: list(fields.take("externals"), |item| participant::external(item, &mut names)),
        names,
        ..Step::default()
    }
}

/// Reads each value of a list, where there is one.
fn list<T>(item: Option<Item<'_>>, read: impl FnMut(&Item<'_>) -> Option<T>) -> Vec<T> {
    item.map(|item| item.list()).unwrap_or_default().iter().filter_map(read).collect()
}
