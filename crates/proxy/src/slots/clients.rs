//! The connections of one identity or one server, indexed by client address.

use crate::handle::Activity;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

/// How many clients are searched for an idle connection, starting with the one that has the most connections.
const CLIENTS: usize = 16;
/// How many connections of one client are compared, starting with the oldest.
const COMPARED: usize = 64;

/// Connections by number; a later connection has a greater number.
#[derive(Debug, Default)]
pub(super) struct ByClient {
    len: usize,
    members: HashMap<IpAddr, BTreeSet<u64>>,
    /// Clients, sorted by their number of connections.
    largest: BTreeSet<(usize, IpAddr)>,
}

impl ByClient {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number of connections of a client.
    pub(super) fn of(&self, client: IpAddr) -> usize {
        self.members.get(&client).map_or(0, BTreeSet::len)
    }

    /// The client with the most connections, and their number.
    pub(super) fn largest(&self) -> Option<(IpAddr, usize)> {
        self.largest.last().map(|(count, client)| (*client, *count))
    }

    pub(super) fn add(&mut self, client: IpAddr, number: u64) {
        let own = self.members.entry(client).or_default();
        self.largest.remove(&(own.len(), client));
        self.len += usize::from(own.insert(number));
        self.largest.insert((own.len(), client));
    }

    pub(super) fn remove(&mut self, client: IpAddr, number: u64) {
        let Some(own) = self.members.get_mut(&client) else { return };
        self.largest.remove(&(own.len(), client));
        self.len -= usize::from(own.remove(&number));
        if own.is_empty() {
            self.members.remove(&client);
        } else {
            self.largest.insert((own.len(), client));
        }
    }

    /// The least active connection of the first client, from the one with the most connections, that has a connection with
    /// at most this activity.
    pub(super) fn least_active(
        &self,
        seen: impl Fn(u64) -> Option<(Activity, Instant)> + Copy,
        most: Activity,
    ) -> Option<u64> {
        let clients = self.largest.iter().rev().take(CLIENTS);
        clients.into_iter().find_map(|(_, client)| self.least_active_of(*client, seen, most))
    }

    /// The least active connection of a client, if it has at most this activity.
    pub(super) fn least_active_of(
        &self,
        client: IpAddr,
        seen: impl Fn(u64) -> Option<(Activity, Instant)>,
        most: Activity,
    ) -> Option<u64> {
        let own = self.members.get(&client)?.iter().take(COMPARED);
        let states = own.filter_map(|number| Some((seen(*number)?, *number)));
        states.min().filter(|((what, _), _)| *what <= most).map(|(_, number)| number)
    }
}
