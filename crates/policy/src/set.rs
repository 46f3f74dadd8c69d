//! The policies in force, and which of their specs apply to a subject.

use crate::catalog::{Catalog, is_referring};
use crate::compiled_rule::{self, CompiledRule, Numbers};
use crate::directory::Directory;
use crate::endpoint_view::{EndpointView, NamedPorts};
use crate::rule::{Direction, EnforcementMode, Policy, PolicyId, Spec, Subject, Tier};
use crate::share::Selectors;
use abi::identity::HOST;
use identity::SharedMap;
use identity::index::SelectorIndex;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The policies in force, by name.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    submitted: SubmittedPolicies,
    by_subject: BySubject,
    selectors: Selectors,
    /// The policies that refer to objects of the catalog.
    referring: BTreeSet<Arc<PolicyId>>,
    revisions: u64,
    /// Policies that are out of force. Compiled policies may still use their facets.
    removed: Vec<Arc<Submitted>>,
}

/// The policies by name, what they refer to, and for which endpoints they are enforced; clones share them.
#[derive(Clone, Debug, Default)]
pub struct SubmittedPolicies {
    policies: SharedMap<Arc<PolicyId>, Arc<Submitted>>,
    catalog: Catalog,
    mode: EnforcementMode,
}

/// Specs by the labels that their subject selectors require.
#[derive(Clone, Debug, Default)]
struct BySubject {
    workloads: SelectorIndex<SpecRef>,
    nodes: SelectorIndex<SpecRef>,
}

/// A policy as submitted, and with its references resolved; each resolution has a number.
#[derive(Debug)]
struct Submitted {
    /// The policy's name, shared by all that refer to it.
    id: Arc<PolicyId>,
    policy: Arc<Policy>,
    resolved: Arc<Policy>,
    revision: u64,
    /// The rules of each spec.
    ready: Box<[Box<[CompiledRule]>]>,
}

/// A policy whose references have another meaning now.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The policy with its references as they were.
    pub before: Arc<Policy>,
    /// The policy with its references as they are.
    pub after: Arc<Policy>,
}

/// The specs that apply to a subject.
#[derive(Clone, Debug)]
pub struct Selection {
    specs: Vec<SpecRef>,
    ports: NamedPorts,
    always: bool,
    subject_is_host: bool,
}

/// One spec of a policy in force.
#[derive(Clone, Debug)]
pub(crate) struct SpecRef {
    submitted: Arc<Submitted>,
    spec: u32,
    /// Whether a rule names a port of the subject.
    has_subject_ports: bool,
}

/// The key of a selection: subjects with the same key share one compiled policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    specs: Box<[(u64, u32)]>,
    ports: NamedPorts,
    always: bool,
    subject_is_host: bool,
}

impl PolicySet {
    /// No policy is in force.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a policy into force, in place of the one with its name; the replaced policy is returned, with its references resolved.
    pub(crate) fn apply(&mut self, mut policy: Policy, numbers: &mut Numbers<'_>) -> Option<Arc<Policy>> {
        self.selectors.share(&mut policy);
        let policy = Arc::new(policy);
        let resolved = self.submitted.catalog.resolve(&policy).map_or_else(|| policy.clone(), Arc::new);
        self.put(policy, resolved, numbers)
    }

    /// Takes a policy out of force, and returns it with its references resolved. Its facets are held until
    /// [`Self::release_removed`].
    pub fn remove(&mut self, id: &PolicyId) -> Option<Arc<Policy>> {
        let submitted = self.submitted.policies.remove(id)?;
        self.referring.remove(id);
        for applying in SpecRef::all(&submitted) {
            self.by_subject.remove(&applying);
        }
        let resolved = submitted.resolved.clone();
        self.removed.push(submitted);
        Some(resolved)
    }

    /// Releases the facets of policies that are out of force, once no compiled policy uses them.
    pub(crate) fn release_removed(&mut self, directory: &mut Directory) {
        let removed = std::mem::take(&mut self.removed);
        removed.iter().flat_map(|one| &one.ready).flatten().for_each(|rule| rule.release(directory));
    }

    /// Changes the objects that policies refer to; the policies whose references have another meaning now are returned.
    pub(crate) fn refer(
        &mut self,
        change: impl FnOnce(&mut Catalog),
        numbers: &mut Numbers<'_>,
    ) -> Vec<Changed> {
        change(&mut self.submitted.catalog);
        let meant = self.referring.iter().filter_map(|id| {
            let submitted = self.submitted.policies.get(id)?;
            let after = self.submitted.catalog.resolve(&submitted.policy)?;
            (after != *submitted.resolved).then(|| (submitted.policy.clone(), Arc::new(after)))
        });
        let meant: Vec<(Arc<Policy>, Arc<Policy>)> = meant.collect();
        let changed = meant.into_iter().filter_map(|(policy, after)| {
            let before = self.put(policy, after.clone(), numbers)?;
            Some(Changed { before, after })
        });
        changed.collect()
    }

    fn put(
        &mut self,
        policy: Arc<Policy>,
        resolved: Arc<Policy>,
        numbers: &mut Numbers<'_>,
    ) -> Option<Arc<Policy>> {
        let replaced = self.remove(&policy.id);
        self.revisions += 1;
        let id = Arc::new(policy.id.clone());
        let ready = compiled_rule::specs(&resolved, &id, numbers);
        let submitted = Arc::new(Submitted { id, policy, resolved, revision: self.revisions, ready });
        for applying in SpecRef::all(&submitted) {
            self.by_subject.insert(&applying);
        }
        if is_referring(&submitted.policy) {
            self.referring.insert(submitted.id.clone());
        }
        self.submitted.policies.insert(submitted.id.clone(), submitted);
        replaced
    }

    /// The policies as submitted; a clone stays as they are now.
    pub fn submitted(&self) -> &SubmittedPolicies {
        &self.submitted
    }

    /// The objects that policies refer to.
    pub fn catalog(&self) -> &Catalog {
        self.submitted.catalog()
    }

    /// Decides for which endpoints policies are enforced.
    pub fn enforce(&mut self, mode: EnforcementMode) {
        self.submitted.mode = mode;
    }

    /// The endpoints for which policies are enforced.
    pub fn mode(&self) -> EnforcementMode {
        self.submitted.mode
    }

    /// The policy with this name, with its references resolved.
    pub fn resolved(&self, id: &PolicyId) -> Option<&Arc<Policy>> {
        Some(&self.submitted.policies.get(id)?.resolved)
    }

    /// The policy with this name.
    pub fn policy(&self, id: &PolicyId) -> Option<&Arc<Policy>> {
        Some(&self.submitted.policies.get(id)?.policy)
    }

    /// All policies by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.submitted.iter()
    }

    /// The specs that apply to a subject.
    pub fn selection(&self, subject: &EndpointView<'_>) -> Selection {
        let subject_is_host = subject.number == HOST;
        let specs = if self.mode() == EnforcementMode::Never { Vec::new() } else { self.applying(subject) };
        let asking = || specs.iter().filter(|one| one.has_subject_ports).flat_map(SpecRef::rules);
        let ports = subject.ports.filtered(|name| asking().any(|rule| rule.matches_subject_port(name)));
        let always = self.mode() == EnforcementMode::Always && !subject_is_host;
        Selection { specs, ports, always, subject_is_host }
    }

    fn applying(&self, subject: &EndpointView<'_>) -> Vec<SpecRef> {
        let selects = |one: &SpecRef| one.spec().subject.selector().selects(subject.labels);
        let specs = self.by_subject.of(subject.number == HOST).selecting(subject.labels, selects);
        specs.into_iter().cloned().collect()
    }
}

impl SubmittedPolicies {
    /// The number of policies.
    pub fn count(&self) -> usize {
        self.policies.len()
    }

    /// All policies by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values().map(|submitted| &submitted.policy)
    }

    /// All policies by name, each with the number of its revision, by which a [`PolicyKey`] names it.
    pub fn revisions(&self) -> impl Iterator<Item = (u64, &Arc<Policy>)> {
        self.policies.values().map(|submitted| (submitted.revision, &submitted.policy))
    }

    /// The objects that policies refer to.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The endpoints for which policies are enforced.
    pub fn mode(&self) -> EnforcementMode {
        self.mode
    }
}

impl PolicyKey {
    /// The numbers of the revisions of the policies that apply, once for each of their specs that applies.
    pub fn revisions(&self) -> impl Iterator<Item = u64> {
        self.specs.iter().map(|(revision, _)| *revision)
    }
}

impl BySubject {
    fn insert(&mut self, applying: &SpecRef) {
        let subject = &applying.spec().subject;
        self.of_mut(is_of_nodes(subject)).insert(subject.selector(), applying.clone());
    }

    fn remove(&mut self, applying: &SpecRef) {
        let subject = &applying.spec().subject;
        self.of_mut(is_of_nodes(subject)).remove(subject.selector(), applying);
    }

    /// The specs that select nodes, or the specs that select workloads.
    fn of(&self, nodes: bool) -> &SelectorIndex<SpecRef> {
        if nodes { &self.nodes } else { &self.workloads }
    }

    fn of_mut(&mut self, nodes: bool) -> &mut SelectorIndex<SpecRef> {
        if nodes { &mut self.nodes } else { &mut self.workloads }
    }
}

fn is_of_nodes(subject: &Subject) -> bool {
    matches!(subject, Subject::Nodes(_))
}

impl Selection {
    /// The key by which subjects share one compiled policy. A policy that is submitted again is another policy.
    pub fn key(&self) -> PolicyKey {
        let specs = self.specs.iter().map(SpecRef::number).collect();
        PolicyKey {
            specs,
            ports: self.ports.clone(),
            always: self.always,
            subject_is_host: self.subject_is_host,
        }
    }

    /// The tier after which traffic that no rule allows is denied, if the subject is isolated.
    pub(crate) fn isolation(&self, direction: Direction) -> Option<Tier> {
        let asking = self.specs.iter().map(SpecRef::spec).filter(|spec| match direction {
            Direction::Ingress => spec.default_deny_ingress,
            Direction::Egress => spec.default_deny_egress,
        });
        // Isolation by a policy of the admin tier takes effect after the normal tier, as by any other policy.
        let earliest = asking.map(|spec| spec.tier.max(Tier::Normal)).min();
        earliest.or(self.always.then_some(Tier::Baseline))
    }

    /// The selection in the order of the policies' names. Of rules with the same verdict the first one is reported.
    pub(crate) fn ordered(mut self) -> Self {
        self.specs.sort_unstable_by(|one, other| one.place().cmp(&other.place()));
        self
    }

    /// Whether the subject is the node itself.
    pub(crate) fn subject_is_host(&self) -> bool {
        self.subject_is_host
    }

    /// The policies that apply, once for each of their specs that applies.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyId> {
        self.specs.iter().map(|one| &*one.submitted.id)
    }

    pub(crate) fn specs(&self) -> &[SpecRef] {
        &self.specs
    }

    /// The named ports of the subject that a rule names.
    pub(crate) fn ports(&self) -> &NamedPorts {
        &self.ports
    }
}

impl SpecRef {
    fn all(submitted: &Arc<Submitted>) -> impl Iterator<Item = Self> {
        submitted.ready.iter().zip(0..).map(|(rules, spec)| {
            let has_subject_ports = rules.iter().any(CompiledRule::has_subject_ports);
            Self { submitted: submitted.clone(), spec, has_subject_ports }
        })
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.submitted.resolved.specs[self.spec as usize]
    }

    /// The spec's rules.
    pub(crate) fn rules(&self) -> &[CompiledRule] {
        &self.submitted.ready[self.spec as usize]
    }

    /// The number of this spec, which no spec before or after has.
    fn number(&self) -> (u64, u32) {
        (self.submitted.revision, self.spec)
    }

    /// The place of the spec in the order of the policies' names. A set has one policy of each name.
    pub(crate) fn place(&self) -> (&PolicyId, u32) {
        (&self.submitted.id, self.spec)
    }
}

impl Ord for SpecRef {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for SpecRef {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SpecRef {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SpecRef {}
