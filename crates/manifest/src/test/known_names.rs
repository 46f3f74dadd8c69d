//! The names of participants and objects at a step of a test, to detect misspelt names.

use super::end::{HOST, ProbeEnd, WorkloadName};
use crate::item::Item;
use crate::kind::{KINDS, kind_named};
use crate::nearest::hint;
use crate::object::ObjectName;
use crate::report::Report;
use policy::rule::{PolicyId, PolicyKind};
use std::collections::BTreeSet;

/// The names that exist at one step of a test.
#[derive(Debug)]
pub(super) struct KnownNames<'a> {
    pub(super) workloads: BTreeSet<WorkloadName>,
    pub(super) nodes: BTreeSet<String>,
    pub(super) externals: BTreeSet<String>,
    /// Policies, and the objects that they refer to.
    pub(super) objects: BTreeSet<ObjectName>,
    /// Namespaces whose labels are given.
    pub(super) namespaces: BTreeSet<ObjectName>,
    report: &'a Report,
    mark: usize,
}

const POLICIES: [PolicyKind; 6] = [
    PolicyKind::NetworkPolicy,
    PolicyKind::CiliumNetworkPolicy,
    PolicyKind::CiliumClusterwideNetworkPolicy,
    PolicyKind::ClusterNetworkPolicy,
    PolicyKind::AdminNetworkPolicy,
    PolicyKind::BaselineAdminNetworkPolicy,
];

/// The other kinds that a test may delete.
const OTHERS: [&str; 5] = ["Service", "Endpoints", "EndpointSlice", "CiliumCIDRGroup", "Namespace"];

impl<'a> KnownNames<'a> {
    /// No names, before the first step of a test whose findings begin now.
    pub(super) fn new(report: &'a Report) -> Self {
        Self {
            workloads: BTreeSet::new(),
            nodes: BTreeSet::new(),
            externals: BTreeSet::new(),
            objects: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            report,
            mark: report.mark(),
        }
    }

    /// Reads `[namespace/]name` of a workload that exists.
    pub(super) fn workload(&self, item: &Item<'_>) -> Option<WorkloadName> {
        let text = item.text()?;
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        let found = WorkloadName { namespace: namespace.into(), name: name.into() };
        if !self.workloads.contains(&found) {
            self.unknown(item, text);
        }
        Some(found)
    }

    /// Checks that an external host of this name exists; `item` is the reference.
    pub(super) fn external(&self, name: &str, item: &Item<'_>) -> Option<()> {
        if !self.externals.contains(name) {
            let hint = hint(name, self.externals.iter().map(String::as_str));
            item.error(format!("no external is named `{name}` at this step{hint}"));
            return None;
        }
        Some(())
    }

    /// Reads one end of a probe.
    pub(super) fn party(&self, item: &Item<'_>) -> Option<ProbeEnd> {
        let text = item.text()?;
        if text == HOST {
            return Some(ProbeEnd::Host);
        }
        if let Ok(address) = text.parse() {
            return Some(ProbeEnd::Address(address));
        }
        let local = WorkloadName { namespace: "default".into(), name: text.into() };
        let is_workload = self.workloads.contains(&local);
        match (self.externals.contains(text), self.nodes.contains(text)) {
            (true, false) if is_workload => {
                item.error(format!(
                    "`{text}` is an external and a workload; write default/{text} for the workload"
                ));
                None
            }
            (false, true) if is_workload => {
                item.error(format!(
                    "`{text}` is a node and a workload; write default/{text} for the workload"
                ));
                None
            }
            (true, true) => {
                item.error(format!("`{text}` is an external and a node; rename one of them"));
                None
            }
            (true, false) => Some(ProbeEnd::External(text.to_owned())),
            (false, true) => Some(ProbeEnd::Node(text.to_owned())),
            (false, false) => self.workload(item).map(ProbeEnd::Workload),
        }
    }

    /// Reads `Kind/namespace/name`, or `Kind/name` of a cluster-scoped kind, of an existing object. Returns the
    /// policy's own identifier too.
    pub(super) fn object(&self, item: &Item<'_>) -> Option<(ObjectName, Option<PolicyId>)> {
        let text = item.text()?;
        let parts: Vec<&str> = text.split('/').collect();
        let kinds = || POLICIES.iter().map(|kind| kind.name()).chain(OTHERS);
        let called = kind_named(parts[0]).unwrap_or(parts[0]);
        let known = KINDS.iter().find(|known| known.kind == called && kinds().any(|kind| kind == known.kind));
        let (known, namespace, name) = match (known, &parts[1..]) {
            (Some(known), [name]) if known.is_clusterwide => (known, None, *name),
            (Some(known), [namespace, name]) if !known.is_clusterwide => (known, Some(*namespace), *name),
            _ => {
                let hint = if known.is_some() { String::new() } else { hint(parts[0], kinds()) };
                item.error(format!(
                    "{text:?} is not an object name; write Kind/namespace/name, or Kind/name for a cluster-scoped kind{hint}"
                ));
                return None;
            }
        };
        let found =
            ObjectName { kind: known.kind, namespace: namespace.map(str::to_owned), name: name.to_owned() };
        let full = found.to_string();
        let exists = self.objects.contains(&found) || self.namespaces.contains(&found);
        // A refused object does not exist, so its deletion is not reported as a second error.
        if !exists && self.report.is_clean_since(self.mark) {
            let known: Vec<String> = self.objects.iter().map(ToString::to_string).collect();
            let hint = hint(&full, known.iter().map(String::as_str));
            item.error(format!("there is no {full} at this step{hint}"));
        }
        let kind = POLICIES.into_iter().find(|kind| kind.name() == found.kind);
        let id =
            kind.map(|kind| PolicyId { kind, namespace: found.namespace.clone(), name: found.name.clone() });
        Some((found, id))
    }

    fn unknown(&self, item: &Item<'_>, text: &str) {
        let names = self.workloads.iter().map(|name| match name.namespace.as_str() {
            "default" => name.name.clone(),
            namespace => format!("{namespace}/{}", name.name),
        });
        let names: Vec<String> = names.chain(self.externals.iter().chain(&self.nodes).cloned()).collect();
        let hint = hint(text, names.iter().map(String::as_str));
        item.error(format!("no endpoint is named `{text}` at this step{hint}"));
    }
}
