//! The policies in force, and which of their specs apply to a subject.

use crate::party::NamedPorts;
use crate::rule::{Direction, Policy, PolicyId, Port, Spec, Traffic, TrafficMatch};
use identity::{Labels, Operator, Selector, Source, key};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The policies in force, by name.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: BTreeMap<PolicyId, Submitted>,
    /// Specs by the namespace that their subject must be in; under none those that may be in any.
    by_namespace: BTreeMap<Option<String>, BTreeSet<(PolicyId, usize)>>,
    revisions: u64,
}

/// A policy and the number of its submission.
#[derive(Clone, Debug)]
struct Submitted {
    policy: Arc<Policy>,
    revision: u64,
}

/// The specs that apply to a subject, in the order of their policies' names.
#[derive(Clone, Debug)]
pub struct Selection {
    specs: Vec<Applying>,
    ports: NamedPorts,
}

/// One spec that applies.
#[derive(Clone, Debug)]
pub(crate) struct Applying {
    pub(crate) policy: Arc<Policy>,
    spec: usize,
    revision: u64,
}

/// Stands for a selection: subjects with the same key share one compiled policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    specs: Box<[(u64, usize)]>,
    ports: NamedPorts,
}

impl PolicySet {
    /// No policy is in force.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a policy into force, in place of the one with its name, which is returned.
    pub fn apply(&mut self, policy: Policy) -> Option<Arc<Policy>> {
        let replaced = self.remove(&policy.id);
        for (index, spec) in policy.specs.iter().enumerate() {
            self.by_namespace
                .entry(namespace_of(&spec.subject))
                .or_default()
                .insert((policy.id.clone(), index));
        }
        self.revisions += 1;
        let submitted = Submitted { revision: self.revisions, policy: Arc::new(policy) };
        self.policies.insert(submitted.policy.id.clone(), submitted);
        replaced
    }

    /// Takes a policy out of force.
    pub fn remove(&mut self, id: &PolicyId) -> Option<Arc<Policy>> {
        let removed = self.policies.remove(id)?.policy;
        for (index, spec) in removed.specs.iter().enumerate() {
            let namespace = namespace_of(&spec.subject);
            if let Some(specs) = self.by_namespace.get_mut(&namespace) {
                specs.remove(&(id.clone(), index));
                if specs.is_empty() {
                    self.by_namespace.remove(&namespace);
                }
            }
        }
        Some(removed)
    }

    /// The policy with this name.
    pub fn policy(&self, id: &PolicyId) -> Option<&Arc<Policy>> {
        Some(&self.policies.get(id)?.policy)
    }

    /// All policies by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values().map(|submitted| &submitted.policy)
    }

    /// What applies to a subject with these labels and named ports.
    pub fn selection(&self, subject: &Labels, ports: &NamedPorts) -> Selection {
        let namespace = subject.value(Some(&Source::K8s), key::NAMESPACE).map(str::to_owned);
        let anywhere = self.by_namespace.get(&None);
        let here = namespace.and_then(|name| self.by_namespace.get(&Some(name)));
        let candidates: BTreeSet<_> = anywhere.into_iter().chain(here).flatten().collect();
        let specs: Vec<Applying> = candidates
            .into_iter()
            .filter_map(|(id, spec)| {
                let Submitted { policy, revision } = self.policies.get(id)?;
                let applies = policy.specs[*spec].subject.selects(subject);
                applies.then(|| Applying { policy: policy.clone(), spec: *spec, revision: *revision })
            })
            .collect();
        let asked = specs.iter().flat_map(|applying| ingress_names(applying.spec())).collect();
        Selection { specs, ports: ports.named(&asked) }
    }
}

impl Selection {
    /// The key by which subjects share one compiled policy. A policy that is submitted again is another policy.
    pub fn key(&self) -> PolicyKey {
        let specs = self.specs.iter().map(|applying| (applying.revision, applying.spec)).collect();
        PolicyKey { specs, ports: self.ports.clone() }
    }

    /// Whether no policy applies: then nothing is enforced.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// The policies that apply, once for each spec that does.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyId> {
        self.specs.iter().map(|applying| &applying.policy.id)
    }

    pub(crate) fn specs(&self) -> &[Applying] {
        &self.specs
    }

    /// The subject's named ports, those that a rule asks for.
    pub(crate) fn ports(&self) -> &NamedPorts {
        &self.ports
    }
}

impl Applying {
    pub(crate) fn spec(&self) -> &Spec {
        &self.policy.specs[self.spec]
    }
}

/// The one namespace whose workloads the selector can select, where its requirements pin it down.
fn namespace_of(subject: &Selector) -> Option<String> {
    subject.requirements.iter().find_map(|requirement| match &requirement.operator {
        Operator::In(values)
            if values.len() == 1
                && requirement.name == key::NAMESPACE
                && requirement.source.as_ref().is_none_or(|source| *source == Source::K8s) =>
        {
            values.first().cloned()
        }
        _ => None,
    })
}

/// The names of ports that the spec's ingress rules ask of the subject.
fn ingress_names(spec: &Spec) -> impl Iterator<Item = String> {
    let ingress = spec.rules.iter().filter(|rule| rule.direction == Direction::Ingress);
    ingress.flat_map(|rule| port_names(&rule.traffic)).map(str::to_owned)
}

/// The names of ports in a rule's traffic.
pub(crate) fn port_names(traffic: &Traffic) -> impl Iterator<Item = &str> {
    let matches = match traffic {
        Traffic::Any => &[][..],
        Traffic::Of(matches) => matches,
    };
    matches.iter().filter_map(|one| match one {
        TrafficMatch::Port { port: Port::Named(name), .. } => Some(name.as_str()),
        _ => None,
    })
}
