//! The policies in force, and which of their specs apply to a subject.

use crate::catalog::Catalog;
use crate::party::{NamedPorts, Party};
use crate::rule::{Direction, Mode, Policy, PolicyId, Port, Spec, Tier, Traffic, TrafficMatch};
use abi::identity::HOST;
use identity::{Operator, Selector, Source, key};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The policies in force, by name.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: BTreeMap<PolicyId, Submitted>,
    /// Specs by the namespace that their subject must be in; under none those that may be in any.
    by_namespace: BTreeMap<Option<String>, BTreeSet<(PolicyId, usize)>>,
    catalog: Catalog,
    mode: Mode,
    revisions: u64,
}

/// A policy, what its references mean now, and the number of that meaning.
#[derive(Clone, Debug)]
struct Submitted {
    policy: Arc<Policy>,
    resolved: Arc<Policy>,
    revision: u64,
}

/// A policy whose references came to mean something else.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What it meant.
    pub before: Arc<Policy>,
    /// What it means.
    pub after: Arc<Policy>,
}

/// The specs that apply to a subject, in the order of their policies' names.
#[derive(Clone, Debug)]
pub struct Selection {
    specs: Vec<Applying>,
    ports: NamedPorts,
    always: bool,
    is_about_host: bool,
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
    always: bool,
    is_about_host: bool,
}

impl PolicySet {
    /// No policy is in force.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a policy into force, in place of the one with its name; what that one meant is returned.
    pub fn apply(&mut self, policy: Policy) -> Option<Arc<Policy>> {
        let replaced = self.remove(&policy.id);
        for (index, spec) in policy.specs.iter().enumerate() {
            self.by_namespace
                .entry(namespace_of(spec.subject.selector()))
                .or_default()
                .insert((policy.id.clone(), index));
        }
        let policy = Arc::new(policy);
        let resolved = self.catalog.resolve(&policy).map_or_else(|| policy.clone(), Arc::new);
        self.revisions += 1;
        let id = policy.id.clone();
        self.policies.insert(id, Submitted { policy, resolved, revision: self.revisions });
        replaced
    }

    /// Takes a policy out of force; what it meant is returned.
    pub fn remove(&mut self, id: &PolicyId) -> Option<Arc<Policy>> {
        let removed = self.policies.remove(id)?.resolved;
        for (index, spec) in removed.specs.iter().enumerate() {
            let namespace = namespace_of(spec.subject.selector());
            if let Some(specs) = self.by_namespace.get_mut(&namespace) {
                specs.remove(&(id.clone(), index));
                if specs.is_empty() {
                    self.by_namespace.remove(&namespace);
                }
            }
        }
        Some(removed)
    }

    /// Changes what policies refer to; the policies that mean something else now are returned.
    pub fn refer(&mut self, change: impl FnOnce(&mut Catalog)) -> Vec<Changed> {
        change(&mut self.catalog);
        let mut changed = Vec::new();
        for submitted in self.policies.values_mut() {
            let Some(after) = self.catalog.resolve(&submitted.policy) else { continue };
            if after != *submitted.resolved {
                self.revisions += 1;
                submitted.revision = self.revisions;
                let after = Arc::new(after);
                let before = std::mem::replace(&mut submitted.resolved, after.clone());
                changed.push(Changed { before, after });
            }
        }
        changed
    }

    /// What policies refer to.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Decides whom policies are enforced for.
    pub fn enforce(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Whom policies are enforced for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What the policy with this name means, its references resolved.
    pub fn resolved(&self, id: &PolicyId) -> Option<&Arc<Policy>> {
        Some(&self.policies.get(id)?.resolved)
    }

    /// The policy with this name.
    pub fn policy(&self, id: &PolicyId) -> Option<&Arc<Policy>> {
        Some(&self.policies.get(id)?.policy)
    }

    /// All policies by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values().map(|submitted| &submitted.policy)
    }

    /// What applies to a subject.
    pub fn selection(&self, subject: &Party<'_>) -> Selection {
        let is_about_host = subject.number == HOST;
        let specs = if self.mode == Mode::Never { Vec::new() } else { self.applying(subject) };
        let asked = specs.iter().flat_map(|applying| ingress_names(applying.spec())).collect();
        let always = self.mode == Mode::Always && !is_about_host;
        Selection { specs, ports: subject.ports.named(&asked), always, is_about_host }
    }

    fn applying(&self, subject: &Party<'_>) -> Vec<Applying> {
        let namespace = subject.labels.value(Some(&Source::K8s), key::NAMESPACE).map(str::to_owned);
        let anywhere = self.by_namespace.get(&None);
        let here = namespace.and_then(|name| self.by_namespace.get(&Some(name)));
        let candidates: BTreeSet<_> = anywhere.into_iter().chain(here).flatten().collect();
        let applying = candidates.into_iter().filter_map(|(id, spec)| {
            let Submitted { resolved, revision, .. } = self.policies.get(id)?;
            let applies = resolved.specs[*spec].subject.selects(subject.number, subject.labels);
            applies.then(|| Applying { policy: resolved.clone(), spec: *spec, revision: *revision })
        });
        applying.collect()
    }
}

impl Selection {
    /// The key by which subjects share one compiled policy. A policy that is submitted again is another policy.
    pub fn key(&self) -> PolicyKey {
        let specs = self.specs.iter().map(|applying| (applying.revision, applying.spec)).collect();
        PolicyKey { specs, ports: self.ports.clone(), always: self.always, is_about_host: self.is_about_host }
    }

    /// At the end of which tier what no rule allowed is refused, if anywhere.
    pub(crate) fn isolation(&self, direction: Direction) -> Option<Tier> {
        let asking = self.specs.iter().map(Applying::spec).filter(|spec| match direction {
            Direction::Ingress => spec.default_deny_ingress,
            Direction::Egress => spec.default_deny_egress,
        });
        // A policy of the administrators that isolates, isolates as those of everybody else do.
        let earliest = asking.map(|spec| spec.tier.max(Tier::Normal)).min();
        earliest.or(self.always.then_some(Tier::Baseline))
    }

    /// Whether the subject is the node itself.
    pub(crate) fn is_about_host(&self) -> bool {
        self.is_about_host
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
