//! The incumbent's reading of matters that rules show: the meaning of peers, and the order of rules.

use super::of_documents::MARK;
use abi::identity::FIRST_ALLOCATED;
use identity::{Labels, Operator, Requirement, Selector, Source, key};
use manifest::Object;
use manifest::test::{Probe, ProbeEnd};
use policy::fixtures::spec;
use policy::rule::{
    Action, Cidr, CidrGroupRef, CidrReach, Direction, EnforcementMode, Entity, Peer, Peers, Policy, PolicyId,
    PolicyKind, Port, Rule, ServiceRef, Spec, Subject, Tier, Traffic, TrafficMatch,
};
use testbed::TestState;

/// A priority after all rules of other tiers.
const LATE: u32 = u32::MAX / 2;

/// The incumbent's label for the cluster of pods and nodes.
const CLUSTER: (&str, &str) = ("io.cilium.k8s.policy.cluster", "default");

/// A block of a NetworkPolicy matches addresses outside the cluster only.
pub(super) fn ip_blocks_are_outside(state: &mut TestState) {
    edit_peers(state, is_of_kubernetes, block_is_outside);
}

/// `networks` in the policies of administrators match addresses outside the cluster only.
pub(super) fn networks_are_outside(state: &mut TestState) {
    edit_peers(state, is_tiered, block_is_outside);
}

fn block_is_outside(peer: Peer) -> Vec<Peer> {
    vec![match peer {
        Peer::Cidr { block, except, .. } => Peer::Cidr { block, except, reach: CidrReach::World },
        other => other,
    }]
}

/// The baseline comes before default deny.
pub(super) fn baseline_precedes_default_deny(state: &mut TestState) {
    let specs = state.policies.values_mut().flat_map(|policy| &mut policy.specs);
    for spec in specs.filter(|spec| spec.tier == Tier::Baseline) {
        spec.tier = Tier::Normal;
        spec.rules.iter_mut().for_each(|rule| rule.priority += LATE);
    }
}

/// A selector of pods that only excludes labels selects nodes too, which have none, in the policies of administrators.
pub(super) fn pods_of_cluster_policy_are_nodes(state: &mut TestState) {
    edit_peers(state, is_tiered, with_nodes);
}

/// In NetworkPolicy, a selector of pods that only excludes labels selects nodes too.
pub(super) fn pods_of_network_policy_are_nodes(state: &mut TestState) {
    edit_peers(state, is_of_kubernetes, with_nodes);
}

/// In the Cilium kinds, a selector of pods that only excludes labels selects nodes too.
pub(super) fn pods_of_cilium_policy_are_nodes(state: &mut TestState) {
    edit_peers(state, is_cilium, with_nodes);
}

fn with_nodes(peer: Peer) -> Vec<Peer> {
    let selects_nodes = matches!(&peer, Peer::Labels(selector) if selects_what_has_no_namespace(selector));
    let nodes = [Peer::Entity(Entity::Host), Peer::Entity(Entity::RemoteNode)];
    [peer].into_iter().chain(nodes.into_iter().filter(|_| selects_nodes)).collect()
}

/// `namespaces` that only exclude labels select every peer; for named ports, only the pods that we select.
pub(super) fn marked_are_every_peer(state: &mut TestState) {
    let is_marked = |peer: &Peer| matches!(peer, Peer::Labels(selector) if selector.requirements().iter().any(|one| one.name == MARK));
    for spec in specs_of(state, is_tiered) {
        let rules = std::mem::take(&mut spec.rules);
        for rule in rules {
            let Peers::Of(peers) = &rule.peers else { continue };
            let wider = peers.iter().any(is_marked).then(|| with_numbered_ports(&rule)).flatten();
            spec.rules.push(rule);
            spec.rules.extend(wider);
        }
    }
}

/// The rule for every peer; on the way out without its named ports, which the peers define. None where no traffic is left.
fn with_numbered_ports(rule: &Rule) -> Option<Rule> {
    let is_numbered = |one: &&TrafficMatch| {
        let is_named = matches!(one, TrafficMatch::Port { port: Port::Named(_), .. });
        !(is_named && rule.direction == Direction::Egress)
    };
    let traffic = match &rule.traffic {
        Traffic::Any => Traffic::Any,
        Traffic::Of(matches) => {
            let numbered: Vec<_> = matches.iter().filter(is_numbered).cloned().collect();
            (!numbered.is_empty()).then_some(Traffic::Of(numbered))?
        }
    };
    Some(Rule { peers: Peers::Any, traffic, ..rule.clone() })
}

/// Whether a selector, without our limit to pods, selects a peer of the cluster that has no labels of pods.
fn selects_what_has_no_namespace(selector: &Selector) -> bool {
    let is_limit = |one: &Requirement| one.name == key::NAMESPACE && one.operator == Operator::Exists;
    let mut node = Labels::default();
    node.insert(Source::K8s, CLUSTER.0, CLUSTER.1);
    let about_namespaces =
        |one: &Requirement| one.name == key::NAMESPACE || one.name.starts_with(key::NAMESPACE_LABELS);
    let requirements = selector.requirements();
    let excludes = requirements.iter().any(|one| about_namespaces(one) && !one.requires_label());
    excludes && requirements.iter().filter(|one| !is_limit(one)).all(|one| one.matches(&node))
}

/// `fromNodes` and `toNodes` select other nodes only.
pub(super) fn nodes_are_other_nodes(state: &mut TestState) {
    edit_peers(state, is_cilium, |peer| {
        vec![match peer {
            Peer::Nodes(selector) => {
                Peer::Nodes(selector.with(Some(Source::Reserved), "remote-node", Operator::Exists))
            }
            other => other,
        }]
    });
}

/// In `fromNodes` and `toNodes` the labels of nodes have a source of their own, so no node has `k8s:zone`.
pub(super) fn nodes_have_no_labels_of_kubernetes(state: &mut TestState) {
    edit_peers(state, is_cilium, |peer| {
        let Peer::Nodes(selector) = peer else { return vec![peer] };
        let other = |one: &Requirement| match one.source {
            Some(Source::K8s) => Requirement { source: Some(Source::Other("absent".into())), ..one.clone() },
            _ => one.clone(),
        };
        vec![Peer::Nodes(selector.requirements().iter().map(other).collect())]
    });
}

/// Where there are two families, nothing has the label `reserved:world`.
pub(super) fn reserved_world_is_no_peer(state: &mut TestState) {
    edit_peers(state, is_cilium, |peer| {
        let is_world = |one: &Requirement| one.source == Some(Source::Reserved) && one.name == "world";
        let Peer::Labels(selector) = &peer else { return vec![peer] };
        let mut worlds = selector.requirements().iter().filter(|one| is_world(one)).peekable();
        if worlds.peek().is_none() {
            return vec![peer];
        }
        if worlds.any(Requirement::requires_label) {
            return vec![Peer::Entity(Entity::None)];
        }
        let others = selector.requirements().iter().filter(|one| !is_world(one));
        vec![Peer::Labels(others.cloned().collect())]
    });
}

/// A selector that only excludes a reserved label selects other nodes too, and all outside that has an identity
/// of its own, whatever label it is.
pub(super) fn not_a_reserved_label_is_more(state: &mut TestState) {
    let more: Vec<Peer> = with_own_identity(state).chain([Peer::Entity(Entity::RemoteNode)]).collect();
    let excludes = |one: &Requirement| one.source == Some(Source::Reserved) && !one.requires_label();
    let is_meant = |peer: &Peer| {
        matches!(peer, Peer::Labels(selector)
            if !selector.requirements().is_empty() && selector.requirements().iter().all(excludes))
    };
    for rule in specs_of(state, is_cilium).flat_map(|spec| &mut spec.rules) {
        if let Peers::Of(peers) = &mut rule.peers
            && peers.iter().any(is_meant)
        {
            peers.extend(more.iter().cloned());
        }
    }
}

/// The peers outside that have an identity of their own, because a policy or an object names their block, domain or address.
fn with_own_identity(state: &TestState) -> impl Iterator<Item = Peer> {
    let rules = state.policies.values().flat_map(|policy| &policy.specs).flat_map(|spec| &spec.rules);
    let peers = rules.flat_map(|rule| match &rule.peers {
        Peers::Of(peers) => peers.clone(),
        Peers::Any => Vec::new(),
    });
    let named = peers.flat_map(|peer| match peer {
        Peer::Cidr { block, except, .. } => {
            [block].into_iter().chain(except).filter(|block| block.length() > 0).map(outside).collect()
        }
        domain @ Peer::Domain(_) => vec![domain],
        _ => Vec::new(),
    });
    let groups = state.objects.values().filter_map(|object| match object {
        Object::CidrGroup(named) => Some(named.group.blocks.clone()),
        _ => None,
    });
    let all: Vec<Peer> = named.chain(groups.flatten().map(outside)).collect();
    all.into_iter().chain([Peer::Entity(Entity::KubeApiserver)])
}

fn outside(block: Cidr) -> Peer {
    Peer::Cidr { block, except: Vec::new(), reach: CidrReach::World }
}

/// ICMP type 0 means every type.
pub(super) fn icmp_type_0_is_every_type(state: &mut TestState) {
    for rule in specs_of(state, is_cilium).flat_map(|spec| &mut spec.rules) {
        let Traffic::Of(matches) = &mut rule.traffic else { continue };
        let all = std::mem::take(matches).into_iter().flat_map(|one| match one {
            TrafficMatch::Icmp { family, kind: 0 } => {
                (0..=u8::MAX).map(|kind| TrafficMatch::Icmp { family, kind }).collect()
            }
            other => vec![other],
        });
        *matches = all.collect();
    }
}

/// `cidrGroupSelector: {}` selects every peer.
pub(super) fn all_groups_are_every_peer(state: &mut TestState) {
    edit_peers(state, is_cilium, |peer| {
        let is_empty = matches!(&peer, Peer::CidrGroup { groups: CidrGroupRef::Labelled(selector), except }
            if selector.requirements().is_empty() && except.is_empty());
        vec![if is_empty { Peer::Entity(Entity::All) } else { peer }]
    });
}

/// A rule with ports selects every peer where it names only missing services, or where it denies services.
pub(super) fn no_services_are_every_peer(state: &mut TestState) {
    let services: Vec<ReferredService> =
        state.objects.values().filter_map(as_service).filter(|one| one.has_backends(state)).collect();
    let rules =
        state.policies.values_mut().flat_map(|policy| &mut policy.specs).flat_map(|spec| &mut spec.rules);
    for rule in rules {
        let Peers::Of(peers) = &rule.peers else { continue };
        let is_there =
            |peer: &Peer| matches!(peer, Peer::Service(wanted) if services.iter().any(|one| one.is(wanted)));
        let names_services = !peers.is_empty() && peers.iter().all(|peer| matches!(peer, Peer::Service(_)));
        if names_services && (rule.action == Action::Deny || !peers.iter().any(is_there)) {
            rule.peers = if rule.traffic == Traffic::Any { Peers::Of(Vec::new()) } else { Peers::Any };
        }
    }
}

/// The parts of a service that rules refer to.
struct ReferredService {
    namespace: String,
    name: String,
    labels: Labels,
    selects: bool,
}

fn as_service(object: &Object) -> Option<ReferredService> {
    let Object::Service(service) = object else { return None };
    let mut labels = Labels::default();
    service.labels.iter().for_each(|(key, value)| labels.insert(Source::K8s, key.as_str(), value.as_str()));
    Some(ReferredService {
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        labels,
        selects: !service.selector.is_empty(),
    })
}

impl ReferredService {
    /// Whether it selects workloads, or has addresses listed.
    fn has_backends(&self, state: &TestState) -> bool {
        let is_listed = |object: &Object| match object {
            Object::Endpoints(list) => {
                list.namespace == self.namespace && list.service == self.name && !list.addresses().is_empty()
            }
            _ => false,
        };
        self.selects || state.objects.values().any(is_listed)
    }

    fn is(&self, wanted: &ServiceRef) -> bool {
        match wanted {
            ServiceRef::Named { namespace, name } => **namespace == *self.namespace && **name == *self.name,
            ServiceRef::Labelled { namespace, selector } => {
                namespace.as_ref().is_none_or(|one| **one == *self.namespace)
                    && selector.selects(&self.labels)
            }
        }
    }
}

/// In mode `always`, the node itself enforces default deny too.
pub(super) fn always_is_for_the_node_too(state: &mut TestState) {
    if state.mode != EnforcementMode::Always {
        return;
    }
    let id =
        PolicyId { kind: PolicyKind::CiliumClusterwideNetworkPolicy, namespace: None, name: "always".into() };
    let spec = spec(Subject::Nodes(Selector::default()), []);
    let spec = Spec { default_deny_ingress: true, default_deny_egress: true, ..spec };
    state.policies.insert(id.clone(), Policy { id, specs: vec![spec] });
}

/// In mode `always`, the node does not reach its own workloads without a rule.
pub(super) fn always_refuses_the_host(state: &TestState, probe: &Probe) -> bool {
    let ProbeEnd::Workload(name) = &probe.to else { return false };
    let Some(workload) = state.workloads.get(name) else { return false };
    let labels = state.labels(name, workload);
    let specs = state.policies.values().flat_map(|policy| &policy.specs);
    let mut about_it = specs.filter(|spec| spec.subject.selects(FIRST_ALLOCATED, &labels));
    let is_way_in = |rule: &Rule| rule.direction == Direction::Ingress;
    let has_rule = about_it.any(|spec| spec.default_deny_ingress || spec.rules.iter().any(is_way_in));
    state.mode == EnforcementMode::Always && probe.from == ProbeEnd::Host && !has_rule
}

fn is_tiered(policy: &Policy) -> bool {
    let kinds = [
        PolicyKind::ClusterNetworkPolicy,
        PolicyKind::AdminNetworkPolicy,
        PolicyKind::BaselineAdminNetworkPolicy,
    ];
    kinds.contains(&policy.id.kind)
}

fn is_cilium(policy: &Policy) -> bool {
    matches!(policy.id.kind, PolicyKind::CiliumNetworkPolicy | PolicyKind::CiliumClusterwideNetworkPolicy)
}

fn is_of_kubernetes(policy: &Policy) -> bool {
    policy.id.kind == PolicyKind::NetworkPolicy
}

/// The specs of the wanted policies.
fn specs_of(state: &mut TestState, is_meant: fn(&Policy) -> bool) -> impl Iterator<Item = &mut Spec> {
    state.policies.values_mut().filter(move |policy| is_meant(policy)).flat_map(|policy| &mut policy.specs)
}

/// Edits every peer of the wanted policies.
fn edit_peers(state: &mut TestState, is_meant: fn(&Policy) -> bool, edit: fn(Peer) -> Vec<Peer>) {
    for rule in specs_of(state, is_meant).flat_map(|spec| &mut spec.rules) {
        if let Peers::Of(peers) = &mut rule.peers {
            *peers = std::mem::take(peers).into_iter().flat_map(edit).collect();
        }
    }
}
