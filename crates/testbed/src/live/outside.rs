//! Hosts outside the cluster: namespaces that the node routes to, without programs at their interfaces.

use super::node::LiveNode;
use crate::engine::EngineError;
use std::collections::BTreeMap;
use std::net::IpAddr;
use workload::{NetworkNamespace, Plan};

/// The hosts outside, each by its one address.
#[derive(Default)]
pub(super) struct Outside {
    hosts: BTreeMap<IpAddr, Host>,
    last: u32,
}

struct Host {
    namespace: NetworkNamespace,
    /// Name of the node's end of the wire.
    interface: String,
}

impl Outside {
    /// Makes the host with this address, unless there is one.
    pub(super) fn make(&mut self, node: &mut LiveNode, address: IpAddr) -> Result<(), EngineError> {
        if self.hosts.contains_key(&address) {
            return Ok(());
        }
        self.last += 1;
        let interface = format!("outside{}", self.last);
        let failed = "making a host outside the cluster";
        let namespace = NetworkNamespace::anonymous().map_err(EngineError::failed(failed))?;
        let plan = Plan { host: &interface, addresses: &[address], mtu: 1500, index: None, alias: None };
        let wired = node.wiring().wire(&namespace, &plan).map_err(EngineError::failed(failed))?;
        node.wiring().up(&wired).map_err(EngineError::failed(failed))?;
        self.hosts.insert(address, Host { namespace, interface });
        Ok(())
    }

    /// Removes the host with this address, if there is one.
    pub(super) fn remove(&mut self, node: &mut LiveNode, address: IpAddr) -> Result<(), EngineError> {
        let Some(host) = self.hosts.remove(&address) else { return Ok(()) };
        node.wiring()
            .unwire(&host.interface)
            .map_err(EngineError::failed("removing a host outside the cluster"))
    }

    /// The namespace of the host with this address.
    pub(super) fn host(&self, address: IpAddr) -> Option<&NetworkNamespace> {
        self.hosts.get(&address).map(|host| &host.namespace)
    }
}
