//! The interfaces and addresses of a network namespace, kept current by the kernel's notifications.

use crate::namespace::NetworkNamespace;
use crate::network::{Link, Network, NetworkError, address_with_index, ways_out_by};
use netlink::message::RouteNetlinkMessage as Message;
use netlink::message::address::AddressMessage;
use netlink::{Notice, Subscription, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::IpAddr;

/// What is watched.
const TOPICS: [Topic; 5] =
    [Topic::Links, Topic::AddressesV4, Topic::AddressesV6, Topic::RoutesV4, Topic::RoutesV6];

/// Watches a network namespace.
#[derive(Debug)]
pub struct NetworkWatch {
    network: Network,
    subscription: Subscription,
    known: Known,
}

/// The watched state.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    /// The interfaces, by index.
    links: BTreeMap<u32, KnownLink>,
    /// The addresses of each interface, by its index.
    addresses: BTreeSet<(u32, IpAddr)>,
}

/// What is known of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KnownLink {
    name: String,
    alias: String,
    is_up: bool,
}

/// What changed in a network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkChanges {
    /// The names and former names of interfaces that appeared, disappeared, were renamed, have another alias, or were
    /// set up or down.
    pub links: BTreeSet<String>,
    /// All addresses, if there are others than before.
    pub addresses: Option<BTreeSet<IpAddr>>,
    /// Whether a default route changed.
    pub ways_out: bool,
}

impl NetworkWatch {
    /// Begins to watch a namespace.
    pub fn of(namespace: &NetworkNamespace) -> Result<Self, NetworkError> {
        let subscription = namespace.enter(|| Subscription::open(&TOPICS))?;
        let subscription = subscription.map_err(kernel)?;
        let mut network = Network::of(namespace)?;
        // Read after the subscription has begun, so that no change is missed.
        let known = Known::read(&mut network)?;
        Ok(Self { network, subscription, known })
    }

    /// The present addresses.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.known.addresses()
    }

    /// Waits for changes. After an error the caller waits a moment and calls [`Self::read_again`].
    pub fn wait(&mut self) -> Result<NetworkChanges, NetworkError> {
        loop {
            let changes = match self.subscription.wait().map_err(kernel)? {
                Notice::Changes(changes) => self.known.follow(changes),
                Notice::Lost => self.read_again()?,
            };
            if changes != NetworkChanges::default() {
                return Ok(changes);
            }
        }
    }

    /// Reads everything again, after changes were lost.
    pub fn read_again(&mut self) -> Result<NetworkChanges, NetworkError> {
        let now = Known::read(&mut self.network)?;
        let before = mem::replace(&mut self.known, now);
        Ok(self.known.since(&before))
    }
}

impl Known {
    fn read(network: &mut Network) -> Result<Self, NetworkError> {
        let links = network.links()?.into_iter().map(|link| (link.index, KnownLink::of(link)));
        let answers = network.socket.dump(Message::GetAddress(AddressMessage::default()));
        let addresses = answers.map_err(kernel)?.into_iter().filter_map(address_with_index);
        Ok(Self { links: links.collect(), addresses: addresses.collect() })
    }

    fn addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses.iter().map(|(_, address)| *address).collect()
    }

    /// Applies notifications.
    fn follow(&mut self, notifications: Vec<Message>) -> NetworkChanges {
        let mut changes = NetworkChanges::default();
        let before = self.addresses();
        for notification in notifications {
            match notification {
                message @ Message::NewLink(_) => {
                    if let Some(link) = Link::of(message) {
                        self.replace(link.index, Some(KnownLink::of(link)), &mut changes);
                    }
                }
                Message::DelLink(message) => {
                    let index = message.header.index;
                    self.replace(index, None, &mut changes);
                    self.addresses.retain(|(interface, _)| *interface != index);
                }
                message @ Message::NewAddress(_) => {
                    self.addresses.extend(address_with_index(message));
                }
                Message::DelAddress(message) => {
                    if let Some(address) = address_with_index(Message::NewAddress(message)) {
                        self.addresses.remove(&address);
                    }
                }
                Message::NewRoute(route) | Message::DelRoute(route) => {
                    changes.ways_out |= !ways_out_by(Message::NewRoute(route)).is_empty();
                }
                _ => {}
            }
        }
        let now = self.addresses();
        changes.addresses = (now != before).then_some(now);
        changes
    }

    /// The difference to an earlier state, if the changes in between are not known.
    fn since(&self, before: &Self) -> NetworkChanges {
        let mut changes = NetworkChanges { ways_out: true, ..NetworkChanges::default() };
        for (one, other) in [(self, before), (before, self)] {
            let different = one.links.iter().filter(|(index, link)| other.links.get(index) != Some(link));
            changes.links.extend(different.map(|(_, link)| link.name.clone()));
        }
        let addresses = self.addresses();
        changes.addresses = (addresses != before.addresses()).then_some(addresses);
        changes
    }

    fn replace(&mut self, index: u32, now: Option<KnownLink>, changes: &mut NetworkChanges) {
        let before = match &now {
            Some(now) => self.links.insert(index, now.clone()),
            None => self.links.remove(&index),
        };
        if before != now {
            changes.links.extend([before, now].into_iter().flatten().map(|link| link.name));
        }
    }
}

impl KnownLink {
    fn of(link: Link) -> Self {
        Self { name: link.name, alias: link.alias, is_up: link.is_up }
    }
}

fn kernel(source: std::io::Error) -> NetworkError {
    NetworkError::Kernel { what: "changes of the network".to_owned(), source }
}
