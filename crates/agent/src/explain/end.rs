//! One end of a connection to explain, with every property that policies match.

use abi::identity::{
    FIRST_ALLOCATED, HOST, KUBE_APISERVER, REMOTE_NODE, is_remote_node, is_workload, is_world, reserved_name,
};
use identity::{Labels, Source, filter, key};
use policy::endpoint_view::{EndpointView, NamedPorts};
use policy::rule::Subject;
use policy::set::SubmittedPolicies;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// One end of a connection, with every property that policies match.
#[derive(Clone, Debug)]
pub struct ConnectionEnd {
    /// Its name.
    pub name: String,
    /// Its identity; only the kind of the identity matters.
    pub number: u32,
    /// Its labels.
    pub labels: Labels,
    /// Its named ports.
    pub ports: NamedPorts,
    /// Its known domain names.
    pub names: BTreeSet<String>,
    /// Its addresses; empty if it may have any address.
    pub addresses: Vec<IpAddr>,
    /// Its addresses that belong to an API server.
    pub api_servers: BTreeSet<IpAddr>,
    /// Whether it is one particular workload or node, rather than any with the same properties.
    pub is_one: bool,
    /// Whether its audit mode is on: traffic that its policies deny is forwarded and reported.
    pub audit: bool,
    /// The name of the node that a workload runs on, or that the local host is, if known; none for a workload of the local
    /// host.
    pub node: Option<String>,
    /// The host-network pod that the probe names; this end is its node then.
    pub host_network_pod: Option<HostNetworkPod>,
    /// Remarks for the explanation.
    pub remarks: Vec<String>,
}

/// A workload in the network namespace of its node (`hostNetwork`).
#[derive(Clone, Debug)]
pub struct HostNetworkPod {
    /// Its name.
    pub name: String,
    /// Its named ports. Only a probe can name them: to policies the pod is its node, which has no named ports.
    pub ports: NamedPorts,
}

impl ConnectionEnd {
    /// An end with an identity and labels, and no further property.
    pub fn new(name: &str, number: u32, labels: Labels) -> Self {
        let name = name.to_owned();
        Self {
            name,
            number,
            labels,
            ports: NamedPorts::default(),
            names: BTreeSet::new(),
            addresses: Vec::new(),
            api_servers: BTreeSet::new(),
            is_one: false,
            audit: false,
            node: None,
            host_network_pod: None,
            remarks: Vec::new(),
        }
    }

    /// The name by which the probe calls it.
    pub fn asked_name(&self) -> &str {
        self.host_network_pod.as_ref().map_or(&self.name, |pod| &pod.name)
    }

    /// The named ports that a probe may use.
    pub fn known_ports(&self) -> &NamedPorts {
        self.host_network_pod.as_ref().map_or(&self.ports, |pod| &pod.ports)
    }

    /// Parses `[namespace/]key=value,key=value` as a workload that does not exist; none if the text has another form.
    /// `labels_of` returns the labels of a namespace.
    pub fn by_labels<'a>(
        text: &str,
        labels_of: impl FnOnce(&str) -> Vec<(&'a str, &'a str)>,
    ) -> Option<Self> {
        let first = text.find('=')?;
        // A key may contain a slash, too; the first slash ends the namespace.
        let (namespace, labels) = match text[..first].split_once('/') {
            Some((namespace, _)) if !namespace.contains('.') => (namespace, &text[namespace.len() + 1..]),
            _ => ("default", text),
        };
        let pairs: Option<Vec<(&str, &str)>> = labels.split(',').map(|pair| pair.split_once('=')).collect();
        let labels = filter::relevant(Labels::of_workload(namespace, labels_of(namespace), pairs?));
        Some(Self::new(text, FIRST_ALLOCATED, labels))
    }

    /// A peer with a reserved identity, by its name: `world`, `kube-apiserver`, `remote-node`.
    pub fn reserved(name: &str) -> Option<Self> {
        let number = (1..FIRST_ALLOCATED).find(|number| reserved_name(*number) == Some(name))?;
        Some(Self::new(name, number, Labels::reserved(name)))
    }

    /// Whether it is a node, local or remote.
    pub fn is_node(&self) -> bool {
        self.number == HOST || is_remote_node(self.number)
    }

    /// Whether both are the same workload or node.
    pub fn is(&self, other: &Self) -> bool {
        self.is_one && other.is_one && self.name == other.name && self.is_node() == other.is_node()
    }

    /// Whether policies can select it: it is a workload or a node.
    pub fn is_subject(&self) -> bool {
        is_workload(self.number) || self.is_node()
    }

    /// Whether policy applies to it: it is a workload, or a node that a policy selects.
    pub(super) fn has_policy(&self, policies: &SubmittedPolicies) -> bool {
        if !self.is_node() {
            return is_workload(self.number);
        }
        let mut specs = policies.iter().flat_map(|policy| &policy.specs);
        specs.any(|spec| match &spec.subject {
            Subject::Nodes(selector) => {
                selector.selects(&self.as_subject().known_at(IpAddr::from([0; 4])).labels)
            }
            Subject::Workloads(_) => false,
        })
    }

    /// Its view by its own policies: each node is the local node there.
    pub fn as_subject(&self) -> Cow<'_, Self> {
        if is_remote_node(self.number) { self.as_node(HOST, "host") } else { Cow::Borrowed(self) }
    }

    /// Its view by the policies of another end: to a node, every other node is remote; to a workload, its own node is
    /// local.
    pub fn as_peer_of(&self, subject: &Self) -> Cow<'_, Self> {
        let is_elsewhere = subject.node.is_some() && self.node.is_some() && subject.node != self.node;
        if self.number == HOST && (subject.is_node() && !self.is(subject) || is_elsewhere) {
            self.as_node(REMOTE_NODE, "remote-node")
        } else if is_remote_node(self.number) && subject.node.as_ref() == Some(&self.name) {
            self.as_node(HOST, "host")
        } else {
            Cow::Borrowed(self)
        }
    }

    /// The same node, with another identity.
    fn as_node(&self, number: u32, kind: &str) -> Cow<'_, Self> {
        let mut labels = Labels::reserved(kind);
        let own = self.labels.iter().filter(|(key, _)| key.source != Source::Reserved);
        own.for_each(|(key, value)| labels.insert(key.source.clone(), key.name.as_str(), value));
        Cow::Owned(Self { number, labels, ..self.clone() })
    }

    /// The node as its own workloads see it.
    pub fn as_local(&self) -> Self {
        self.as_node(HOST, "host").into_owned()
    }

    /// Its address of a family: any if it has no addresses at all, none if it has only addresses of the other family.
    pub fn address(&self, v4: bool) -> Option<IpAddr> {
        match self.addresses.iter().find(|address| address.is_ipv4() == v4) {
            None if self.addresses.is_empty() && v4 => Some(IpAddr::from([0u8; 4])),
            None if self.addresses.is_empty() => Some(IpAddr::from([0u8; 16])),
            found => found.copied(),
        }
    }

    /// Its view at one of its addresses: at an API server's address a node or an external host is an API server, too.
    /// The local node is an API server at each of its addresses if it is one at any.
    pub fn known_at(&self, address: IpAddr) -> Cow<'_, Self> {
        let is_api_server = match self.number {
            HOST => !self.api_servers.is_empty(),
            _ => self.api_servers.contains(&address),
        };
        if !is_api_server || is_workload(self.number) {
            return Cow::Borrowed(self);
        }
        let mut known = self.clone();
        known.labels.insert(Source::Reserved, key::KUBE_APISERVER, "");
        if is_world(self.number) {
            known.number = KUBE_APISERVER;
        }
        Cow::Owned(known)
    }

    /// Marks its addresses that belong to these API servers.
    pub fn among(mut self, api_servers: &BTreeSet<IpAddr>) -> Self {
        self.api_servers = self.addresses.iter().filter(|own| api_servers.contains(own)).copied().collect();
        self
    }

    /// Its view by policies, for packets with this address.
    pub fn view(&self, address: IpAddr) -> EndpointView<'_> {
        let Self { number, labels, ports, names, .. } = self;
        EndpointView { number: *number, labels, ports, names, address: Some(address) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_that_does_not_exist_is_described_by_labels() {
        let check = |text: &str, namespace: &str, key: &str, value: &str| {
            let end = ConnectionEnd::by_labels(text, |name| {
                vec![("team", if name == "shop" { "web" } else { "-" })]
            });
            let labels = end.unwrap().labels;
            let k8s = Some(&identity::Source::K8s);
            assert_eq!(labels.value(k8s, identity::key::NAMESPACE), Some(namespace), "{text}");
            assert_eq!(labels.value(k8s, key), Some(value), "{text}");
        };
        check("app=web", "default", "app", "web");
        check("shop/app=web,tier=front", "shop", "tier", "front");
        check("shop/app=web", "shop", "io.cilium.k8s.namespace.labels.team", "web");
        check("app.kubernetes.io/name=web", "default", "app.kubernetes.io/name", "web");
        check("shop/app.kubernetes.io/name=web", "shop", "app.kubernetes.io/name", "web");
        assert!(ConnectionEnd::by_labels("shop/web", |_| Vec::new()).is_none());
        assert!(ConnectionEnd::by_labels("app=web,tier", |_| Vec::new()).is_none());
    }

    #[test]
    fn each_node_is_local_to_its_own_policies() {
        let mut labels = Labels::reserved("remote-node");
        labels.insert(Source::K8s, "role", "w");
        let (one, other) = (
            ConnectionEnd::new("n1", REMOTE_NODE, labels.clone()),
            ConnectionEnd::new("n2", REMOTE_NODE, labels),
        );
        let subject = one.as_subject();
        assert_eq!(subject.number, HOST);
        assert_eq!(subject.labels.value(Some(&Source::Reserved), "host"), Some(""));
        assert_eq!(subject.labels.value(Some(&Source::Reserved), "remote-node"), None);
        assert_eq!(subject.labels.value(Some(&Source::K8s), "role"), Some("w"));
        assert_eq!(other.as_local().as_peer_of(&subject).number, REMOTE_NODE);
        let workload = ConnectionEnd::new("a", FIRST_ALLOCATED, Labels::default());
        assert_eq!(other.as_local().as_peer_of(&workload).number, HOST);
    }
}
