//! One end of a connection that is asked about, with all that policies can ask of it.

use abi::identity::{
    FIRST_ALLOCATED, HOST, KUBE_APISERVER, REMOTE_NODE, is_remote_node, is_workload, is_world, reserved_name,
};
use identity::{Labels, Source, filter, key};
use policy::endpoint_view::{EndpointView, NamedPorts};
use policy::rule::Subject;
use policy::set::PolicySet;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// One end of a connection, with all that policies can ask of it.
#[derive(Clone, Debug)]
pub struct End {
    /// What people call it.
    pub name: String,
    /// Its identity; only the kind of the number counts.
    pub number: u32,
    /// Its labels.
    pub labels: Labels,
    /// Its ports that have names.
    pub ports: NamedPorts,
    /// The domain names that are known to stand for it.
    pub names: BTreeSet<String>,
    /// Its addresses; none where any will do.
    pub addresses: Vec<IpAddr>,
    /// Those of its addresses that are an API server's.
    pub api_servers: BTreeSet<IpAddr>,
    /// Whether it is this one workload or node, rather than any that is like it.
    pub is_one: bool,
    /// Whether what its policies refuse is let through and reported.
    pub audit: bool,
    /// The node that a workload runs on, by its name, where that is known.
    pub node: Option<String>,
    /// The workload that was asked about, where it shares the network of its node, which this is.
    pub sharer: Option<HostNetworkPod>,
    /// What is worth knowing about it.
    pub remarks: Vec<String>,
}

/// A workload that shares the network of its node.
#[derive(Clone, Debug)]
pub struct HostNetworkPod {
    /// What people call it.
    pub name: String,
    /// Its named ports. They are for questions about the pod alone: to policies it is its node, whose ports have no names.
    pub ports: NamedPorts,
}

impl End {
    /// An end of which no more is known than its kind and its labels.
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
            sharer: None,
            remarks: Vec::new(),
        }
    }

    /// What people call it who asked about it.
    pub fn called(&self) -> &str {
        self.sharer.as_ref().map_or(&self.name, |sharer| &sharer.name)
    }

    /// Its ports that have names, as people who ask know them.
    pub fn known_ports(&self) -> &NamedPorts {
        self.sharer.as_ref().map_or(&self.ports, |sharer| &sharer.ports)
    }

    /// A workload that is not there, by `[namespace/]key=value,key=value`; nothing where the text is no such thing.
    /// `of` tells the labels of a namespace.
    pub fn by_labels<'a>(text: &str, of: impl FnOnce(&str) -> Vec<(&'a str, &'a str)>) -> Option<Self> {
        let first = text.find('=')?;
        // A key may have a prefix with a slash of its own; what ends the namespace comes first.
        let (namespace, labels) = match text[..first].split_once('/') {
            Some((namespace, _)) if !namespace.contains('.') => (namespace, &text[namespace.len() + 1..]),
            _ => ("default", text),
        };
        let pairs: Option<Vec<(&str, &str)>> = labels.split(',').map(|pair| pair.split_once('=')).collect();
        let labels = filter::relevant(Labels::of_workload(namespace, of(namespace), pairs?));
        Some(Self::new(text, FIRST_ALLOCATED, labels))
    }

    /// A peer that policies know by a name of its kind: `world`, `kube-apiserver`, `remote-node`.
    pub fn reserved(name: &str) -> Option<Self> {
        let number = (1..FIRST_ALLOCATED).find(|number| reserved_name(*number) == Some(name))?;
        Some(Self::new(name, number, Labels::reserved(name)))
    }

    /// Whether it is a node, this one or another.
    pub fn is_node(&self) -> bool {
        self.number == HOST || is_remote_node(self.number)
    }

    /// Whether both are the same workload or node.
    pub fn is(&self, other: &Self) -> bool {
        self.is_one && other.is_one && self.name == other.name && self.is_node() == other.is_node()
    }

    /// Whether policies may be about it: those of workloads, and those of nodes.
    pub fn is_subject(&self) -> bool {
        is_workload(self.number) || self.is_node()
    }

    /// Whether policies are asked about it: those of workloads, and of a node where some are about it.
    pub(super) fn is_asked(&self, policies: &PolicySet) -> bool {
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

    /// As its own policies see it: each node is the local node of its own.
    pub fn as_subject(&self) -> Cow<'_, Self> {
        if is_remote_node(self.number) { self.as_node(HOST, "host") } else { Cow::Borrowed(self) }
    }

    /// As the policies of another see it: to a node, every other one is a remote node; to a workload, its own is none.
    pub fn as_peer_of(&self, subject: &Self) -> Cow<'_, Self> {
        if self.number == HOST && subject.is_node() && !self.is(subject) {
            self.as_node(REMOTE_NODE, "remote-node")
        } else if is_remote_node(self.number) && subject.node.as_ref() == Some(&self.name) {
            self.as_node(HOST, "host")
        } else {
            Cow::Borrowed(self)
        }
    }

    /// The same node, as one of this kind.
    fn as_node(&self, number: u32, kind: &str) -> Cow<'_, Self> {
        let mut labels = Labels::reserved(kind);
        let own = self.labels.iter().filter(|(key, _)| key.source != Source::Reserved);
        own.for_each(|(key, value)| labels.insert(key.source.clone(), key.name.as_str(), value));
        Cow::Owned(Self { number, labels, ..self.clone() })
    }

    /// A node as its own workloads see it.
    pub fn as_local(&self) -> Self {
        self.as_node(HOST, "host").into_owned()
    }

    /// Its address of a family: any where it has none at all, nothing where it has only of the other.
    pub fn address(&self, v4: bool) -> Option<IpAddr> {
        match self.addresses.iter().find(|address| address.is_ipv4() == v4) {
            None if self.addresses.is_empty() && v4 => Some(IpAddr::from([0u8; 4])),
            None if self.addresses.is_empty() => Some(IpAddr::from([0u8; 16])),
            found => found.copied(),
        }
    }

    /// As it is known at one of its addresses: by that of an API server a node is one as well as a node, and so is a host
    /// outside. The local node is one by any of its addresses.
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

    /// The same, with those of its addresses that are among these.
    pub fn among(mut self, api_servers: &BTreeSet<IpAddr>) -> Self {
        self.api_servers = self.addresses.iter().filter(|own| api_servers.contains(own)).copied().collect();
        self
    }

    /// As policies see it where packets carry this address.
    pub fn view(&self, address: IpAddr) -> EndpointView<'_> {
        let Self { number, labels, ports, names, .. } = self;
        EndpointView { number: *number, labels, ports, names, address: Some(address) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_that_is_not_there_is_told_by_its_labels() {
        let check = |text: &str, namespace: &str, key: &str, value: &str| {
            let end = End::by_labels(text, |name| vec![("team", if name == "shop" { "web" } else { "-" })]);
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
        assert!(End::by_labels("shop/web", |_| Vec::new()).is_none());
        assert!(End::by_labels("app=web,tier", |_| Vec::new()).is_none());
    }

    #[test]
    fn each_node_is_the_local_one_of_its_own_policies() {
        let mut labels = Labels::reserved("remote-node");
        labels.insert(Source::K8s, "role", "w");
        let (one, other) = (End::new("n1", REMOTE_NODE, labels.clone()), End::new("n2", REMOTE_NODE, labels));
        let subject = one.as_subject();
        assert_eq!(subject.number, HOST);
        assert_eq!(subject.labels.value(Some(&Source::Reserved), "host"), Some(""));
        assert_eq!(subject.labels.value(Some(&Source::Reserved), "remote-node"), None);
        assert_eq!(subject.labels.value(Some(&Source::K8s), "role"), Some("w"));
        assert_eq!(other.as_local().as_peer_of(&subject).number, REMOTE_NODE);
        let workload = End::new("a", FIRST_ALLOCATED, Labels::default());
        assert_eq!(other.as_local().as_peer_of(&workload).number, HOST);
    }
}
