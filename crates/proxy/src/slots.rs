//! The limit on connections: each connection has a slot, and new connections can evict others when slots run out.
//!
//! Each client identity and each server has a share of the slots. Where a share or the total is used up, the least active
//! idle connection of the client with the most connections is evicted. A connection with an open exchange is evicted only
//! for a client that has fewer connections.

mod clients;

use crate::config::ProxyConfig;
use crate::handle::{Activity, Command, Handle};
use clients::ByClient;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// How many identities are searched for an idle connection, starting with the one that has the most connections.
const IDENTITIES_SEARCHED: usize = 8;

/// The usage of the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Open connections.
    pub in_use: usize,
    /// Limit on open connections.
    pub limit: usize,
    /// Open connections of the client identity that has the most.
    pub largest_client: usize,
    /// Connections refused since the start because all slots had an open exchange.
    pub refused_full: u64,
    /// Connections refused since the start because the client identity's share was used up.
    pub refused_client: u64,
    /// Connections refused since the start because the server's share was used up.
    pub refused_server: u64,
    /// Connections closed since the start to make room for others.
    pub evicted: u64,
}

/// The attributes by which connections are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionKey {
    /// The client's identity; 0 where policy does not know it.
    pub(crate) identity: u32,
    pub(crate) client: IpAddr,
    pub(crate) server: IpAddr,
}

/// The limit that a connection exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitReached {
    Total,
    Client,
    Server,
}

/// All slots of a proxy.
#[derive(Debug)]
pub(crate) struct Slots {
    limit: usize,
    client_limit: usize,
    server_limit: usize,
    state: Mutex<State>,
    /// The number of connections that wait for a slot.
    waiting: AtomicUsize,
    refused: [AtomicU64; 3],
    evicted: AtomicU64,
    /// Notified when the first slot is taken.
    first_taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    taken: HashMap<u64, (ConnectionKey, Arc<Handle>)>,
    identities: HashMap<u32, ByClient>,
    servers: HashMap<IpAddr, ByClient>,
    /// Identities, sorted by their number of connections.
    largest: BTreeSet<(usize, u32)>,
}

/// The slot of a connection; dropping it releases the slot.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    pub(crate) handle: Arc<Handle>,
}

impl Slots {
    pub(crate) fn new(config: &ProxyConfig) -> Self {
        let share = |percent: u8| (config.max_connections * usize::from(percent.min(100)) / 100).max(1);
        Self {
            limit: config.max_connections.max(1),
            client_limit: share(config.client_share),
            server_limit: share(config.server_share),
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            refused: Default::default(),
            evicted: AtomicU64::new(0),
            first_taken: Notify::new(),
        }
    }

    /// Takes a slot for a new connection; evicts another connection where no slot is free.
    pub(crate) fn take(self: &Arc<Self>, key: ConnectionKey, now: Instant) -> Result<Slot, LimitReached> {
        let mut state = self.state();
        while let Some(limit) = self.limit_reached(&state, &key) {
            let eviction_candidate = state.eviction_candidate(limit, &key).ok_or(limit)?;
            if let Some((_, handle)) = state.release(eviction_candidate) {
                handle.send(Command::Close);
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        let handle = Arc::new(Handle::new(now));
        let number = state.admit(key, Arc::clone(&handle));
        if state.taken.len() == 1 {
            self.first_taken.notify_one();
        }
        Ok(Slot { slots: Arc::clone(self), number, handle })
    }

    /// Waits until a slot is taken. One task at a time may wait.
    pub(crate) async fn wait_until_taken(&self) {
        while self.state().taken.is_empty() {
            self.first_taken.notified().await;
        }
    }

    /// Registers a connection that waits for a slot; none where too many wait already.
    pub(crate) fn wait(&self) -> Option<Waiting<'_>> {
        let waiting = Waiting { waiting: &self.waiting };
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        (before < Self::waiting_limit(self.limit)).then_some(waiting)
    }

    /// Limit on waiting connections, for a given limit on connections.
    pub(crate) fn waiting_limit(limit: usize) -> usize {
        limit / 16 + 16
    }

    /// Counts a connection that got no slot.
    pub(crate) fn refuse(&self, limit: LimitReached) {
        self.refused[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        let state = self.state();
        let refused = |limit: LimitReached| self.refused[limit as usize].load(Ordering::Relaxed);
        Occupancy {
            in_use: state.taken.len(),
            limit: self.limit,
            largest_client: state.largest.last().map_or(0, |(count, _)| *count),
            refused_full: refused(LimitReached::Total),
            refused_client: refused(LimitReached::Client),
            refused_server: refused(LimitReached::Server),
            evicted: self.evicted.load(Ordering::Relaxed),
        }
    }

    /// The handles of all connections, those with an open exchange first.
    pub(crate) fn handles(&self) -> Vec<Arc<Handle>> {
        let mut handles: Vec<_> = self.state().taken.values().map(|(_, handle)| Arc::clone(handle)).collect();
        handles.sort_by_cached_key(|handle| std::cmp::Reverse(handle.state().0));
        handles
    }

    fn limit_reached(&self, state: &State, key: &ConnectionKey) -> Option<LimitReached> {
        let of = |clients: Option<&ByClient>| clients.map_or(0, ByClient::len);
        if of(state.identities.get(&key.identity)) >= self.client_limit {
            Some(LimitReached::Client)
        } else if of(state.servers.get(&key.server)) >= self.server_limit {
            Some(LimitReached::Server)
        } else if state.taken.len() >= self.limit {
            Some(LimitReached::Total)
        } else {
            None
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics between two changes that belong together, so a poisoned state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&mut self, key: ConnectionKey, handle: Arc<Handle>) -> u64 {
        self.last += 1;
        let number = self.last;
        let clients = self.identities.entry(key.identity).or_default();
        self.largest.remove(&(clients.len(), key.identity));
        clients.add(key.client, number);
        self.largest.insert((clients.len(), key.identity));
        self.servers.entry(key.server).or_default().add(key.client, number);
        self.taken.insert(number, (key, handle));
        number
    }

    fn release(&mut self, number: u64) -> Option<(ConnectionKey, Arc<Handle>)> {
        let (key, handle) = self.taken.remove(&number)?;
        if let Some(clients) = self.identities.get_mut(&key.identity) {
            self.largest.remove(&(clients.len(), key.identity));
            clients.remove(key.client, number);
            if clients.len() == 0 {
                self.identities.remove(&key.identity);
            } else {
                self.largest.insert((clients.len(), key.identity));
            }
        }
        if let Some(clients) = self.servers.get_mut(&key.server) {
            clients.remove(key.client, number);
            if clients.len() == 0 {
                self.servers.remove(&key.server);
            }
        }
        Some((key, handle))
    }

    /// The connection to evict for a new connection with this key, among those that count against the exceeded limit.
    fn eviction_candidate(&self, limit: LimitReached, key: &ConnectionKey) -> Option<u64> {
        let seen = |number: u64| self.taken.get(&number).map(|(_, handle)| handle.state());
        let clients: Vec<&ByClient> = match limit {
            LimitReached::Client => self.identities.get(&key.identity).into_iter().collect(),
            LimitReached::Server => self.servers.get(&key.server).into_iter().collect(),
            LimitReached::Total => {
                let largest = self.largest.iter().rev().take(IDENTITIES_SEARCHED);
                largest.filter_map(|(_, identity)| self.identities.get(identity)).collect()
            }
        };
        let idle = clients.iter().find_map(|clients| clients.least_active(seen, Activity::Idle));
        idle.or_else(|| {
            let (largest, count) = clients.first()?.largest()?;
            let own = match limit {
                LimitReached::Total => self.identities.get(&key.identity).map_or(0, |own| own.of(key.client)),
                _ => clients.first()?.of(key.client),
            };
            // The margin of one keeps clients with the same number of connections from evicting one another.
            (count > own + 1).then(|| clients[0].least_active_of(largest, seen, Activity::Busy)).flatten()
        })
    }
}

/// The registration of a connection that waits for a slot.
pub(crate) struct Waiting<'a> {
    waiting: &'a AtomicUsize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // An evicted connection released its slot before it ended; then this does nothing.
        self.slots.state().release(self.number);
    }
}

#[cfg(test)]
mod tests;
