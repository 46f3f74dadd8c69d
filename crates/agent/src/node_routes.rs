//! The routes to the pods of other nodes: each block of pods by the address of its node.

use crate::problems::{Problem, message};
use crate::reconciler::Reconciler;
use crate::source::ChangeSource;
use control::RemoteNode;
use policy::rule::Cidr;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use workload::{Network, NetworkError, NodeRoute};

/// The failure, as the status names it.
const ROUTES: Problem = Problem::new(
    "the routes to other nodes' pods are not complete",
    "the agent tries again every ten seconds until that succeeds",
);

/// The time between two comparisons of the routes without a change: another program may have removed one.
const CHECK: Duration = Duration::from_secs(10);

/// Keeps the routes as the nodes of the world have them.
#[derive(Debug)]
pub(crate) struct NodeRoutes {
    network: Network,
    /// When the routes are compared again.
    due: Instant,
    notes: Vec<String>,
}

impl NodeRoutes {
    /// The routes of the network namespace of the calling thread.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { network: Network::current()?, due: Instant::now(), notes: Vec::new() })
    }

    /// Compares the routes with the nodes of the world, and corrects them. The first error that no note explains is returned.
    fn follow<'a>(&mut self, nodes: impl Iterator<Item = &'a RemoteNode>) -> Result<(), NetworkError> {
        let (wanted, mut notes) = wanted(nodes);
        let mut result = Ok(());
        let mut found: BTreeMap<Cidr, IpAddr> = BTreeMap::new();
        for route in self.network.node_routes()? {
            found.extend(Cidr::new(route.destination, route.prefix).map(|block| (block, route.gateway)));
        }
        for (block, (gateway, node)) in &wanted {
            if found.get(block) == Some(gateway) {
                continue;
            }
            match self.network.put_node_route(&route(block, *gateway)) {
                Err(error) if error.is_unreachable() => notes.push(unreachable(node, *gateway)),
                put => result = result.and(put),
            }
        }
        for (block, gateway) in found.iter().filter(|(block, _)| !wanted.contains_key(*block)) {
            result = result.and(self.network.delete_node_route(&route(block, *gateway)));
        }
        notes.dedup();
        self.notes = notes;
        result
    }
}

impl ChangeSource for NodeRoutes {
    fn deliver(&mut self, reconciler: &mut Reconciler) {
        self.due = Instant::now() + CHECK;
        let followed = self.follow(reconciler.world().remote_nodes());
        reconciler.problems.note(ROUTES, followed.map_err(|error| message(error.into())));
    }

    fn due(&self) -> Option<Instant> {
        Some(self.due)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}

/// A block of pods by the address of its node, with the node's name; and notes on nodes without an address of the family. Of
/// several nodes with one block, the last by name counts.
fn wanted<'a>(
    nodes: impl Iterator<Item = &'a RemoteNode>,
) -> (BTreeMap<Cidr, (IpAddr, &'a str)>, Vec<String>) {
    let (mut wanted, mut notes) = (BTreeMap::new(), Vec::new());
    for node in nodes {
        for block in &node.pod_blocks {
            let mut addresses = node.internal_addresses.iter();
            match addresses.find(|address| address.is_ipv4() == block.address().is_ipv4()) {
                Some(gateway) => _ = wanted.insert(*block, (*gateway, &*node.name)),
                None => notes.push(format!(
                    "there is no route to the pods {block} of node {}: the node has no InternalIP of that family",
                    node.name
                )),
            }
        }
    }
    (wanted, notes)
}

fn route(block: &Cidr, gateway: IpAddr) -> NodeRoute {
    NodeRoute { destination: block.address(), prefix: block.length(), gateway }
}

fn unreachable(node: &str, gateway: IpAddr) -> String {
    format!(
        "there is no route to the pods of node {node}: its address {gateway} is on no link of this node, so the network \
         between the nodes must route the pods' addresses"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, address: &str, block: (&str, u8)) -> RemoteNode {
        RemoteNode {
            name: name.into(),
            internal_addresses: vec![address.parse().unwrap()],
            pod_blocks: Cidr::new(block.0.parse().unwrap(), block.1).into_iter().collect(),
            ..RemoteNode::default()
        }
    }

    #[test]
    fn a_block_is_reached_by_the_address_of_its_family_and_a_node_without_one_has_a_note() {
        let nodes = [
            node("a", "192.0.2.1", ("10.1.0.0", 24)),
            node("b", "2001:db8::2", ("fd00:1::", 64)),
            node("c", "192.0.2.3", ("fd00:2::", 64)),
        ];
        let (wanted, notes) = wanted(nodes.iter());
        let found: Vec<String> =
            wanted.iter().map(|(block, (gateway, node))| format!("{block} {gateway} {node}")).collect();
        assert_eq!(found, ["10.1.0.0/24 192.0.2.1 a", "fd00:1::/64 2001:db8::2 b"]);
        assert!(matches!(&*notes, [note] if note.contains("node c")), "{notes:?}");
    }

    #[test]
    fn of_two_nodes_with_one_block_the_last_by_name_counts() {
        let nodes = ["a", "b"].map(|name| node(name, "192.0.2.1", ("10.1.0.0", 24)));
        assert_eq!(wanted(nodes.iter()).0.values().map(|(_, node)| *node).collect::<Vec<_>>(), ["b"]);
    }
}
