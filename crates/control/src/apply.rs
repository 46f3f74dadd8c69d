//! Applies changes: each marks what it touches, and the step then settles rank by rank.

use crate::change::{Change, LAST_ENDPOINT, NODE};
use crate::footprint::Footprint;
use crate::ledger::RowSubject;
use crate::planner::{plan, plan_all};
use crate::step::Step;
use crate::world::World;
use crate::writes::{Writes, concern_flows};
use abi::Address;
use abi::address::AddressInfo;
use abi::batch::Batch;
use abi::config::{self, Config};
use abi::endpoint;
use abi::identity::{HOST, is_workload};
use abi::masquerade::MasqueradeConfig;
use abi::row::Row;
use enforcement::Rows;
use policy::book::{L7SetId, SetChanges};
use service::ServiceName;

impl World {
    /// Applies changes that take effect together, and returns the writes that make them so.
    ///
    /// The caller must make `later` and `last` of the previous writes before `now` of these, unless
    /// [`WaitingStep::admits`](crate::WaitingStep::admits) that they wait.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Writes {
        let mut step = match &self.found {
            Some(_) => Step::comparing_all(),
            None => Step::in_room(std::mem::take(&mut self.room)),
        };
        for change in changes {
            self.take(change, &mut step);
        }
        self.settle(&mut step);
        // A start does not know whether the epoch rose after the last write of before.
        step.judges_anew |= self.found.is_some();
        let (now, [later, last], footprint) = match self.found.take() {
            Some(found) => self.replace_found(found, &mut step),
            None => self.replace_own(&mut step),
        };
        let Step { mut undo, renamed, rows, judges_anew, .. } = step;
        self.room = rows.into_room();
        undo.reverse();
        let mut writes = Writes { now, later, last, footprint, undo, renamed, ..Writes::default() };
        self.finish(&mut writes, judges_anew);
        writes
    }

    /// Applies one change to the state, and marks what it touches.
    fn take(&mut self, change: Change, step: &mut Step) {
        let undo = match change {
            Change::Namespace { name, labels } => self.relabel_namespace(name, labels, step),
            Change::RemoveNamespace(name) => self.relabel_namespace(name, Default::default(), step),
            Change::Endpoint(endpoint) => self.put_endpoint(endpoint, step),
            Change::RemoveEndpoint(id) => self.remove_endpoint(id, step),
            Change::RemoteWorkload(remote) => self.put_remote_workload(remote, step),
            Change::RemoveRemoteWorkload { namespace, name } => {
                self.remove_remote_workload(&namespace, &name, step)
            }
            Change::Policy(policy) => self.put_policy(policy, step),
            Change::RemovePolicy(id) => self.remove_policy(&id),
            Change::Service(service) => self.put_service(*service, step),
            Change::RemoveService { namespace, name } => {
                self.remove_service(&ServiceName { namespace, name })
            }
            Change::EndpointSlices { namespace, service, list, slices } => {
                self.put_slices(ServiceName { namespace, name: service }, list, slices, step)
            }
            Change::CidrGroup { name, group } => self.put_group(name, group),
            Change::RemoveCidrGroup(name) => self.remove_group(name),
            Change::Names { address, names } => self.put_names(address, names, step),
            Change::Identity { number, labels } => Some(self.assign_identity(number, Some(labels), step)),
            Change::RemoveIdentity(number) => Some(self.assign_identity(number, None, step)),
            Change::Node(node) => self.put_node(*node, step),
            Change::RemoteNode(node) => self.put_remote_node(*node, step),
            Change::RemoveRemoteNode(name) => self.remove_remote_node(&name, step),
        };
        step.undo.extend(undo);
    }

    /// Settles what the changes marked: workloads get peers, peers move to groups, subjects to policies,
    /// services get backends, and then rows are computed.
    fn settle(&mut self, step: &mut Step) {
        self.settle_workloads(step);
        let Self { enforcement, peers, .. } = self;
        for subject in enforcement.settle(|peer| peers.is_subject(peer), &mut step.rows) {
            let node = (subject == HOST).then_some(NODE);
            peers.residents(subject).chain(node).for_each(|id| step.mark(RowSubject::Endpoint(id)));
        }
        for switch in self.services.settle() {
            // An established flow to the frontend's address is not looked up among the services.
            step.judges_anew |= switch.before.is_none() && switch.after.is_some();
            step.rows.remove(switch.before.iter().flat_map(|set| set.rows(switch.frontend)));
            step.rows.put(switch.after.iter().flat_map(|set| set.rows(switch.frontend)));
        }
        self.settle_rows(step);
    }

    /// Gives workloads the peers that their labels and ports make them.
    fn settle_workloads(&mut self, step: &mut Step) {
        self.leave_peers(step);
        let workloads: Vec<u32> = std::mem::take(&mut step.workloads).into_iter().collect();
        workloads.iter().for_each(|id| self.mark_workload(*id, step));
        for arrival in self.arrivals(&workloads) {
            let endpoints = arrival.endpoints.clone();
            self.peers.admit(arrival, &mut self.enforcement);
            let peers = endpoints.into_iter().filter_map(|id| self.peers.of(id));
            peers.for_each(|(peer, _)| self.enforcement.mark(peer));
        }
    }

    /// Notes the peers that marked addresses leave: the rows of the addresses name these peers until they are written. A peer
    /// that is left gets no other labels under its number, or packets of the address were judged by them.
    fn leave_peers(&mut self, step: &Step) {
        for address in step.marked_addresses() {
            let Some(AddressInfo { peer, .. }) = self.ledger.addresses().get(&address) else { continue };
            let holder = self.workload_at(address.address()).and_then(|id| self.peers.of(id));
            if is_workload(*peer) && holder.is_none_or(|(now, _)| now != *peer) {
                self.enforcement.leave_peer(*peer);
            }
        }
    }

    /// Marks the rows that contain the identity of a workload.
    pub(crate) fn mark_workload(&self, id: u32, step: &mut Step) {
        let Some(workload) = self.workload(id) else { return };
        workload.addresses.iter().for_each(|address| step.mark_address(*address));
        step.renamed.workloads.insert(id);
        if id <= LAST_ENDPOINT {
            step.mark(RowSubject::Endpoint(id));
        }
    }

    /// Reports the marked rows that differ from the ledger.
    fn settle_rows(&mut self, step: &mut Step) {
        self.mark_blocks(step);
        let marked = step.take_marked_rows();
        let mut put = Vec::with_capacity(marked.len());
        for subject in marked {
            let now = self.entry_of(subject);
            let before = self.ledger.enter(now);
            if before != now {
                step.rows.remove(before.row());
                put.extend(now.row());
            }
        }
        // A key may pass from one subject to another: the interface of a workload that another workload replaces.
        step.rows.put(put);
    }

    /// The writes that replace what this world itself wrote.
    fn replace_own(&mut self, step: &mut Step) -> (Batch, [Batch; 2], Footprint) {
        let (now, unreachable, mut footprint) = plan(step.rows.changes(), &mut self.named);
        let later = self.without_released_blocks(unreachable, &mut footprint, step);
        (now, later, footprint)
    }

    /// The writes that replace the rows that were found in the maps.
    fn replace_found(&mut self, found: Rows, step: &mut Step) -> (Batch, [Batch; 2], Footprint) {
        self.ledger = self.row_subjects().map(|subject| self.entry_of(subject)).collect();
        let rows = self.ledger.rows().chain(self.reported_rows());
        let (now, later, named) = plan_all(found, rows);
        self.named = named;
        self.peers.forget_restored();
        let mut footprint = Footprint::of_everything();
        let later = self.without_released_blocks(later, &mut footprint, step);
        (now, later, footprint)
    }

    /// The writes after the grace time and the writes after another grace time, with the removal of released blocks. A block
    /// is removed once no packet reads the policies that named it, and its parent row once no packet has its class.
    fn without_released_blocks(
        &mut self,
        unreachable: Batch,
        footprint: &mut Footprint,
        step: &mut Step,
    ) -> [Batch; 2] {
        if !self.enforcement.release_blocks() {
            return [unreachable, Batch::new()];
        }
        step.rows = std::mem::take(&mut step.rows).into_room();
        self.settle_rows(step);
        let (mut later, last, _) = plan(step.rows.changes(), &mut self.named);
        if !later.is_empty() || !last.is_empty() {
            footprint.note_blocks();
        }
        later.append(unreachable);
        [later, last]
    }

    /// Adds the rule sets, and the configuration. A new epoch in the configuration makes the packet path evaluate policy again
    /// for known flows: if the step demands it, or a write may change their verdicts or ways.
    fn finish(&mut self, writes: &mut Writes, judges_anew: bool) {
        let config = Config { epoch: self.config.epoch, ..self.wanted_config() };
        let is_other = judges_anew || config != self.config;
        if is_other || [&writes.now, &writes.later].into_iter().any(concern_flows) {
            self.config = Config { epoch: self.config.epoch.wrapping_add(1), ..config };
            writes.now.put(&Row::Config(self.config));
        }
        let SetChanges { added, removed } = self.enforcement.take_set_changes();
        let rules_of = |set: L7SetId| Some((set.0, self.registry().book.set(set)?.iter().cloned().collect()));
        writes.rule_sets = added.into_iter().filter_map(rules_of).collect();
        writes.dead_rule_sets = removed.into_iter().map(|set| set.0).collect();
        self.peers.identities.end_step();
    }

    fn wanted_config(&self) -> Config {
        let (proxy_interface, proxy_port) =
            self.node.proxy.map_or((0, [0; 2]), |proxy| (proxy.interface, proxy.port.to_be_bytes()));
        let is_node_open = self.node_row().is_none_or(|row| row.flags & endpoint::flag::ENFORCE == 0);
        let open = if is_node_open { config::flag::NODE_OPEN } else { 0 };
        let masquerade = self.masquerade();
        let masquerades = if masquerade.is_some() { config::flag::MASQUERADE } else { 0 };
        let host_ports = if self.host_ports > 0 { config::flag::HOST_PORTS } else { 0 };
        let flags = self.node.monitor_aggregation.flags() | open | masquerades | host_ports;
        let masquerade = masquerade.unwrap_or_default();
        Config { proxy_interface, proxy_port, flags, masquerade, ..Config::default() }
    }

    /// Whether packets between workloads and outside get other addresses.
    pub fn translates_outside(&self) -> bool {
        self.masquerade().is_some() || self.host_ports > 0
    }

    /// Whether ports of the node lead to workloads.
    pub fn has_host_ports(&self) -> bool {
        self.host_ports > 0
    }

    /// What the packet path masquerades with; nothing on a node without workloads.
    pub(crate) fn masquerade(&self) -> Option<MasqueradeConfig> {
        let masquerade = self.node.masquerade.as_ref().filter(|_| !self.endpoints.is_empty())?;
        let of_family = |is_v4: bool| masquerade.addresses.iter().find(|address| address.is_ipv4() == is_v4);
        let [v4, v6] = [true, false]
            .map(|is_v4| of_family(is_v4).map_or_else(Address::default, |found| (*found).into()));
        let (first, last) = (*masquerade.ports.start(), *masquerade.ports.end());
        Some(MasqueradeConfig { v4, v6, first_port: first, ports: (last - first).saturating_add(1) })
    }
}
