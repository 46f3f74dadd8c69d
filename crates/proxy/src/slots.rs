//! The slots for connections: how many there are, and who gets one when they run out.
//!
//! A client identity and a server each have a share. Where a share or the whole is used up, the least useful idle
//! connection of the client with the most makes room; an exchange that goes on does so only for a client that has fewer
//! connections than its own.

mod clients;

use crate::config::Config;
use crate::handle::{Activity, Command, Handle};
use clients::ByClient;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many identities are looked through for an idle connection, from the one with the most.
const IDENTITIES_SEARCHED: usize = 8;

/// How the slots are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Connections now.
    pub in_use: usize,
    /// How many there may be.
    pub limit: usize,
    /// Connections of the identity that has the most.
    pub largest_client: usize,
    /// Refused since the start, as all slots were taken by exchanges that go on.
    pub refused_full: u64,
    /// Refused since the start, as the client identity's share was.
    pub refused_client: u64,
    /// Refused since the start, as the server's share was.
    pub refused_server: u64,
    /// Closed since the start to make room for others.
    pub evicted: u64,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionKey {
    /// The client's identity; 0 where policy does not know it.
    pub(crate) identity: u32,
    pub(crate) client: IpAddr,
    pub(crate) server: IpAddr,
}

/// What a connection could not get a slot of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitReached {
    Total,
    Client,
    Server,
}

/// All slots.
#[derive(Debug)]
pub(crate) struct Slots {
    limit: usize,
    client_limit: usize,
    server_limit: usize,
    state: Mutex<State>,
    /// Connections that wait for a slot.
    waiting: AtomicUsize,
    refused: [AtomicU64; 3],
    evicted: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    taken: HashMap<u64, (ConnectionKey, Arc<Handle>)>,
    identities: HashMap<u32, ByClient>,
    servers: HashMap<IpAddr, ByClient>,
    /// Identities by how many slots they have.
    largest: BTreeSet<(usize, u32)>,
}

/// A slot that is taken; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    pub(crate) handle: Arc<Handle>,
}

impl Slots {
    pub(crate) fn new(config: &Config) -> Self {
        let share = |percent: u8| (config.max_connections * usize::from(percent.min(100)) / 100).max(1);
        Self {
            limit: config.max_connections.max(1),
            client_limit: share(config.client_share),
            server_limit: share(config.server_share),
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            refused: Default::default(),
            evicted: AtomicU64::new(0),
        }
    }

    /// A slot for a new connection; where there is none, one that is of less use makes room.
    pub(crate) fn take(self: &Arc<Self>, key: ConnectionKey, now: Instant) -> Result<Slot, LimitReached> {
        let mut state = self.state();
        while let Some(full) = self.full(&state, &key) {
            let eviction_candidate = state.eviction_candidate(full, &key).ok_or(full)?;
            if let Some((_, handle)) = state.release(eviction_candidate) {
                handle.send(Command::Close);
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        let handle = Arc::new(Handle::new(now));
        let number = state.admit(key, Arc::clone(&handle));
        Ok(Slot { slots: Arc::clone(self), number, handle })
    }

    /// Room to wait for a slot, which is bounded as well.
    pub(crate) fn wait(&self) -> Option<Waiting<'_>> {
        let waiting = Waiting { waiting: &self.waiting };
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        (before < Self::waiting_limit(self.limit)).then_some(waiting)
    }

    /// How many connections may wait beside this many that have a slot.
    pub(crate) fn waiting_limit(limit: usize) -> usize {
        limit / 16 + 16
    }

    /// Counts a connection that got no slot.
    pub(crate) fn refuse(&self, full: LimitReached) {
        self.refused[full as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        let state = self.state();
        let refused = |full: LimitReached| self.refused[full as usize].load(Ordering::Relaxed);
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

    /// Every connection, those with exchanges that go on first.
    pub(crate) fn handles(&self) -> Vec<Arc<Handle>> {
        let mut handles: Vec<_> = self.state().taken.values().map(|(_, handle)| Arc::clone(handle)).collect();
        handles.sort_by_cached_key(|handle| std::cmp::Reverse(handle.state().0));
        handles
    }

    fn full(&self, state: &State, key: &ConnectionKey) -> Option<LimitReached> {
        let of = |crowd: Option<&ByClient>| crowd.map_or(0, ByClient::len);
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
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&mut self, key: ConnectionKey, handle: Arc<Handle>) -> u64 {
        self.last += 1;
        let number = self.last;
        let crowd = self.identities.entry(key.identity).or_default();
        self.largest.remove(&(crowd.len(), key.identity));
        crowd.add(key.client, number);
        self.largest.insert((crowd.len(), key.identity));
        self.servers.entry(key.server).or_default().add(key.client, number);
        self.taken.insert(number, (key, handle));
        number
    }

    fn release(&mut self, number: u64) -> Option<(ConnectionKey, Arc<Handle>)> {
        let (key, handle) = self.taken.remove(&number)?;
        if let Some(crowd) = self.identities.get_mut(&key.identity) {
            self.largest.remove(&(crowd.len(), key.identity));
            crowd.remove(key.client, number);
            if crowd.len() == 0 {
                self.identities.remove(&key.identity);
            } else {
                self.largest.insert((crowd.len(), key.identity));
            }
        }
        if let Some(crowd) = self.servers.get_mut(&key.server) {
            crowd.remove(key.client, number);
            if crowd.len() == 0 {
                self.servers.remove(&key.server);
            }
        }
        Some((key, handle))
    }

    /// The connection that makes room for one of these key, among those that its slot could come from.
    fn eviction_candidate(&self, full: LimitReached, key: &ConnectionKey) -> Option<u64> {
        let seen = |number: u64| self.taken.get(&number).map(|(_, handle)| handle.state());
        let crowds: Vec<&ByClient> = match full {
            LimitReached::Client => self.identities.get(&key.identity).into_iter().collect(),
            LimitReached::Server => self.servers.get(&key.server).into_iter().collect(),
            LimitReached::Total => {
                let largest = self.largest.iter().rev().take(IDENTITIES_SEARCHED);
                largest.filter_map(|(_, identity)| self.identities.get(identity)).collect()
            }
        };
        let idle = crowds.iter().find_map(|crowd| crowd.least_active(seen, Activity::Idle));
        idle.or_else(|| {
            let (largest, count) = crowds.first()?.largest()?;
            let own = match full {
                LimitReached::Total => self.identities.get(&key.identity).map_or(0, |own| own.of(key.client)),
                _ => crowds.first()?.of(key.client),
            };
            // One more than the newcomer will have: clients of the same weight do not take from one another.
            (count > own + 1).then(|| crowds[0].least_active_of(largest, seen, Activity::Busy)).flatten()
        })
    }
}

/// A connection that waits for a slot.
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
        // It may have made room before it ended.
        self.slots.state().release(self.number);
    }
}

#[cfg(test)]
mod tests;
