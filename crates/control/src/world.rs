//! All that the agent knows of the node, and the rows that follow from it.

use crate::change::{Change, Endpoint, Node};
use crate::enforcement::{Assignment, Enforcement};
use crate::peers::{Movement, Peers};
use crate::translation::Translation;
use crate::writes::{Rows, Writes, between, with_epoch};
use abi::Address;
use abi::address::{AddressInfo, AddressKey};
use abi::config::{self, Config};
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::identity::{HOST, WORLD};
use abi::row::{MapOp, Row, RowKey};
use abi::service::{BackendInfo, ServiceKey};
use identity::{Allocator, Labels};
use policy::book::L7SetId;
use policy::cidr::Side;
use service::Service;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The world of one node.
#[derive(Clone, Debug, Default)]
pub struct World {
    node: Node,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    endpoints: BTreeMap<u32, Endpoint>,
    peers: Peers,
    enforcement: Enforcement,
    translation: Translation,
    assignments: BTreeMap<u32, Assignment>,
    /// The rows as the kernel has them once all writes so far are made.
    rows: Rows,
    config: Config,
    published_sets: BTreeSet<u32>,
}

impl World {
    /// A node with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A node whose maps hold these rows from before; the first change replaces what no longer holds. Identities are
    /// restored by whoever kept them.
    pub fn adopt(rows: impl IntoIterator<Item = Row>, identities: Allocator) -> Self {
        let mut world = Self::default();
        world.peers.identities = identities;
        for row in rows {
            match row {
                Row::Config(config) => world.config = config,
                Row::Endpoint(_, info) => world.enforcement.number_above(info.policy),
                Row::Verdict(key, verdict) => {
                    world.enforcement.number_above(key.policy);
                    world.enforcement.book.number_above(verdict.rule, verdict.l7);
                }
                Row::Class(key, _) => world.enforcement.number_above(key.policy),
                Row::Backend(key, _) => world.translation.number_above(key.backends),
                Row::Service(_, info) => world.translation.number_above(info.backends),
                Row::Address(..) | Row::CidrPart(..) => {}
            }
            if let Some(key) = row.key() {
                world.rows.insert(key, row);
            }
        }
        world
    }

    /// Notes what the maps really hold, where writes were made that failed half way.
    pub fn find(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.clear();
        for row in rows {
            match (row, row.key()) {
                // Never back to an epoch that flows may remember.
                (Row::Config(found), _) => {
                    self.config = Config { epoch: found.epoch.max(self.config.epoch), ..found };
                }
                (_, Some(key)) => drop(self.rows.insert(key, row)),
                (_, None) => {}
            }
        }
    }

    /// Gives no rule set a number up to this one: somebody may still remember what it stood for.
    pub fn number_rule_sets_above(&mut self, number: u32) {
        self.enforcement.book.number_above(0, number);
    }

    /// Applies changes that take effect together, and returns the writes that make them so.
    ///
    /// `later` of the writes that were returned before must have been made before `now` of these.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Writes {
        let mut movement = Movement::default();
        for change in changes {
            self.take(change, &mut movement);
        }
        self.admit_all(&mut movement);
        self.enforcement.follow(&movement, &self.peers);
        let members: Vec<_> =
            self.endpoints.keys().filter_map(|id| Some((*id, self.peers.member(*id)?.clone()))).collect();
        let members = members.iter().map(|(id, member)| (*id, member));
        self.assignments = self.enforcement.assign(members, &mut self.peers);
        self.translation.settle(self.endpoints.values());
        self.write()
    }

    /// The rows as they are once all writes so far are made.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// What holds for the whole node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The workloads by number.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    /// The workload with this name.
    pub fn endpoint(&self, namespace: &str, name: &str) -> Option<&Endpoint> {
        self.endpoints.values().find(|endpoint| endpoint.namespace == namespace && endpoint.name == name)
    }

    /// The workload that has this address.
    pub fn endpoint_at(&self, address: IpAddr) -> Option<&Endpoint> {
        self.endpoints.values().find(|endpoint| endpoint.addresses.contains(&address))
    }

    /// A workload's identity, security labels and named ports.
    pub fn party(&self, endpoint: &Endpoint) -> Option<policy::party::Party<'_>> {
        Some(self.peers.member(endpoint.id)?.party())
    }

    /// Identities in use.
    pub fn identities(&self) -> &Allocator {
        &self.peers.identities
    }

    /// Policies and the numbers of their rules.
    pub fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    /// The endpoint's row, which tells the policy in force.
    pub fn endpoint_row(&self, endpoint: &Endpoint) -> Option<EndpointInfo> {
        match self.rows.get(&RowKey::Endpoint(EndpointKey { interface: endpoint.interface.index })) {
            Some(Row::Endpoint(_, info)) => Some(*info),
            _ => None,
        }
    }

    /// The services.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.translation.services()
    }

    /// Each service address and port with its backends.
    pub fn frontends(&self) -> impl Iterator<Item = (&ServiceKey, &[BackendInfo])> {
        self.translation.frontends()
    }

    fn take(&mut self, change: Change, movement: &mut Movement) {
        match change {
            Change::Namespace { name, labels } => {
                self.namespaces.insert(name, labels);
            }
            Change::RemoveNamespace(name) => {
                self.namespaces.remove(&name);
            }
            Change::Endpoint(endpoint) => {
                self.endpoints.insert(endpoint.id, endpoint);
            }
            Change::RemoveEndpoint(id) => {
                self.endpoints.remove(&id);
                self.peers.dismiss(id, movement);
            }
            Change::Policy(policy) => self.enforcement.put(policy),
            Change::RemovePolicy(id) => self.enforcement.remove(&id),
            Change::Service(service) => self.translation.put(service),
            Change::RemoveService { namespace, name } => self.translation.remove(namespace, name),
            Change::Node(node) => self.node = node,
        }
    }

    fn admit_all(&mut self, movement: &mut Movement) {
        let none = BTreeMap::new();
        for endpoint in self.endpoints.values() {
            let namespace = self.namespaces.get(&endpoint.namespace).unwrap_or(&none);
            let pairs = |map: &'_ BTreeMap<String, String>| -> Vec<(String, String)> {
                map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
            };
            let (namespace, own) = (pairs(namespace), pairs(&endpoint.labels));
            let labels = Labels::of_workload(
                &endpoint.namespace,
                namespace.iter().map(|(key, value)| (key.as_str(), value.as_str())),
                own.iter().map(|(key, value)| (key.as_str(), value.as_str())),
            );
            self.peers.admit(endpoint, &labels, movement);
        }
    }

    fn write(&mut self) -> Writes {
        let wanted = self.wanted();
        let (mut now, later) = between(&self.rows, &wanted);
        let config = Config { epoch: self.config.epoch, ..self.wanted_config() };
        if config != self.config || now.iter().chain(&later).any(concerns_flows) {
            self.config = Config { epoch: self.config.epoch.wrapping_add(1), ..config };
            now.push(with_epoch(self.config, self.config.epoch));
        }
        self.rows = wanted;
        let named: BTreeSet<u32> = self.enforcement.book().sets().map(|(set, _)| set.0).collect();
        let rule_sets = named.difference(&self.published_sets).filter_map(|&set| {
            let rules = self.enforcement.book().set(L7SetId(set))?;
            Some((set, rules.iter().cloned().collect()))
        });
        let rule_sets = rule_sets.collect();
        let dead_rule_sets = self.published_sets.difference(&named).copied().collect();
        self.published_sets = named;
        Writes { rule_sets, now, later, dead_rule_sets }
    }

    fn wanted(&self) -> Rows {
        let mut rows = Rows::new();
        let all = self
            .world_rows()
            .chain(self.node_rows())
            .chain(self.endpoints.values().flat_map(|endpoint| self.endpoint_rows(endpoint)))
            .chain(self.enforcement.rows())
            .chain(self.translation.rows());
        rows.extend(all.filter_map(|row| Some((row.key()?, row))));
        rows
    }

    /// Whatever no other row names is the world. IPv4 has its own row, so that a block of IPv6 that happens to hold
    /// the mapped addresses says nothing of them.
    fn world_rows(&self) -> impl Iterator<Item = Row> {
        let world = |key, cidr| {
            Row::Address(key, AddressInfo { identity: WORLD, peer: WORLD, cidr, ..AddressInfo::default() })
        };
        let all = AddressKey { prefix_bits: 0, address: Address::default() };
        let v4 = AddressKey { prefix_bits: Address::V4_PREFIX_BITS, address: Address::from_v4([0, 0, 0, 0]) };
        let blocks = self.enforcement.blocks.world_rows();
        [(all, 0), (v4, 0)].into_iter().chain(blocks).map(move |(key, cidr)| world(key, cidr))
    }

    fn node_rows(&self) -> impl Iterator<Item = Row> {
        self.node.addresses.iter().map(|&address| {
            let cidr = self.enforcement.blocks.class_of(address, Side::Inside);
            let info = AddressInfo { identity: HOST, peer: HOST, cidr, ..AddressInfo::default() };
            Row::Address(AddressKey::host(address.into()), info)
        })
    }

    fn endpoint_rows(&self, endpoint: &Endpoint) -> Vec<Row> {
        let (Some(member), Some(assignment)) =
            (self.peers.member(endpoint.id), self.assignments.get(&endpoint.id))
        else {
            return Vec::new();
        };
        let of_family = |v4: bool| endpoint.addresses.iter().find(|address| address.is_ipv4() == v4);
        let info = EndpointInfo {
            id: endpoint.id,
            identity: member.identity,
            policy: assignment.policy,
            flags: assignment.flags,
            v4: of_family(true).map_or_else(Address::default, |address| (*address).into()),
            v6: of_family(false).map_or_else(Address::default, |address| (*address).into()),
            mac: endpoint.interface.mac,
            host_mac: endpoint.interface.host_mac,
            padding: [0; 4],
        };
        let addresses = endpoint.addresses.iter().map(|&address| {
            let info = AddressInfo {
                identity: member.identity,
                peer: member.peer,
                cidr: self.enforcement.blocks.class_of(address, Side::Inside),
                interface: endpoint.interface.index,
                mac: endpoint.interface.mac,
                padding: [0; 2],
            };
            Row::Address(AddressKey::host(address.into()), info)
        });
        let row = Row::Endpoint(EndpointKey { interface: endpoint.interface.index }, info);
        addresses.chain([row]).collect()
    }

    fn wanted_config(&self) -> Config {
        let (proxy_interface, proxy_port) =
            self.node.proxy.map_or((0, [0; 2]), |proxy| (proxy.interface, proxy.port.to_be_bytes()));
        let flags = if self.node.report_forwards { config::flag::REPORT_FORWARDS } else { 0 };
        Config { proxy_interface, proxy_port, flags, ..Config::default() }
    }
}

/// Whether a write can change what is allowed on a flow that is remembered.
fn concerns_flows(write: &MapOp) -> bool {
    let key = match write {
        MapOp::Put(row) => row.key(),
        MapOp::Delete(key) => Some(*key),
    };
    !matches!(key, Some(RowKey::Service(_) | RowKey::Backend(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Interface;
    use abi::endpoint::flag;
    use identity::{Operator, Selector, Source};
    use policy::rule::{
        Action, Direction, Kind, Peer, Peers as RulePeers, Policy, PolicyId, Rule, Spec, Subject, Tier,
        Traffic,
    };

    fn endpoint(id: u32, app: &str) -> Change {
        Change::Endpoint(Endpoint {
            id,
            namespace: "default".into(),
            name: format!("{app}-{id}"),
            labels: BTreeMap::from([("app".into(), app.into())]),
            addresses: vec![format!("10.0.0.{id}").parse().unwrap()],
            named_ports: BTreeMap::new(),
            interface: Interface { index: 100 + id, ..Interface::default() },
        })
    }

    fn app(name: &str) -> Selector {
        Selector::default().with(Some(Source::K8s), "app", Operator::equals(name))
    }

    fn allow(name: &str, to: &str, from: &str) -> Change {
        let rule = Rule {
            place: "spec.ingress[0]".into(),
            direction: Direction::Ingress,
            priority: 0,
            action: Action::Allow,
            peers: RulePeers::Of(vec![Peer::Labels(app(from))]),
            traffic: Traffic::Any,
        };
        let spec = Spec {
            subject: Subject::Workloads(app(to)),
            tier: Tier::Normal,
            log: None,
            default_deny_ingress: true,
            default_deny_egress: false,
            rules: vec![rule],
        };
        let id = PolicyId { kind: Kind::NetworkPolicy, namespace: Some("default".into()), name: name.into() };
        Change::Policy(Policy { id, specs: vec![spec] })
    }

    fn info(world: &World, id: u32) -> EndpointInfo {
        world.endpoint_row(&world.endpoints[&id]).unwrap()
    }

    fn classes_of(world: &World, policy: u32) -> usize {
        let of_policy = |key: &&RowKey| matches!(key, RowKey::Class(key) if key.policy == policy);
        world.rows().keys().filter(of_policy).count()
    }

    #[test]
    fn a_policy_switches_its_subject_and_nobody_else() {
        let mut world = World::new();
        world.apply([endpoint(1, "web"), endpoint(2, "client")]);
        let before = (info(&world, 1), info(&world, 2));
        let writes = world.apply([allow("a", "web", "client")]);
        assert_ne!(info(&world, 1).policy, before.0.policy);
        assert_eq!(info(&world, 1).flags, flag::ENFORCE_INGRESS);
        assert_eq!(info(&world, 2), before.1);
        let switches = writes.now.iter().filter(|op| matches!(op, MapOp::Put(Row::Endpoint(..)))).count();
        assert_eq!(switches, 1);
        let last = writes.now.last();
        assert!(matches!(last, Some(MapOp::Put(Row::Config(_)))), "flows are checked again: {last:?}");
    }

    #[test]
    fn a_new_peer_adds_rows_under_the_same_policy_number() {
        let mut world = World::new();
        world.apply([endpoint(1, "web"), allow("a", "web", "client")]);
        let policy = info(&world, 1).policy;
        let before = classes_of(&world, policy);
        let writes = world.apply([endpoint(2, "client")]);
        assert_eq!(info(&world, 1).policy, policy);
        assert_eq!(classes_of(&world, policy), before + 1);
        assert!(writes.later.is_empty());
        world.apply([Change::RemoveEndpoint(2)]);
        assert_eq!(classes_of(&world, policy), before);
    }

    #[test]
    fn workloads_of_one_identity_share_a_policy() {
        let mut world = World::new();
        world.apply([endpoint(1, "web"), endpoint(2, "web"), endpoint(3, "db"), allow("a", "web", "client")]);
        assert_eq!(info(&world, 1).policy, info(&world, 2).policy);
        assert_ne!(info(&world, 1).policy, info(&world, 3).policy);
    }

    #[test]
    fn what_was_in_the_maps_before_a_restart_is_replaced_under_new_numbers() {
        let mut world = World::new();
        world.apply([endpoint(1, "web"), allow("a", "web", "client")]);
        let old = info(&world, 1).policy;
        let mut restarted = World::adopt(world.rows().values().copied(), world.identities().clone());
        let writes = restarted.apply([endpoint(1, "web"), allow("a", "web", "client")]);
        assert!(info(&restarted, 1).policy > old);
        assert!(writes.later.iter().all(|op| matches!(op, MapOp::Delete(_))));
        assert_eq!(classes_of(&restarted, old), 0);
    }

    #[test]
    fn nothing_is_written_for_a_change_that_changes_nothing() {
        let mut world = World::new();
        world.apply([endpoint(1, "web")]);
        assert_eq!(world.apply([endpoint(1, "web")]), Writes::default());
    }
}
