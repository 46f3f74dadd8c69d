//! All that the agent knows of the node, and the rows that follow from it.

use crate::change::{Endpoint, LAST_ENDPOINT, Node, RemoteNode, RemoteWorkload, Workload};
use crate::found_blocks::FoundBlock;
use crate::ledger::Ledger;
use crate::peers::{KnownNode, Peers};
use crate::planner::Named;
use crate::translation::Translation;
use crate::writes::Rows;
use abi::config::Config;
use abi::endpoint::EndpointInfo;
use abi::row::Row;
use abi::service::{BackendInfo, ServiceKey};
use enforcement::Enforcement;
use identity::{Allocator, Interned, Sequence};
use policy::cidr::AddressSide;
use policy::rule::Cidr;
use service::{Service, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Who has an address; it may be several for a moment, and by mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// A workload of this node or of another, by its number.
    Workload(u32),
    /// This node.
    Node,
    /// Another node, by its name.
    RemoteNode(Arc<str>),
}

/// The world of one node.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) node: Node,
    pub(crate) remote_nodes: BTreeMap<String, KnownNode>,
    /// The addresses of the API servers.
    pub(crate) api_servers: BTreeSet<IpAddr>,
    pub(crate) namespaces: BTreeMap<String, Namespace>,
    pub(crate) endpoints: BTreeMap<u32, Box<Endpoint>>,
    /// Workloads of other nodes, by numbers above those of endpoints.
    pub(crate) remote_workloads: BTreeMap<u32, Box<RemoteWorkload>>,
    pub(crate) remote_numbers: Sequence,
    /// Labels and named ports of workloads: those of one controller are alike.
    pub(crate) labels: Interned<Arc<BTreeMap<String, String>>>,
    pub(crate) named_ports: Interned<Arc<BTreeMap<(String, u8), u16>>>,
    /// Who has which address.
    pub(crate) owners: BTreeSet<(IpAddr, Owner)>,
    pub(crate) peers: Peers,
    pub(crate) enforcement: Enforcement,
    pub(crate) translation: Translation,
    pub(crate) ledger: Ledger,
    pub(crate) named: Named,
    /// What the maps hold that no change here made: the first change replaces what no longer holds.
    pub(crate) found: Option<Rows>,
    /// Blocks of found rows, in force until the first change has replaced the policies of before.
    pub(crate) found_blocks: Vec<(Cidr, AddressSide)>,
    /// Blocks that the last change removed. Policies in the maps name their classes if the writes of that change failed.
    pub(crate) removed_blocks: Vec<FoundBlock>,
    pub(crate) config: Config,
}

/// A namespace, and who is in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespace {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) workloads: BTreeSet<u32>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            node: Node::default(),
            remote_nodes: BTreeMap::new(),
            api_servers: BTreeSet::new(),
            namespaces: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            remote_workloads: BTreeMap::new(),
            remote_numbers: Sequence::new(LAST_ENDPOINT + 1..=u32::MAX),
            labels: Interned::default(),
            named_ports: Interned::default(),
            owners: BTreeSet::new(),
            peers: Peers::default(),
            enforcement: Enforcement::default(),
            translation: Translation::default(),
            ledger: Ledger::default(),
            named: Named::default(),
            found: Some(Rows::new()),
            found_blocks: Vec::new(),
            removed_blocks: Vec::new(),
            config: Config::default(),
        }
    }
}

impl World {
    /// A node with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves identities to a source: from now on [`Writes::identities`](crate::Writes::identities) asks for them, and
    /// [`Change::Identity`](crate::Change::Identity) answers. A workload without an answer keeps the identity that it has;
    /// a new one is unknown until then, and has no traffic.
    pub fn ask_for_identities(&mut self) {
        self.peers.identities.ask_source();
    }

    /// All rows as they are once all writes so far are made, the configuration apart.
    pub fn rows(&self) -> Rows {
        let rows =
            self.row_subjects().filter_map(|subject| self.row_of(&subject)).chain(self.reported_rows());
        rows.filter_map(|row| Some((row.key()?, row))).collect()
    }

    /// The rows of those owners that report themselves which rows change.
    pub(crate) fn reported_rows(&self) -> impl Iterator<Item = Row> {
        self.enforcement.rows().chain(self.translation.rows())
    }

    /// What holds for the whole node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The other nodes of the cluster.
    pub fn remote_nodes(&self) -> impl Iterator<Item = &RemoteNode> {
        self.remote_nodes.values().map(|known| &known.node)
    }

    /// The workloads by number.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().map(|endpoint| &**endpoint)
    }

    /// The workload with this number.
    pub fn endpoint_of(&self, id: u32) -> Option<&Endpoint> {
        self.endpoints.get(&id).map(|endpoint| &**endpoint)
    }

    /// The workloads of other nodes.
    pub fn remote_workloads(&self) -> impl Iterator<Item = &RemoteWorkload> {
        self.remote_workloads.values().map(|remote| &**remote)
    }

    /// The workload of another node with this number.
    pub fn remote_workload_of(&self, id: u32) -> Option<&RemoteWorkload> {
        self.remote_workloads.get(&id).map(|remote| &**remote)
    }

    /// The numbers of the workloads in a namespace, those of this node first.
    pub fn workloads_in(&self, namespace: &str) -> impl Iterator<Item = u32> {
        self.namespaces.get(namespace).into_iter().flat_map(|known| &known.workloads).copied()
    }

    /// A workload of this node or of another.
    pub fn workload(&self, id: u32) -> Option<&Workload> {
        let remote = || self.remote_workloads.get(&id).map(|remote| &remote.workload);
        self.endpoints.get(&id).map(|endpoint| &endpoint.workload).or_else(remote)
    }

    /// The workload with this name.
    pub fn endpoint(&self, namespace: &str, name: &str) -> Option<&Endpoint> {
        let within = self.namespaces.get(namespace)?.workloads.iter();
        within.filter_map(|id| self.endpoint_of(*id)).find(|endpoint| endpoint.workload.name == name)
    }

    /// The number of the workload that has this address, of this node or of another. Of several it is the one whose identity
    /// packets with this address have.
    pub fn workload_at(&self, address: IpAddr) -> Option<u32> {
        let workloads = self.owners_of(address).filter_map(|owner| match owner {
            Owner::Workload(id) => Some(*id),
            Owner::Node | Owner::RemoteNode(_) => None,
        });
        workloads.reduce(|found, id| if id > LAST_ENDPOINT { found } else { id })
    }

    /// The domain names that an address outside the cluster is known by.
    pub fn names(&self, address: IpAddr) -> &BTreeSet<String> {
        self.enforcement.names.of(address)
    }

    /// A workload's identity, security labels and named ports.
    pub fn view(&self, workload: u32) -> Option<policy::endpoint_view::EndpointView<'_>> {
        Some(self.peers.of(workload)?.1.view())
    }

    /// A workload's security identity.
    pub fn identity(&self, workload: u32) -> Option<u32> {
        Some(self.peers.of(workload)?.1.identity)
    }

    /// The service with this name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.translation.service(&ServiceName::new(namespace, name))
    }

    /// Identities in use.
    pub fn identities(&self) -> &Allocator {
        self.peers.identities.known()
    }

    /// Policies and the numbers of their rules.
    pub fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    /// The endpoint's row, which tells the policy in force.
    pub fn endpoint_row(&self, endpoint: &Endpoint) -> Option<EndpointInfo> {
        self.info(endpoint)
    }

    /// The services.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.translation.services()
    }

    /// Each service address and port with its backends.
    pub fn frontends(&self) -> impl Iterator<Item = (&ServiceKey, &[BackendInfo])> {
        self.translation.frontends()
    }

    /// Who has the address, workloads first.
    pub(crate) fn owners_of(&self, address: IpAddr) -> impl Iterator<Item = &Owner> {
        let first = (address, Owner::Workload(0));
        let owners = self.owners.range(first..).take_while(move |(owned, _)| *owned == address);
        owners.map(|(_, owner)| owner)
    }

    /// The addresses of a block that have owners, each with its owner.
    pub(crate) fn owners_within(&self, block: &Cidr) -> impl Iterator<Item = &(IpAddr, Owner)> {
        let first = (block.address(), Owner::Workload(0));
        self.owners.range(first..).take_while(move |(address, _)| block.contains(*address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Change;
    use crate::fixtures::workload;
    use crate::writes::Writes;
    use abi::endpoint::flag;
    use abi::policy::{ColumnKey, WHOLE_INSIDE};
    use abi::row::{MapOp, RowKey};
    use identity::{Operator, Selector};
    use policy::fixtures::{allow, app, outside, policy, spec};
    use policy::rule::Direction::Ingress;
    use policy::rule::Traffic;

    fn endpoint(id: u32, app: &str) -> Change {
        workload(id, "default", app)
    }

    fn let_in(name: &str, to: &str, from: &str) -> Change {
        Change::Policy(policy(name, [spec(app(to), [allow(Ingress, app(from), Traffic::Any)])]))
    }

    /// Lets a block of addresses in to all workloads.
    fn let_in_block(name: &str, block: &str) -> Change {
        let rule = allow(Ingress, outside(block, &[]), Traffic::Any);
        Change::Policy(policy(name, [spec(Selector::default(), [rule])]))
    }

    fn info(world: &World, id: u32) -> EndpointInfo {
        world.endpoint_row(&world.endpoints[&id]).unwrap()
    }

    /// How many rows the grouping of this endpoint's policy has.
    fn grouped(world: &World, id: u32) -> usize {
        let grouping = info(world, id).grouping.number();
        let of_grouping = |key: &&RowKey| matches!(key, RowKey::Group(key) if key.grouping == grouping);
        world.rows().keys().filter(of_grouping).count()
    }

    /// The columns of a policy, each by the CIDR class that it is for.
    fn columns_of(world: &World, policy: u32) -> BTreeMap<u32, u32> {
        let of_policy = |row: &Row| match row {
            Row::Column(key, column) if key.policy == policy => Some((key.cidr, *column)),
            _ => None,
        };
        world.rows().values().filter_map(of_policy).collect()
    }

    /// The rows of classes in these columns.
    fn classes_in(world: &World, columns: &BTreeMap<u32, u32>) -> Vec<Row> {
        let is_of_one = |row: &Row| match row {
            Row::Class(key, _) => columns.values().any(|column| *column == key.column),
            _ => false,
        };
        world.rows().into_values().filter(is_of_one).collect()
    }

    #[test]
    fn a_policy_switches_its_subject_and_no_other() {
        let mut world = World::new();
        world.apply([endpoint(1, "web"), endpoint(2, "client")]);
        let before = (info(&world, 1), info(&world, 2));
        let writes = world.apply([let_in("a", "web", "client")]);
        assert_ne!(info(&world, 1).policy, before.0.policy);
        assert_eq!(info(&world, 1).flags, flag::ENFORCE_INGRESS);
        assert_eq!(info(&world, 2), before.1);
        let switches = writes.now.iter().filter(|op| matches!(op, MapOp::Put(Row::Endpoint(..)))).count();
        assert_eq!(switches, 1);
        let last = writes.now.iter().last();
        assert!(matches!(last, Some(MapOp::Put(Row::Config(_)))), "flows are checked again: {last:?}");
    }

    #[test]
    fn a_new_peer_adds_rows_under_the_same_policy_number() {
        let mut world = World::new();
        world.apply([endpoint(1, "web"), let_in("a", "web", "client")]);
        let policy = info(&world, 1).policy;
        let before = grouped(&world, 1);
        let writes = world.apply([endpoint(2, "client")]);
        assert_eq!(info(&world, 1).policy, policy);
        assert_eq!(grouped(&world, 1), before + 1);
        assert!(writes.later.is_empty());
        world.apply([Change::RemoveEndpoint(2)]);
        assert_eq!(grouped(&world, 1), before);
    }

    #[test]
    fn workloads_of_one_identity_share_a_policy() {
        let mut world = World::new();
        world.apply([
            endpoint(1, "web"),
            endpoint(2, "web"),
            endpoint(3, "db"),
            let_in("a", "web", "client"),
        ]);
        assert_eq!(info(&world, 1).policy, info(&world, 2).policy);
        assert_ne!(info(&world, 1).policy, info(&world, 3).policy);
    }

    #[test]
    fn what_was_in_the_maps_before_a_restart_is_replaced_under_new_numbers() {
        let mut world = World::new();
        world.apply([endpoint(1, "web"), let_in("a", "web", "client")]);
        let old = info(&world, 1).policy;
        let mut restarted = World::adopt(world.rows().values().copied(), world.identities().clone());
        let writes = restarted.apply([endpoint(1, "web"), let_in("a", "web", "client")]);
        assert!(info(&restarted, 1).policy > old);
        assert!(writes.later.iter().all(|op| matches!(op, MapOp::Delete(_))));
        assert_eq!(columns_of(&restarted, old), BTreeMap::new());
    }

    #[test]
    fn a_policy_keeps_the_columns_that_do_not_change() {
        let mut world = World::new();
        world.apply([endpoint(1, "web"), endpoint(2, "client"), let_in("a", "web", "client")]);
        world.apply([let_in_block("b", "192.0.2.0/24")]);
        let before = columns_of(&world, info(&world, 1).policy);
        let writes = world.apply([let_in_block("c", "198.51.100.0/24")]);
        let after = columns_of(&world, info(&world, 1).policy);
        assert_eq!((before.len(), after.len()), (3, 4));
        assert!(before.iter().all(|(cidr, column)| after.get(cidr) == Some(column)), "{before:?} {after:?}");
        let touched = |op: MapOp| match op {
            MapOp::Put(Row::Class(key, _)) | MapOp::Delete(RowKey::Class(key)) => Some(key.column),
            _ => None,
        };
        let mut touched = writes.now.iter().chain(writes.later.iter()).filter_map(touched);
        assert!(touched.all(|column| before.values().all(|kept| *kept != column)));
    }

    #[test]
    fn a_column_that_is_the_only_one_to_change_is_switched_alone() {
        let mut world = World::new();
        world.apply([endpoint(1, "web"), endpoint(2, "client"), endpoint(3, "other")]);
        world.apply([let_in("a", "web", "client"), let_in_block("b", "192.0.2.0/24")]);
        let before = (info(&world, 1), columns_of(&world, info(&world, 1).policy));
        let writes = world.apply([let_in("c", "web", "other")]);
        let after = (info(&world, 1), columns_of(&world, info(&world, 1).policy));
        assert_eq!(before.0, after.0, "the endpoint's row stays");
        let is_other = |cidr: &&u32| before.1[*cidr] != after.1[*cidr];
        assert_eq!(before.1.keys().filter(is_other).collect::<Vec<_>>(), [&WHOLE_INSIDE]);
        let column =
            Row::Column(ColumnKey { policy: after.0.policy, cidr: WHOLE_INSIDE }, after.1[&WHOLE_INSIDE]);
        let puts: Vec<Row> = writes.now.iter().filter_map(MapOp::put).collect();
        assert!(matches!(puts[..], [.., last, Row::Config(_)] if last == column), "{puts:?}");
        world.apply([Change::RemoveEndpoint(1)]);
        assert_eq!(columns_of(&world, after.0.policy), BTreeMap::new());
    }

    #[test]
    fn a_policy_speaks_to_new_groups_until_another_takes_its_place() {
        let mut world = World::new();
        world.apply([endpoint(1, "web"), endpoint(2, "client"), let_in("a", "web", "client")]);
        let before = columns_of(&world, info(&world, 1).policy);
        let Change::Policy(mut policy) = let_in("b", "web", "") else { unreachable!("it is a policy") };
        let not_other = Selector::default().with(None, "app", Operator::NotIn(["other".to_owned()].into()));
        policy.specs[0].rules[0].peers = not_other.into();
        let puts: Vec<Row> =
            world.apply([Change::Policy(policy)]).now.iter().filter_map(MapOp::put).collect();
        let (client, _) = world.peers.of(2).unwrap();
        let of_client = |row: &Row| match row {
            Row::Group(key, group) => (key.peer == client).then_some(*group),
            _ => None,
        };
        let (moved, group) = (0..).zip(&puts).find_map(|(at, row)| Some((at, of_client(row)?))).unwrap();
        let is_told = |row: &Row| match row {
            Row::Class(key, _) => key.group == group && before.values().any(|column| *column == key.column),
            _ => false,
        };
        assert!(puts[..moved].iter().any(is_told), "{puts:?}");
    }

    #[test]
    fn a_policy_that_another_subject_joins_keeps_its_columns() {
        let mut world = World::new();
        let [all, web, db] =
            [let_in_block("all", "192.0.2.0/24"), let_in("web", "web", "x"), let_in("db", "db", "y")];
        world.apply([endpoint(1, "plain"), endpoint(2, "db"), all, web, db]);
        let policy = info(&world, 1).policy;
        let before = classes_in(&world, &columns_of(&world, policy));
        // One leaves the policy for another that says the same of the block; the other comes in its place.
        world.apply([endpoint(1, "web"), endpoint(2, "plain")]);
        assert_eq!(info(&world, 2).policy, policy);
        assert_ne!(info(&world, 1).policy, policy);
        world.apply([Change::RemoveEndpoint(1)]);
        assert_eq!(classes_in(&world, &columns_of(&world, policy)), before);
    }

    #[test]
    fn nothing_is_written_for_a_change_that_changes_nothing() {
        let mut world = World::new();
        world.apply([endpoint(1, "web")]);
        assert_eq!(world.apply([endpoint(1, "web")]), Writes::default());
    }
}
