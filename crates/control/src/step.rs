//! One application of changes: what they touch, and how the world settles around them.

use crate::change::{Change, Endpoint};
use crate::enforcement::{Enforcement, Reassignment};
use crate::peer_changes::PeerChanges;
use crate::peers::Arrival;
use crate::world::{Owner, World};
use crate::writes::{Draft, Renamed, Room};
use abi::identity::HOST;
use abi::row::Row;
use foldhash::HashMap;
use identity::{Labels, Source, filter, key};
use policy::cidr::{AddressSide, BlockChanges, CidrClass, blocks_of};
use policy::compiled_rule::Numbers;
use policy::endpoint_view::NamedPorts;
use policy::rule::{Cidr, Policy, PolicyId, Protocol, Subject};
use service::ServiceName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What some changes touch.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) draft: Draft,
    /// What becomes of the rows once no packet is judged by what was in force before.
    pub(crate) late: Draft,
    /// Policies as they were before, whose blocks are still in force.
    replaced_policies: Vec<Policy>,
    /// Addresses outside of which nothing is known any more, and which still have classes of their own.
    pub(crate) forgotten: Vec<IpAddr>,
    pub(crate) undo: Vec<Change>,
    pub(crate) renamed: Renamed,
    pub(crate) peer_changes: PeerChanges,
    /// Endpoints whose rows may change; as they were, they are in the draft.
    touched: BTreeSet<u32>,
    /// The same of addresses of nodes, and whether it goes for the node's own row.
    touched_addresses: BTreeSet<IpAddr>,
    is_node_touched: bool,
    /// Endpoints whose labels or ports may change.
    pub(crate) unsettled: BTreeSet<u32>,
    /// Peer numbers that other policies may apply to now.
    pub(crate) subjects: BTreeSet<u32>,
}

impl Step {
    /// A step that has room for its notes.
    pub(crate) fn in_room(room: Room) -> Self {
        Self { draft: Draft::in_room(room), ..Self::default() }
    }

    /// A step after which all rows are compared, so that none needs to be noted on the way.
    pub(crate) fn moot() -> Self {
        Self { draft: Draft::moot(), late: Draft::moot(), ..Self::default() }
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
            Change::Service(service) => self.put_service(*service, step),
            Change::RemoveService { namespace, name } => {
                self.remove_service(&ServiceName { namespace, name }, step)
            }
            Change::EndpointSlices { namespace, service, list, slices } => {
                self.put_slices(&ServiceName { namespace, name: service }, list, slices, step);
            }
            Change::CidrGroup { name, group } => self.put_group(name, group, step),
            Change::RemoveCidrGroup(name) => self.remove_group(name, step),
            Change::Names { address, names } => self.put_names(address, names, step),
            Change::Node(node) => self.put_node(*node, step),
            Change::RemoteNode(node) => self.put_remote_node(*node, step),
            Change::RemoveRemoteNode(name) => self.remove_remote_node(&name, step),
        }
    }

    /// Lets everything that the changes touch follow from them.
    pub(crate) fn settle(&mut self, step: &mut Step) {
        step.renamed.endpoints.extend(&step.unsettled);
        for arrival in self.arrivals(std::mem::take(&mut step.unsettled)) {
            let endpoints = arrival.endpoints.clone();
            self.peers.admit(arrival, &mut step.peer_changes);
            let peers = endpoints.into_iter().filter_map(|id| self.peers.of(id));
            step.subjects.extend(peers.map(|(peer, _)| peer));
        }
        let peer_changes = std::mem::take(&mut step.peer_changes);
        self.enforcement.follow(&peer_changes, &self.peers, &mut step.draft);
        step.subjects.extend(peer_changes.removed.keys().chain(peer_changes.added.keys()));
        let subjects = std::mem::take(&mut step.subjects);
        let reassignments: Vec<Reassignment> =
            subjects.into_iter().filter_map(|subject| self.reassignment(subject, step)).collect();
        self.enforcement.assign(
            reassignments,
            &peer_changes.left,
            &mut self.peers.directory,
            &mut step.draft,
        );
        self.enforcement.retire(&mut self.peers.directory, &mut step.draft);
        for id in &step.touched {
            step.draft.put(self.endpoint_rows(*id));
        }
        step.draft.put(step.touched_addresses.iter().filter_map(|address| self.node_address_row(*address)));
        if step.is_node_touched {
            step.draft.put(self.node_endpoint_row());
        }
        self.translation.settle(&mut step.draft);
        step.undo.reverse();
    }

    /// These endpoints, together with those that policies see alike.
    fn arrivals(&self, endpoints: BTreeSet<u32>) -> Vec<Arrival> {
        let mut arrivals: Vec<Arrival> = Vec::new();
        // Labels and ports that are the same value need not be looked at again.
        let mut known: HashMap<_, usize> = HashMap::default();
        let mut alike: HashMap<_, usize> = HashMap::default();
        let mut around: HashMap<&str, Arc<Labels>> = HashMap::default();
        let mut ports: HashMap<_, NamedPorts> = HashMap::default();
        for endpoint in endpoints.iter().filter_map(|id| self.endpoint_of(*id)) {
            let its_ports = Arc::as_ptr(&endpoint.named_ports);
            let key = (&*endpoint.namespace, Arc::as_ptr(&endpoint.labels), its_ports);
            let place = *known.entry(key).or_insert_with(|| {
                let around = around.entry(&endpoint.namespace);
                let around = around.or_insert_with(|| Arc::new(self.labels_of(&endpoint.namespace))).clone();
                // Policies see what identities are made of, on both ends.
                let labels = Arc::new(filter::relevant(labels(endpoint, &around)));
                let ports = ports.entry(its_ports).or_insert_with(|| named_ports(endpoint)).clone();
                *alike.entry((labels.clone(), ports.clone())).or_insert_with(|| {
                    arrivals.push(Arrival {
                        labels,
                        ports,
                        endpoints: BTreeSet::new(),
                        namespace: endpoint.namespace.clone(),
                        namespace_labels: around,
                        addresses: Vec::new(),
                    });
                    arrivals.len() - 1
                })
            });
            arrivals[place].endpoints.insert(endpoint.id);
            arrivals[place].addresses.extend(&endpoint.addresses);
        }
        arrivals
    }

    /// The labels of a workload of this namespace that has none of its own.
    fn labels_of(&self, namespace: &str) -> Labels {
        let labels = self.namespaces.get(namespace).into_iter().flat_map(|namespace| &namespace.labels);
        let labels = labels.map(|(key, value)| (key.as_str(), value.as_str()));
        let mut labels = Labels::of_namespace(namespace, labels);
        if let Some(cluster) = &self.node.cluster {
            labels.insert(Source::K8s, key::CLUSTER, cluster);
        }
        labels
    }

    /// What applies to a subject now, if it is another policy; its rows are noted.
    fn reassignment(&self, subject: u32, step: &mut Step) -> Option<Reassignment> {
        let selection = self.enforcement.selection(subject, &self.peers);
        let selection = selection.map(|selection| (selection.key(), selection));
        if self.enforcement.is_under(subject, selection.as_ref().map(|(key, _)| key)) {
            return None;
        }
        if subject == HOST {
            self.touch_node(step);
        }
        for id in self.peers.residents(subject).collect::<Vec<_>>() {
            self.touch(id, step);
        }
        Some((subject, selection))
    }

    /// Notes the rows of an endpoint, before they change for the first time.
    pub(crate) fn touch(&self, id: u32, step: &mut Step) {
        if step.touched.insert(id) {
            step.draft.drop(self.endpoint_rows(id));
        }
    }

    /// The same for the node's own row.
    pub(crate) fn touch_node(&self, step: &mut Step) {
        if !std::mem::replace(&mut step.is_node_touched, true) {
            step.draft.drop(self.node_endpoint_row());
        }
    }

    /// The same for addresses that nodes have, or come to have.
    pub(crate) fn touch_addresses(&self, addresses: &[IpAddr], step: &mut Step) {
        for address in addresses {
            if step.touched_addresses.insert(*address) {
                step.draft.drop(self.node_address_row(*address));
            }
        }
    }

    /// The same for everyone whose address lies in the block.
    fn touch_within(&self, block: &Cidr, step: &mut Step) {
        for (address, owner) in self.owners_within(block) {
            match owner {
                Owner::Endpoint(id) => self.touch(*id, step),
                Owner::Node | Owner::RemoteNode(_) => self.touch_addresses(&[*address], step),
            }
        }
    }

    /// The addresses in the block that somebody has.
    fn owners_within(&self, block: &Cidr) -> impl Iterator<Item = &(IpAddr, Owner)> {
        let first = (block.address(), Owner::Endpoint(0));
        self.owners.range(first..).take_while(move |(address, _)| block.contains(*address))
    }

    /// The row of somebody's address; of an endpoint, its other rows too.
    fn rows_of(&self, (address, owner): &(IpAddr, Owner)) -> Vec<Row> {
        match owner {
            Owner::Endpoint(id) => self.endpoint_rows(*id).collect(),
            Owner::Node | Owner::RemoteNode(_) => self.node_address_row(*address).into_iter().collect(),
        }
    }

    /// The policy's blocks for addresses inside the cluster, and how many times it names each.
    fn held_by(&self, policy: Option<&Policy>) -> BTreeMap<Cidr, usize> {
        let mut times = BTreeMap::<Cidr, usize>::new();
        let blocks = policy.into_iter().flat_map(blocks_of).filter(|(_, side)| *side == AddressSide::Inside);
        blocks.for_each(|(block, _)| *times.entry(block).or_default() += 1);
        times
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

    fn put_endpoint(&mut self, mut endpoint: Box<Endpoint>, step: &mut Step) {
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
        step.unsettled.insert(id);
        endpoint.labels = self.labels.intern(endpoint.labels);
        endpoint.named_ports = self.named_ports.intern(endpoint.named_ports);
        self.translation.put_workload(&endpoint);
        self.endpoints.insert(id, endpoint);
    }

    fn remove_endpoint(&mut self, id: u32, step: &mut Step) {
        self.touch(id, step);
        self.disown(id, step);
        self.translation.remove_workload(id);
        if let Some(before) = self.endpoints.remove(&id) {
            self.peers.dismiss(id, &mut step.peer_changes);
            step.undo.push(Change::Endpoint(before));
        }
    }

    /// Takes an endpoint out of its namespace, and its addresses from it.
    fn disown(&mut self, id: u32, step: &mut Step) {
        let Some(before) = self.endpoints.get(&id) else { return };
        if let Some(namespace) = self.namespaces.get_mut(&before.namespace) {
            namespace.endpoints.remove(&id);
        }
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
        step.renamed.policies.insert(id.clone());
        match self.enforcement.policies.policy(&id) {
            Some(before) if **before == policy => return,
            Some(before) => step.undo.push(Change::Policy(Policy::clone(before))),
            None => step.undo.push(Change::RemovePolicy(id.clone())),
        }
        let Enforcement { policies, book, .. } = &mut self.enforcement;
        let before = policies.apply(policy, &mut Numbers { directory: &mut self.peers.directory, book });
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
        for block in self.held_by(after).keys() {
            if self.enforcement.blocks.holders(block, AddressSide::Inside) == 0 {
                self.touch_within(block, step);
            }
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
        // The blocks of before stay until no packet is judged by the policy of before: see `Self::release_blocks`.
        if let Some(after) = after {
            let changes = self.enforcement.blocks.insert(after);
            self.put_block_changes(&changes, &mut step.draft);
        }
        step.replaced_policies.extend(before.cloned());
    }

    /// Takes blocks out of force that no policy names any more, once every endpoint is under its new policy.
    pub(crate) fn release_blocks(&mut self, step: &mut Step) {
        let mut draft = std::mem::take(&mut step.late);
        for policy in std::mem::take(&mut step.replaced_policies) {
            let holders = self.held_by(Some(&policy));
            let gone = holders.iter().filter(|(block, times)| {
                self.enforcement.blocks.holders(block, AddressSide::Inside) <= **times
            });
            let owners: BTreeSet<_> =
                gone.flat_map(|(block, _)| self.owners_within(block)).cloned().collect();
            let rows =
                |world: &Self| -> Vec<Row> { owners.iter().flat_map(|owner| world.rows_of(owner)).collect() };
            draft.drop(rows(self));
            let changes = self.enforcement.blocks.remove(&policy);
            self.put_block_changes(&changes, &mut draft);
            draft.put(rows(self));
        }
        for address in std::mem::take(&mut step.forgotten) {
            let changes = self.enforcement.blocks.remove_address(address);
            self.put_block_changes(&changes, &mut draft);
        }
        step.late = draft;
    }

    /// Follows a change of the blocks in force with the rows of their classes.
    pub(crate) fn put_block_changes(
        &self,
        BlockChanges { came, moved, gone }: &BlockChanges,
        draft: &mut Draft,
    ) {
        draft.drop(gone.iter().filter_map(|class| self.class_row(class)));
        let whole = gone.iter().filter(|class| class.block.length() == 0);
        draft.put(whole.filter_map(|class| self.family_row(class.block.address())));
        draft.put(came.iter().filter_map(|class| self.class_row(class)));
        draft.drop(
            gone.iter().chain(moved.iter().map(|(before, _)| before)).filter_map(CidrClass::parent_row),
        );
        draft.put(came.iter().chain(moved.iter().map(|(_, now)| now)).filter_map(CidrClass::parent_row));
    }
}

/// A workload's labels, with those around it in its namespace.
fn labels(endpoint: &Endpoint, around: &Labels) -> Labels {
    around.with_own(endpoint.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// The workload's named ports as policy sees them.
fn named_ports(endpoint: &Endpoint) -> NamedPorts {
    let mut ports = NamedPorts::default();
    for ((name, number), port) in endpoint.named_ports.iter() {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            if protocol.numbers().contains(number) {
                ports.insert(name, protocol, *port);
            }
        }
    }
    ports
}
