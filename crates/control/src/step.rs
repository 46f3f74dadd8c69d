//! One application of changes: what they touch, and how the world settles around them.

use crate::change::{Change, Endpoint};
use crate::peers::Movement;
use crate::world::{Namespace, Owner, World};
use crate::writes::Draft;
use abi::identity::HOST;
use identity::Labels;
use policy::cidr::{Side, blocks_of};
use policy::rule::{Cidr, Policy, PolicyId, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What some changes touch.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) draft: Draft,
    pub(crate) undo: Vec<Change>,
    pub(crate) movement: Movement,
    /// Endpoints whose rows may change; as they were, they are in the draft.
    touched: BTreeSet<u32>,
    /// Whether the same goes for the node's rows.
    is_node_touched: bool,
    /// Endpoints whose labels or ports may change.
    unsettled: BTreeSet<u32>,
    /// Peer numbers that other policies may apply to now.
    pub(crate) subjects: BTreeSet<u32>,
    /// Namespaces whose services may have other backends.
    pub(crate) namespaces: BTreeSet<String>,
}

impl Step {
    /// A step after which all rows are compared, so that none needs to be noted on the way.
    pub(crate) fn moot() -> Self {
        Self { draft: Draft::moot(), ..Self::default() }
    }
}

impl World {
    /// Takes one change in.
    pub(crate) fn take(&mut self, change: Change, step: &mut Step) {
        match change {
            Change::Namespace { name, labels } => self.relabel_namespace(name, labels, step),
            Change::RemoveNamespace(name) => self.relabel_namespace(name, BTreeMap::new(), step),
            Change::Endpoint(endpoint) => self.put_endpoint(endpoint, step),
            Change::RemoveEndpoint(id) => self.remove_endpoint(id, step),
            Change::Policy(policy) => self.put_policy(policy, step),
            Change::RemovePolicy(id) => self.remove_policy(&id, step),
            Change::Service(service) => self.put_service(service, step),
            Change::RemoveService { namespace, name } => self.remove_service(&namespace, &name, step),
            Change::ServiceAddresses { namespace, name, list, addresses } => {
                self.put_service_addresses((namespace, name), list, addresses, step);
            }
            Change::CidrGroup { name, group } => self.put_group(name, group, step),
            Change::RemoveCidrGroup(name) => self.remove_group(name, step),
            Change::Names { address, names } => self.put_names(address, names, step),
            Change::Node(node) => self.put_node(node, step),
            Change::RemoteNode(node) => self.put_remote_node(node, step),
            Change::RemoveRemoteNode(name) => self.remove_remote_node(&name, step),
        }
    }

    /// Lets everything that the changes touch follow from them.
    pub(crate) fn settle(&mut self, step: &mut Step) {
        for id in std::mem::take(&mut step.unsettled) {
            if let Some(endpoint) = self.endpoints.get(&id) {
                let labels = labels(endpoint, self.namespaces.get(&endpoint.namespace));
                self.peers.admit(endpoint, &labels, &mut step.movement);
                step.subjects.extend(self.peers.member(id).map(|member| member.peer));
            }
        }
        let movement = std::mem::take(&mut step.movement);
        self.enforcement.follow(&movement, &self.peers, &mut step.draft);
        step.subjects.extend(movement.went.keys().chain(movement.came.keys()));
        for subject in std::mem::take(&mut step.subjects) {
            self.reassign(subject, step);
        }
        self.enforcement.retire(&mut self.peers.directory, &mut step.draft);
        for id in &step.touched {
            step.draft.put(self.endpoint_rows(*id));
        }
        if step.is_node_touched {
            step.draft.put(self.nodes_rows());
        }
        for namespace in &step.namespaces {
            let endpoints = self.namespaces.get(namespace).into_iter().flat_map(|within| &within.endpoints);
            let endpoints = endpoints.filter_map(|id| self.endpoints.get(id));
            self.translation.settle(namespace, endpoints, &mut step.draft);
        }
        step.undo.reverse();
    }

    /// Puts a subject under the policy that applies to it now.
    fn reassign(&mut self, subject: u32, step: &mut Step) {
        let selection = self.enforcement.selection(subject, &self.peers);
        if self.enforcement.is_under(subject, selection.as_ref()) {
            return;
        }
        if subject == HOST {
            self.touch_nodes(step);
        }
        for id in self.peers.residents(subject).collect::<Vec<_>>() {
            self.touch(id, step);
        }
        self.enforcement.assign(subject, selection.as_ref(), &mut self.peers.directory, &mut step.draft);
    }

    /// Notes the rows of an endpoint, before they change for the first time.
    pub(crate) fn touch(&self, id: u32, step: &mut Step) {
        if step.touched.insert(id) {
            step.draft.drop(self.endpoint_rows(id));
        }
    }

    /// The same for the rows of the node and of the other nodes.
    pub(crate) fn touch_nodes(&self, step: &mut Step) {
        if !std::mem::replace(&mut step.is_node_touched, true) {
            step.draft.drop(self.nodes_rows());
        }
    }

    /// The same for everyone whose address lies in the block.
    fn touch_within(&self, block: &Cidr, step: &mut Step) {
        let first = (block.address(), Owner::Endpoint(0));
        for (_, owner) in self.owners.range(first..).take_while(|(address, _)| block.contains(*address)) {
            match owner {
                Owner::Endpoint(id) => self.touch(*id, step),
                Owner::Node | Owner::RemoteNode(_) => self.touch_nodes(step),
            }
        }
    }

    /// The blocks for addresses inside the cluster that make a class after the change or did before, not both.
    fn changing_blocks(&self, before: Option<&Policy>, after: Option<&Policy>) -> Vec<Cidr> {
        let named = |policy: Option<&Policy>| {
            let mut times = BTreeMap::<Cidr, usize>::new();
            let blocks = policy.into_iter().flat_map(blocks_of).filter(|(_, side)| *side == Side::Inside);
            blocks.for_each(|(block, _)| *times.entry(block).or_default() += 1);
            times
        };
        let (before, after) = (named(before), named(after));
        let holders = |block: &Cidr| self.enforcement.blocks.holders(block, Side::Inside);
        let gone =
            before.iter().filter(|(block, times)| holders(block) <= **times && !after.contains_key(block));
        let new = after.iter().filter(|(block, _)| holders(block) == 0);
        gone.chain(new).map(|(block, _)| *block).collect()
    }

    fn relabel_namespace(&mut self, name: String, labels: BTreeMap<String, String>, step: &mut Step) {
        let known = self.namespaces.entry(name.clone()).or_default();
        if known.labels == labels {
            return;
        }
        let before = std::mem::replace(&mut known.labels, labels);
        for id in known.endpoints.clone() {
            self.touch(id, step);
            step.unsettled.insert(id);
        }
        step.undo.push(Change::Namespace { name, labels: before });
    }

    fn put_endpoint(&mut self, endpoint: Endpoint, step: &mut Step) {
        let id = endpoint.id;
        match self.endpoints.get(&id) {
            Some(before) if *before == endpoint => return,
            Some(before) => step.undo.push(Change::Endpoint(before.clone())),
            None => step.undo.push(Change::RemoveEndpoint(id)),
        }
        self.touch(id, step);
        self.disown(id, step);
        self.own(&endpoint.addresses, &Owner::Endpoint(id), step);
        self.namespaces.entry(endpoint.namespace.clone()).or_default().endpoints.insert(id);
        step.namespaces.insert(endpoint.namespace.clone());
        step.unsettled.insert(id);
        let labels = self.labels.intern(endpoint.labels);
        let named_ports = self.named_ports.intern(endpoint.named_ports);
        self.endpoints.insert(id, Endpoint { labels, named_ports, ..endpoint });
    }

    fn remove_endpoint(&mut self, id: u32, step: &mut Step) {
        self.touch(id, step);
        self.disown(id, step);
        if let Some(before) = self.endpoints.remove(&id) {
            self.peers.dismiss(id, &mut step.movement);
            step.undo.push(Change::Endpoint(before));
        }
    }

    /// Takes an endpoint out of its namespace, and its addresses from it.
    fn disown(&mut self, id: u32, step: &mut Step) {
        let Some(before) = self.endpoints.get(&id) else { return };
        if let Some(namespace) = self.namespaces.get_mut(&before.namespace) {
            namespace.endpoints.remove(&id);
        }
        step.namespaces.insert(before.namespace.clone());
        for address in before.addresses.clone() {
            self.release(address, Owner::Endpoint(id), step);
        }
    }

    /// Notes who has these addresses: no row of the world says anything of them any more.
    pub(crate) fn own(&mut self, addresses: &[IpAddr], owner: &Owner, step: &mut Step) {
        for address in addresses {
            step.draft.drop(self.world_row_of(*address));
            self.owners.insert((*address, owner.clone()));
        }
    }

    /// Notes that an address has left its owner.
    pub(crate) fn release(&mut self, address: IpAddr, owner: Owner, step: &mut Step) {
        self.owners.remove(&(address, owner));
        step.draft.put(self.world_row_of(address));
    }

    fn put_policy(&mut self, policy: Policy, step: &mut Step) {
        let id = policy.id.clone();
        match self.enforcement.policies.policy(&id) {
            Some(before) if **before == policy => return,
            Some(before) => step.undo.push(Change::Policy(Policy::clone(before))),
            None => step.undo.push(Change::RemovePolicy(id.clone())),
        }
        let before = self.enforcement.policies.apply(policy);
        let after = self.enforcement.policies.resolved(&id).cloned();
        self.follow_policy(before.as_deref(), after.as_deref(), step);
    }

    fn remove_policy(&mut self, id: &PolicyId, step: &mut Step) {
        let Some(before) = self.enforcement.policies.policy(id) else { return };
        step.undo.push(Change::Policy(Policy::clone(before)));
        let before = self.enforcement.policies.remove(id);
        self.follow_policy(before.as_deref(), None, step);
        self.enforcement.book.forget(id);
    }

    /// Takes note that a policy means something else: who it is about, and which blocks it names.
    pub(crate) fn follow_policy(&mut self, before: Option<&Policy>, after: Option<&Policy>, step: &mut Step) {
        for block in self.changing_blocks(before, after) {
            self.touch_within(&block, step);
        }
        for policy in [before, after].into_iter().flatten() {
            for spec in &policy.specs {
                match &spec.subject {
                    Subject::Nodes(_) => drop(step.subjects.insert(HOST)),
                    Subject::Workloads(selector) => {
                        step.subjects.extend(self.peers.directory.matching(selector))
                    }
                }
            }
        }
        // Inserted before the others are removed, so that a block of both keeps its class.
        let new = after.map(|after| self.enforcement.blocks.insert(after)).unwrap_or_default();
        let gone = before.map(|before| self.enforcement.blocks.remove(before)).unwrap_or_default();
        step.draft.drop(gone.iter().filter_map(|class| self.class_row(class)));
        let whole = gone.iter().filter(|class| class.block.length() == 0);
        step.draft.put(whole.filter_map(|class| self.family_row(class.block.address())));
        step.draft.put(new.iter().filter_map(|class| self.class_row(class)));
        step.draft.drop(gone.iter().flat_map(|class| self.enforcement.parts(class)));
        step.draft.put(new.iter().flat_map(|class| self.enforcement.parts(class)));
    }
}

/// A workload's labels, those of its namespace included.
fn labels(endpoint: &Endpoint, namespace: Option<&Namespace>) -> Labels {
    let namespace = namespace.map(|namespace| &namespace.labels).into_iter().flatten();
    Labels::of_workload(
        &endpoint.namespace,
        namespace.map(|(key, value)| (key.as_str(), value.as_str())),
        endpoint.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())),
    )
}
