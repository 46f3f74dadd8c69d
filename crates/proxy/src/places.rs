//! The places for connections: how many there are, and who gets one when they run out.
//!
//! A client identity and a server each have a share. Where a share or the whole is used up, the least useful idle
//! connection of the client with the most makes room; an exchange that goes on does so only for a client that has fewer
//! connections than its own.

mod crowd;

use crate::config::Config;
use crate::seat::{Order, Seat, Use};
use crowd::Crowd;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many identities are looked through for an idle connection, from the one with the most.
const LOOKED_THROUGH: usize = 8;

/// How the places are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Connections now.
    pub in_use: usize,
    /// How many there may be.
    pub limit: usize,
    /// Connections of the identity that has the most.
    pub most_of_a_client: usize,
    /// Refused since the start, as all places were taken by exchanges that go on.
    pub refused_full: u64,
    /// Refused since the start, as the client identity's share was.
    pub refused_client: u64,
    /// Refused since the start, as the server's share was.
    pub refused_server: u64,
    /// Closed since the start to make room for others.
    pub made_room: u64,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parties {
    /// The client's identity; 0 where policy does not know it.
    pub(crate) identity: u32,
    pub(crate) client: IpAddr,
    pub(crate) server: IpAddr,
}

/// What a connection could not get a place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    All,
    Client,
    Server,
}

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    limit: usize,
    client_limit: usize,
    server_limit: usize,
    state: Mutex<State>,
    /// Connections that wait for a place.
    waiting: AtomicUsize,
    refused: [AtomicU64; 3],
    made_room: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    taken: HashMap<u64, (Parties, Arc<Seat>)>,
    identities: HashMap<u32, Crowd>,
    servers: HashMap<IpAddr, Crowd>,
    /// Identities by how many places they have.
    heaviest: BTreeSet<(usize, u32)>,
}

/// A place that is taken; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    pub(crate) seat: Arc<Seat>,
}

impl Places {
    pub(crate) fn new(config: &Config) -> Self {
        let share = |percent: u8| (config.max_connections * usize::from(percent.min(100)) / 100).max(1);
        Self {
            limit: config.max_connections.max(1),
            client_limit: share(config.client_share),
            server_limit: share(config.server_share),
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            refused: Default::default(),
            made_room: AtomicU64::new(0),
        }
    }

    /// A place for a new connection; where there is none, one that is of less use makes room.
    pub(crate) fn take(self: &Arc<Self>, parties: Parties, now: Instant) -> Result<Place, Full> {
        let mut state = self.state();
        while let Some(full) = self.full(&state, &parties) {
            let victim = state.victim(full, &parties).ok_or(full)?;
            if let Some((_, seat)) = state.give_back(victim) {
                seat.order(Order::Leave);
                self.made_room.fetch_add(1, Ordering::Relaxed);
            }
        }
        let seat = Arc::new(Seat::new(now));
        let number = state.give(parties, Arc::clone(&seat));
        Ok(Place { places: Arc::clone(self), number, seat })
    }

    /// Room to wait for a place, which is bounded as well.
    pub(crate) fn wait(&self) -> Option<Waiting<'_>> {
        let waiting = Waiting { waiting: &self.waiting };
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        (before < Self::waiting_limit(self.limit)).then_some(waiting)
    }

    /// How many connections may wait beside this many that have a place.
    pub(crate) fn waiting_limit(limit: usize) -> usize {
        limit / 16 + 16
    }

    /// Counts a connection that got no place.
    pub(crate) fn refuse(&self, full: Full) {
        self.refused[full as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        let state = self.state();
        let refused = |full: Full| self.refused[full as usize].load(Ordering::Relaxed);
        Occupancy {
            in_use: state.taken.len(),
            limit: self.limit,
            most_of_a_client: state.heaviest.last().map_or(0, |(count, _)| *count),
            refused_full: refused(Full::All),
            refused_client: refused(Full::Client),
            refused_server: refused(Full::Server),
            made_room: self.made_room.load(Ordering::Relaxed),
        }
    }

    /// Every connection, those with exchanges that go on first.
    pub(crate) fn seats(&self) -> Vec<Arc<Seat>> {
        let mut seats: Vec<_> = self.state().taken.values().map(|(_, seat)| Arc::clone(seat)).collect();
        seats.sort_by_cached_key(|seat| std::cmp::Reverse(seat.state().0));
        seats
    }

    fn full(&self, state: &State, parties: &Parties) -> Option<Full> {
        let of = |crowd: Option<&Crowd>| crowd.map_or(0, Crowd::len);
        if of(state.identities.get(&parties.identity)) >= self.client_limit {
            Some(Full::Client)
        } else if of(state.servers.get(&parties.server)) >= self.server_limit {
            Some(Full::Server)
        } else if state.taken.len() >= self.limit {
            Some(Full::All)
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
    fn give(&mut self, parties: Parties, seat: Arc<Seat>) -> u64 {
        self.last += 1;
        let number = self.last;
        let crowd = self.identities.entry(parties.identity).or_default();
        self.heaviest.remove(&(crowd.len(), parties.identity));
        crowd.add(parties.client, number);
        self.heaviest.insert((crowd.len(), parties.identity));
        self.servers.entry(parties.server).or_default().add(parties.client, number);
        self.taken.insert(number, (parties, seat));
        number
    }

    fn give_back(&mut self, number: u64) -> Option<(Parties, Arc<Seat>)> {
        let (parties, seat) = self.taken.remove(&number)?;
        if let Some(crowd) = self.identities.get_mut(&parties.identity) {
            self.heaviest.remove(&(crowd.len(), parties.identity));
            crowd.remove(parties.client, number);
            if crowd.len() == 0 {
                self.identities.remove(&parties.identity);
            } else {
                self.heaviest.insert((crowd.len(), parties.identity));
            }
        }
        if let Some(crowd) = self.servers.get_mut(&parties.server) {
            crowd.remove(parties.client, number);
            if crowd.len() == 0 {
                self.servers.remove(&parties.server);
            }
        }
        Some((parties, seat))
    }

    /// The connection that makes room for one of these parties, among those that its place could come from.
    fn victim(&self, full: Full, parties: &Parties) -> Option<u64> {
        let seen = |number: u64| self.taken.get(&number).map(|(_, seat)| seat.state());
        let crowds: Vec<&Crowd> = match full {
            Full::Client => self.identities.get(&parties.identity).into_iter().collect(),
            Full::Server => self.servers.get(&parties.server).into_iter().collect(),
            Full::All => {
                let heaviest = self.heaviest.iter().rev().take(LOOKED_THROUGH);
                heaviest.filter_map(|(_, identity)| self.identities.get(identity)).collect()
            }
        };
        let idle = crowds.iter().find_map(|crowd| crowd.least_useful(seen, Use::Idle));
        idle.or_else(|| {
            let (heaviest, count) = crowds.first()?.heaviest()?;
            let own = match full {
                Full::All => self.identities.get(&parties.identity).map_or(0, |own| own.of(parties.client)),
                _ => crowds.first()?.of(parties.client),
            };
            // One more than the newcomer will have: clients of the same weight do not take from one another.
            (count > own + 1).then(|| crowds[0].least_useful_of(heaviest, seen, Use::Busy)).flatten()
        })
    }
}

/// A connection that waits for a place.
pub(crate) struct Waiting<'a> {
    waiting: &'a AtomicUsize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It may have made room before it ended.
        self.places.state().give_back(self.number);
    }
}

#[cfg(test)]
mod tests;
