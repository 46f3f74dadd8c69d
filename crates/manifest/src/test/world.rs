//! The parties and policies that a test has named so far, to tell a name from a slip of the pen.

use super::{Party, Step, WorkloadName};
use crate::item::Item;
use crate::nearest::hint;
use crate::report::Report;
use policy::rule::{Kind, PolicyId};
use std::collections::BTreeSet;

/// What exists at one step of a test.
#[derive(Debug)]
pub(super) struct World<'a> {
    workloads: BTreeSet<WorkloadName>,
    externals: BTreeSet<String>,
    policies: BTreeSet<PolicyId>,
    report: &'a Report,
    mark: usize,
}

const KINDS: [Kind; 3] =
    [Kind::NetworkPolicy, Kind::CiliumNetworkPolicy, Kind::CiliumClusterwideNetworkPolicy];

impl<'a> World<'a> {
    /// The world before the first step of a test whose findings begin now.
    pub(super) fn new(report: &'a Report) -> Self {
        Self {
            workloads: BTreeSet::new(),
            externals: BTreeSet::new(),
            policies: BTreeSet::new(),
            report,
            mark: report.mark(),
        }
    }

    /// Makes the changes of a step.
    pub(super) fn apply(&mut self, step: &Step) {
        for name in &step.remove_workloads {
            self.workloads.remove(name);
        }
        self.workloads.extend(step.workloads.iter().map(|workload| workload.name.clone()));
        self.externals.extend(step.externals.iter().map(|external| external.name.clone()));
        if let Some(policies) = &step.policies {
            self.policies = policies.iter().map(|policy| policy.id.clone()).collect();
        }
        for id in &step.delete {
            self.policies.remove(id);
        }
        self.policies.extend(step.apply.iter().map(|policy| policy.id.clone()));
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

    /// Reads one end of a probe.
    pub(super) fn party(&self, item: &Item<'_>) -> Option<Party> {
        let text = item.text()?;
        if text == "host" {
            return Some(Party::Host);
        }
        if let Ok(address) = text.parse() {
            return Some(Party::Address(address));
        }
        let local = WorkloadName { namespace: "default".into(), name: text.into() };
        match (self.externals.contains(text), self.workloads.contains(&local)) {
            (true, true) => {
                item.error(format!(
                    "`{text}` is an external and a workload; write default/{text} for the workload"
                ));
                None
            }
            (true, false) => Some(Party::External(text.to_owned())),
            (false, _) => self.workload(item).map(Party::Workload),
        }
    }

    /// Reads `Kind/namespace/name`, or `Kind/name` of a clusterwide kind, of a policy that exists.
    pub(super) fn policy(&self, item: &Item<'_>) -> Option<PolicyId> {
        let text = item.text()?;
        let parts: Vec<&str> = text.split('/').collect();
        let kind = KINDS.into_iter().find(|kind| kind.name() == parts[0]);
        let id = match (kind, &parts[1..]) {
            (Some(kind @ Kind::CiliumClusterwideNetworkPolicy), [name]) => {
                PolicyId { kind, namespace: None, name: (*name).into() }
            }
            (Some(kind), [namespace, name]) if kind != Kind::CiliumClusterwideNetworkPolicy => {
                PolicyId { kind, namespace: Some((*namespace).into()), name: (*name).into() }
            }
            _ => {
                let hint = match kind {
                    Some(_) => String::new(),
                    None => hint(parts[0], KINDS.iter().map(|kind| kind.name())),
                };
                item.error(format!(
                    "{text:?} names no policy; write Kind/namespace/name, or Kind/name{hint}"
                ));
                return None;
            }
        };
        // A policy that was refused does not exist; that it cannot be deleted is no news.
        if !self.policies.contains(&id) && self.report.is_clean_since(self.mark) {
            let known: Vec<String> = self.policies.iter().map(ToString::to_string).collect();
            let hint = hint(text, known.iter().map(String::as_str));
            item.error(format!("there is no policy {text} at this step{hint}"));
        }
        Some(id)
    }

    fn unknown(&self, item: &Item<'_>, text: &str) {
        let names = self.workloads.iter().map(|name| match name.namespace.as_str() {
            "default" => name.name.clone(),
            namespace => format!("{namespace}/{}", name.name),
        });
        let names: Vec<String> = names.chain(self.externals.iter().cloned()).collect();
        let hint = hint(text, names.iter().map(String::as_str));
        item.error(format!("nobody is called `{text}` at this step{hint}"));
    }
}
