//! Pods in the network namespace of their node. To policies they are the node: no pod selector selects them, since
//! their traffic cannot be distinguished from the node's.

use super::ends::LOCAL;
use super::{Name, Scenario, ScenarioWorkload};
use agent::explain::{ConnectionEnd, HostNetworkPod};
use manifest::PodCount;
use std::borrow::Cow;
use std::net::IpAddr;

impl Scenario {
    /// Adds the addresses of a node from the status of a pod on it; without a name, of the local node.
    pub(super) fn add_node_addresses(&mut self, name: Option<&str>, addresses: &[IpAddr]) {
        if addresses.is_empty() {
            return;
        }
        let known = &mut self.nodes.entry(name.unwrap_or(LOCAL).to_owned()).or_default().1;
        let new: Vec<_> = addresses.iter().filter(|address| !known.contains(address)).copied().collect();
        known.extend(new);
    }

    /// The node that represents such a workload: the node it runs on, if that is described, else the local node.
    pub(super) fn host_network_end(&self, name: &str, workload: &ScenarioWorkload) -> ConnectionEnd {
        let known = workload.node.as_ref().filter(|node| self.nodes.contains_key(*node));
        let node = known.map_or_else(|| self.host(), |node| self.node(node));
        let remark = format!(
            "{name} is in the network namespace of its node: to policies it is {}, not a pod",
            node.name
        );
        let pod = HostNetworkPod { name: name.to_owned(), ports: workload.ports.clone() };
        let is_one = workload.pods != PodCount::Several;
        ConnectionEnd { is_one, host_network_pod: Some(pod), remarks: vec![remark], ..node }
    }

    /// The end of a workload with this name, if it is in the network namespace of its node.
    pub(in crate::command::policy) fn host_network_end_named(&self, name: &str) -> Option<ConnectionEnd> {
        let (namespace, short) = name.split_once('/')?;
        let name: Name = (namespace.to_owned(), short.to_owned());
        let found = self.workloads.get(&name).filter(|found| found.host_network)?;
        Some(self.workload(&name, found))
    }

    /// The addresses at which a workload can be reached.
    pub(super) fn addresses_of<'a>(&self, workload: &'a ScenarioWorkload) -> Cow<'a, [IpAddr]> {
        if workload.host_network {
            let node = self.host_network_end("", workload).addresses;
            if !node.is_empty() {
                return Cow::Owned(node);
            }
        }
        Cow::Borrowed(&workload.addresses)
    }
}
