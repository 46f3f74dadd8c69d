//! Who and what is around on this node, for questions to name.

use crate::explain::{End, Surroundings};
use control::{Endpoint, World};
use identity::{Labels, Source, key};
use policy::set::PolicySet;
use service::{Candidate, Service};
use std::collections::BTreeMap;
use std::net::IpAddr;

impl Surroundings for World {
    fn named(&self, text: &str) -> Option<End> {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        let workload = || self.endpoint(namespace, name).map(|endpoint| workload(self, endpoint));
        let node = || self.remote_nodes().find(|node| node.name == text).map(remote_node);
        match text {
            "host" => Some(host(self)),
            _ if !self.node().name.is_empty() && self.node().name == text => Some(host(self)),
            _ => workload().or_else(node),
        }
    }

    fn at(&self, address: IpAddr) -> End {
        let node = || self.remote_nodes().find(|node| node.addresses.contains(&address)).map(remote_node);
        match self.endpoint_at(address) {
            Some(endpoint) => workload(self, endpoint),
            None if self.node().addresses.contains(&address) => host(self),
            None => node().unwrap_or_else(|| outside(self, address)),
        }
    }

    /// As its workloads here have them; of a namespace without any nothing is known.
    fn namespace_labels(&self, name: &str) -> Vec<(&str, &str)> {
        let mut here = self.endpoints().filter(|endpoint| endpoint.namespace == name);
        let labels = here.find_map(|endpoint| self.party(endpoint)).map(|party| party.labels);
        let labels = labels.into_iter().flat_map(Labels::iter);
        labels
            .filter_map(|(key, value)| Some((key.name.strip_prefix(key::NAMESPACE_LABELS)?, value)))
            .collect()
    }

    fn candidates(&self, ask: &mut dyn FnMut(&[Candidate<'_>])) {
        let candidates = self.endpoints().map(|endpoint| Candidate {
            namespace: &endpoint.namespace,
            labels: &endpoint.labels,
            addresses: &endpoint.addresses,
            named_ports: &endpoint.named_ports,
        });
        ask(&candidates.collect::<Vec<_>>());
    }

    fn services(&self) -> Box<dyn Iterator<Item = &Service> + '_> {
        Box::new(Self::services(self))
    }

    fn policies(&self) -> &PolicySet {
        self.enforcement().policies()
    }

    fn audits(&self) -> bool {
        self.node().audit
    }

    fn workloads(&self) -> Vec<String> {
        self.endpoints().map(|endpoint| format!("{}/{}", endpoint.namespace, endpoint.name)).collect()
    }

    fn place(&self) -> &'static str {
        "on this node"
    }
}

fn workload(world: &World, endpoint: &Endpoint) -> End {
    let name = format!("{}/{}", endpoint.namespace, endpoint.name);
    let end = match world.party(endpoint) {
        Some(party) => {
            End { ports: party.ports.clone(), ..End::new(&name, party.number, party.labels.clone()) }
        }
        None => End::new(&name, abi::identity::INIT, Labels::default()),
    };
    let audit = endpoint.audit || world.node().audit;
    End { addresses: endpoint.addresses.clone(), is_one: true, audit, ..end }
}

fn host(world: &World) -> End {
    let node = world.node();
    let labels = labelled("host", &node.labels);
    let (addresses, audit) = (node.addresses.clone(), node.audit);
    End { addresses, is_one: true, audit, ..End::new("host", abi::identity::HOST, labels) }
}

fn remote_node(node: &control::RemoteNode) -> End {
    let (labels, addresses) = (labelled("remote-node", &node.labels), node.addresses.clone());
    End { addresses, is_one: true, ..End::new(&node.name, abi::identity::REMOTE_NODE, labels) }
}

fn labelled(kind: &str, own: &BTreeMap<String, String>) -> Labels {
    let mut labels = Labels::reserved(kind);
    own.iter().for_each(|(name, value)| labels.insert(Source::K8s, name.as_str(), value.as_str()));
    labels
}

/// An address outside the cluster, with the domain names that are known to stand for it.
fn outside(world: &World, address: IpAddr) -> End {
    let number = abi::identity::WORLD;
    let labels = world.identities().labels(number).cloned().unwrap_or_default();
    End { names: world.names(address).clone(), ..End::new(&address.to_string(), number, labels) }
}
