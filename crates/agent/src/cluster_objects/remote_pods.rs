//! Applies the pods of other nodes, which CiliumEndpoints and CiliumEndpointSlices show.

use super::kinds::ObjectRole;
use super::{ClusterObjects, own_addresses, peers};
use crate::problems::message;
use crate::reconciler::Reconciler;
use control::Change;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The addresses of the nodes.
struct NodeAddresses {
    own: BTreeSet<IpAddr>,
    names: BTreeMap<IpAddr, String>,
}

impl NodeAddresses {
    fn read(reconciler: &Reconciler) -> Self {
        let world = reconciler.world().snapshot();
        let nodes = world.remote_nodes();
        let names = nodes.flat_map(|node| node.addresses.iter().map(|address| (*address, node.name.clone())));
        Self { own: own_addresses(reconciler).into_iter().collect(), names: names.collect() }
    }

    fn name(&self, address: IpAddr) -> Option<String> {
        self.names.get(&address).cloned()
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }
}

impl ClusterObjects {
    /// Applies CiliumEndpoints.
    pub(super) fn apply_peers(&mut self, reconciler: &mut Reconciler, failures: &mut Vec<String>) {
        let peers = self.take_pending(ObjectRole::Peer);
        if peers.is_empty() {
            return;
        }
        let nodes = NodeAddresses::read(reconciler);
        let mut changes: Vec<Change> = Vec::with_capacity(peers.len());
        for (key, text) in &peers {
            self.unreadable.remove(key);
            self.endpoints.observe(&key.1, text.as_deref(), |node| nodes.is_own(node));
            self.slices.put_endpoint(&key.1, text.is_some());
            let change = peers::peer_change(
                &key.1,
                text.as_deref(),
                |node| nodes.name(node),
                |node| nodes.is_own(node),
            );
            match change {
                Ok(change) => changes.push(change),
                Err(why) => {
                    let source = self.source(key);
                    self.unreadable.insert(key.clone(), format!("{source}: {why}"));
                }
            }
        }
        match reconciler.apply(changes) {
            Ok(()) => {
                for (key, text) in peers {
                    self.keep(self.source(&key), text);
                }
            }
            Err(error) => {
                failures.push(format!("pods of other nodes: {}", message(error)));
                self.pending.extend(peers);
            }
        }
    }

    /// Applies the endpoints of CiliumEndpointSlices, whose labels may come later than they.
    pub(super) fn apply_peer_slices(&mut self, reconciler: &mut Reconciler, failures: &mut Vec<String>) {
        for (key, text) in self.take_pending(ObjectRole::PeerSlice) {
            let source = self.source(&key);
            match self.slices.put(&key.1.name, text.as_deref()) {
                Ok(()) => drop(self.unreadable.remove(&key)),
                Err(why) => drop(self.unreadable.insert(key, format!("{source}: {why}"))),
            }
            self.keep(source, text);
        }
        let pods = self.slices.take_changed();
        if pods.is_empty() {
            return;
        }
        let nodes = NodeAddresses::read(reconciler);
        let mut changes = Vec::with_capacity(pods.len());
        for pod in &pods {
            let world = reconciler.world();
            let labels_of = |identity| world.assigned_labels(identity);
            let change =
                self.slices.change(pod, labels_of, |node| nodes.name(node), |node| nodes.is_own(node));
            match change {
                Ok(change) => changes.extend(change),
                Err(why) => tracing::warn!("CiliumEndpointSlice: {pod}: {why}"),
            }
        }
        if let Err(error) = reconciler.apply(changes) {
            failures.push(format!("pods of other nodes, from slices: {}", message(error)));
            self.slices.retry(pods);
        }
    }
}
