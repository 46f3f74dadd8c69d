//! One end of a connection, with all that a policy can ask of it.

use crate::rule::{Entity, Protocol};
use abi::identity as number;
use identity::{Labels, Operator, Selector, Source, key};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct EndpointView<'a> {
    /// Its security identity, or the number that policy rows know it by; only the kind of the number counts.
    pub number: u32,
    /// Its labels.
    pub labels: &'a Labels,
    /// The ports it gave names to.
    pub ports: &'a NamedPorts,
    /// The address that packets of the connection carry; without one no block of addresses holds it.
    pub address: Option<IpAddr>,
    /// The domain names that the address was resolved from, as [`crate::domain::canonical_name`] writes them.
    pub names: &'a BTreeSet<String>,
}

/// No domain name, for ends without a known name.
pub const NO_NAMES: &BTreeSet<String> = &BTreeSet::new();

impl<'a> EndpointView<'a> {
    /// A party of which no more is known: no named port, no address, no domain name.
    pub fn new(number: u32, labels: &'a Labels) -> Self {
        Self { number, labels, ports: NamedPorts::NONE, address: None, names: NO_NAMES }
    }
}

/// The ports that a workload gave names to: name, protocol number and port, in order. Clones are one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPorts(Option<Arc<[NamedPort]>>);

type NamedPort = (Arc<str>, u8, u16);

impl NamedPorts {
    /// No named port, for parties that are not workloads.
    pub const NONE: &'static Self = &Self(None);

    /// Gives a port a name; case does not count. A name may stand for several ports.
    pub fn insert(&mut self, name: &str, protocol: Protocol, port: u16) {
        let mut ports: BTreeSet<NamedPort> = self.iter().cloned().collect();
        ports.extend(
            protocol.numbers().iter().map(|number| (name.to_ascii_lowercase().into(), *number, port)),
        );
        *self = ports.into_iter().collect();
    }

    /// The protocol numbers and ports that the name stands for in this protocol.
    pub fn resolve<'a>(&'a self, name: &'a str, protocol: Protocol) -> impl Iterator<Item = (u8, u16)> + 'a {
        self.iter()
            .filter(move |(known, number, _)| **known == *name && protocol.numbers().contains(number))
            .map(|(_, number, port)| (*number, *port))
    }

    /// Only the ports whose names `asked` accepts.
    pub fn filtered(&self, asked: impl Fn(&str) -> bool) -> Self {
        match self.names().filter(|name| asked(name)).count() {
            some if some == self.iter().len() => self.clone(),
            _ => self.iter().filter(|(name, ..)| asked(name)).cloned().collect(),
        }
    }

    /// The names, once for each port that has it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, ..)| &**name)
    }

    /// The names of ports that the other has not by this name.
    pub(crate) fn names_beside<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        self.iter().filter(|port| !other.iter().any(|known| known == *port)).map(|(name, ..)| &**name)
    }

    /// Whether no port has a name.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn iter(&self) -> std::slice::Iter<'_, NamedPort> {
        self.0.as_deref().unwrap_or_default().iter()
    }
}

/// In order, each once.
impl FromIterator<NamedPort> for NamedPorts {
    fn from_iter<I: IntoIterator<Item = NamedPort>>(ports: I) -> Self {
        let ports: Arc<[NamedPort]> = ports.into_iter().collect();
        Self((!ports.is_empty()).then_some(ports))
    }
}

impl Entity {
    /// Whether the entity names the kind of peer that the number stands for.
    ///
    /// A node that is an API server has the label of one: see [`Self::labels`]. An API server outside the cluster is of the
    /// world and of the cluster alike.
    ///
    /// The address distinguishes the two families of the world, since one number may stand for both: see
    /// [`crate::cidr::blocks_of`].
    pub fn names(self, identity: u32) -> bool {
        match self {
            Self::All => true,
            Self::World | Self::WorldIpv4 | Self::WorldIpv6 => number::is_world(identity),
            Self::Cluster => {
                identity == number::KUBE_APISERVER
                    || (identity != number::UNKNOWN && !number::is_world(identity))
            }
            Self::Host => identity == number::HOST,
            Self::RemoteNode => number::is_remote_node(identity),
            Self::KubeApiserver => identity == number::KUBE_APISERVER,
            Self::Ingress => identity == number::INGRESS,
            Self::Health => identity == number::HEALTH,
            Self::Init => identity == number::INIT,
            Self::Unmanaged => identity == number::UNMANAGED,
            Self::None => false,
        }
    }

    /// The labels that all peers of the entity have, where their numbers do not identify all of them.
    pub fn labels(self) -> Option<Selector> {
        (self == Self::KubeApiserver)
            .then(|| Selector::default().with(Some(Source::Reserved), key::KUBE_APISERVER, Operator::Exists))
    }
}
