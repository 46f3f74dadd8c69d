//! The objects that policies refer to by name or by label: CIDR groups and services.

use crate::rule::{Cidr, CidrGroupRef, CidrReach, Peer, Peers, Policy, ServiceRef};
use identity::{Labels, Operator, Selector, SharedMap, Source, key};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The CIDR groups and services that policies may refer to; clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    groups: SharedMap<String, Arc<CidrGroupEntry>>,
    services: SharedMap<(String, String), Arc<ServiceEntry>>,
}

/// A `CiliumCIDRGroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CidrGroupEntry {
    /// The labels of the object.
    pub labels: Labels,
    /// Its blocks of addresses.
    pub blocks: BTreeSet<Cidr>,
}

/// A service, as far as rules can match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// The labels of the object.
    pub labels: Labels,
    /// Its backends.
    pub backends: Backends,
}

/// The backends of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backends {
    /// The workloads of the service's namespace that have these labels.
    Selected(BTreeMap<String, String>),
    /// Addresses that an Endpoints object lists, for a service without selector. Rules match only those outside the
    /// cluster, as with every CIDR.
    Addresses(BTreeSet<IpAddr>),
}

impl Catalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a CIDR group, or replaces the one of this name.
    pub fn put_cidr_group(&mut self, name: &str, group: CidrGroupEntry) {
        self.groups.insert(name.to_owned(), Arc::new(group));
    }

    /// Removes a CIDR group.
    pub fn remove_cidr_group(&mut self, name: &str) {
        self.groups.remove(name);
    }

    /// Adds a service, or replaces the one of this name.
    pub fn put_service(&mut self, namespace: &str, name: &str, service: ServiceEntry) {
        self.services.insert((namespace.to_owned(), name.to_owned()), Arc::new(service));
    }

    /// Removes a service.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        self.services.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// The CIDR group of this name.
    pub fn cidr_group(&self, name: &str) -> Option<&CidrGroupEntry> {
        self.groups.get(name).map(|group| &**group)
    }

    /// The CIDR groups that a reference selects.
    pub fn cidr_groups<'a>(
        &'a self,
        reference: &'a CidrGroupRef,
    ) -> impl Iterator<Item = &'a CidrGroupEntry> {
        let found = self.groups.iter().filter(move |(known, group)| match reference {
            CidrGroupRef::Named(name) => **known == **name,
            CidrGroupRef::Labelled(selector) => selector.selects(&group.labels),
        });
        found.map(|(_, group)| &**group)
    }

    /// The services that a reference selects, each with its namespace.
    pub fn services<'a>(
        &'a self,
        reference: &'a ServiceRef,
    ) -> impl Iterator<Item = (&'a str, &'a ServiceEntry)> {
        let found = self.services.iter().filter(move |((within, known), service)| match reference {
            ServiceRef::Named { namespace, name } => **within == **namespace && **known == **name,
            ServiceRef::Labelled { namespace, selector } => {
                namespace.as_ref().is_none_or(|namespace| **within == **namespace)
                    && selector.selects(&service.labels)
            }
        });
        found.map(|((namespace, _), service)| (namespace.as_str(), &**service))
    }

    /// The policy with every reference replaced by the peers that it selects now. None if the policy has no reference.
    pub fn resolve(&self, policy: &Policy) -> Option<Policy> {
        is_referring(policy).then(|| {
            let mut resolved = policy.clone();
            for rule in resolved.specs.iter_mut().flat_map(|spec| &mut spec.rules) {
                if let Peers::Of(peers) = &mut rule.peers {
                    *peers = peers.drain(..).flat_map(|peer| self.meaning(peer)).collect();
                }
            }
            resolved
        })
    }

    /// The peers that replace a peer: the selected ones for a reference, otherwise the peer itself.
    fn meaning(&self, peer: Peer) -> Vec<Peer> {
        match &peer {
            Peer::CidrGroup { groups, except } => {
                let blocks: BTreeSet<Cidr> =
                    self.cidr_groups(groups).flat_map(|group| &group.blocks).copied().collect();
                blocks.into_iter().map(|block| world(block, except)).collect()
            }
            Peer::Service(reference) => {
                self.services(reference).flat_map(|(namespace, service)| service.peers(namespace)).collect()
            }
            Peer::Labels(_) | Peer::Cidr { .. } | Peer::Entity(_) | Peer::Domain(_) | Peer::Nodes(_) => {
                vec![peer]
            }
        }
    }
}

/// Whether a policy refers to CIDR groups or services.
pub fn is_referring(policy: &Policy) -> bool {
    let peers = policy.specs.iter().flat_map(|spec| &spec.rules).filter_map(|rule| match &rule.peers {
        Peers::Any => None,
        Peers::Of(peers) => Some(peers),
    });
    peers.flatten().any(|peer| matches!(peer, Peer::CidrGroup { .. } | Peer::Service(_)))
}

impl ServiceEntry {
    fn peers(&self, namespace: &str) -> Vec<Peer> {
        match &self.backends {
            Backends::Selected(labels) => vec![Peer::Labels(selector(namespace, labels))],
            Backends::Addresses(addresses) => {
                let blocks = addresses.iter().map(|address| Cidr::host(*address));
                blocks.map(|block| world(block, &[])).collect()
            }
        }
    }
}

/// A block outside the cluster, with the exceptions that overlap it. The others may be of another address family.
fn world(block: Cidr, except: &[Cidr]) -> Peer {
    let touching = except.iter().filter(|one| block.encloses(one) || one.encloses(&block));
    let except = touching.map(|one| if one.encloses(&block) { block } else { *one }).collect();
    Peer::Cidr { block, except, reach: CidrReach::World }
}

/// The selector of a service's workloads.
fn selector(namespace: &str, labels: &BTreeMap<String, String>) -> Selector {
    let namespace = Selector::default().with(Some(Source::K8s), key::NAMESPACE, Operator::equals(namespace));
    labels.iter().fold(namespace, |selector, (name, value)| {
        selector.with(Some(Source::K8s), name.as_str(), Operator::equals(value.as_str()))
    })
}
