//! The latest events as they arrived, for any number of subscriptions; while there is none, an event costs one copy.

use crate::names::SharedNames;
use crate::record::{Part, Record, time_of_day};
use flow::{LostEvents, LostSource, Missed, RingBuffer};
use loader::{EventRings, LostCounts};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of the records in each part.
const CAPACITY: [usize; Part::ALL.len()] = [1 << 20, 1 << 20, 8 << 20];
/// Maximum number of records of a part that a subscription takes at once.
pub(crate) const BATCH: usize = 512;
/// How often a subscription without new records checks whether the agent stops.
const IDLE: Duration = Duration::from_secs(1);

/// The records. A slow subscription loses records; it never blocks the threads that add them.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Names for those who decode records.
    pub(crate) names: SharedNames,
    packets: Mutex<Packets>,
    state: Mutex<State>,
    changed: Condvar,
}

/// The events of the packet path.
#[derive(Debug, Default)]
struct Packets {
    rings: Option<EventRings>,
    /// Events that found no room in a ring, as far as subscriptions know.
    lost: u64,
}

#[derive(Debug)]
struct State {
    parts: [RingBuffer<Record>; Part::ALL.len()],
    /// How many subscriptions wait for new records.
    waiting: usize,
    lost: BTreeMap<LostSource, u64>,
    ended: bool,
}

/// The number of the next record of each part that a reader has not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position([u64; Part::ALL.len()]);

/// What a reader takes at once.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The records of one part after the other, each part's oldest first.
    pub(crate) records: Vec<Record>,
    /// How many records had been evicted before.
    pub(crate) missed: u64,
}

impl Feed {
    /// An empty feed.
    pub(crate) fn new(names: SharedNames) -> Self {
        let parts = CAPACITY.map(|bytes| RingBuffer::new(bytes, Record::size));
        let state = State { parts, waiting: 0, lost: BTreeMap::new(), ended: false };
        Self { names, packets: Mutex::default(), state: Mutex::new(state), changed: Condvar::new() }
    }

    /// From now on reads packets from these rings.
    pub(crate) fn read_from(&self, rings: EventRings) {
        *self.packets() = Packets { lost: lost(&rings), rings: Some(rings) };
    }

    /// Adds the packets that the packet path has reported by now.
    pub(crate) fn read_packets(&self) {
        let mut packets = self.packets();
        let Packets { rings: Some(rings), lost: known } = &mut *packets else { return };
        self.push(rings.batch().map(Record::Packet));
        let lost = lost(rings);
        self.report_lost(LostSource::PacketRing, lost.saturating_sub(*known));
        *known = lost.max(*known);
    }

    /// Adds a batch of records, oldest first, and wakes the waiting subscriptions once.
    pub(crate) fn push(&self, records: impl IntoIterator<Item = Record>) {
        let mut state = self.state();
        for record in records {
            state.parts[record.part() as usize].push(record);
        }
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Counts events that were lost on their way to the agent, and adds a record of the loss.
    pub(crate) fn report_lost(&self, source: LostSource, count: u64) {
        if count > 0 {
            *self.state().lost.entry(source).or_default() += count;
            let lost = LostEvents { source, num_events_lost: count };
            self.push([Record::Lost(lost, time_of_day())]);
        }
    }

    /// How many events were lost since the agent started, by where they were lost.
    pub(crate) fn lost(&self) -> BTreeMap<LostSource, u64> {
        self.state().lost.clone()
    }

    /// Ends all subscriptions.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Wakes all subscriptions, so that those of disconnected clients end.
    pub(crate) fn wake(&self) {
        // With the lock held, no subscription is between its check and its wait.
        let _state = self.state();
        self.changed.notify_all();
    }

    /// The position after all records.
    pub(crate) fn end_position(&self) -> Position {
        self.state().position()
    }

    /// All records, and the position after them.
    pub(crate) fn all(&self) -> (Vec<Record>, Position) {
        let state = self.state();
        let records = state.parts.iter().flat_map(|part| part.since(0).0.cloned()).collect();
        (records, state.position())
    }

    /// Waits for records after a position, and takes the next of them; none once `is_over` or at the feed's end, where
    /// nothing is left.
    pub(crate) fn wait(&self, position: &mut Position, is_over: impl Fn() -> bool) -> Option<Taken> {
        let mut state = self.state();
        while state.position() == *position && !state.ended && !is_over() {
            state.waiting += 1;
            let waited = self.changed.wait_timeout(state, IDLE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        let taken = state.take(position);
        let ends = state.ended || is_over();
        (!(ends && taken.records.is_empty())).then_some(taken)
    }

    fn packets(&self) -> MutexGuard<'_, Packets> {
        // A panic leaves events in the rings, and the next call reads them.
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of a part is a single call, so a panic cannot leave it inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many events have found no room in a ring.
fn lost(rings: &EventRings) -> u64 {
    match rings.lost() {
        Ok(LostCounts { forwards, denials }) => forwards + denials,
        Err(error) => {
            tracing::warn!(%error, "lost events cannot be counted");
            0
        }
    }
}

impl State {
    fn position(&self) -> Position {
        Position(self.parts.each_ref().map(RingBuffer::next))
    }

    fn take(&mut self, position: &mut Position) -> Taken {
        let mut taken = Taken { records: Vec::new(), missed: 0 };
        for (part, next) in self.parts.iter().zip(&mut position.0) {
            let (records, Missed(missed)) = part.since(*next);
            let before = taken.records.len();
            taken.records.extend(records.take(BATCH).cloned());
            taken.missed += missed;
            *next += missed + (taken.records.len() - before) as u64;
        }
        if taken.missed > 0 {
            *self.lost.entry(LostSource::SlowReader).or_default() += taken.missed;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::event::{FlowEvent, PacketVerdict};

    fn packet(verdict: PacketVerdict, time: u64) -> Record {
        Record::Packet(FlowEvent { verdict: verdict as u8, time, ..FlowEvent::default() })
    }

    #[test]
    fn a_flood_of_forwards_evicts_no_denial() {
        let feed = Feed::new(SharedNames::default());
        feed.push([packet(PacketVerdict::Drop, 1), packet(PacketVerdict::Audit, 2)]);
        feed.push((0..100_000).map(|time| packet(PacketVerdict::Forward, time)));
        let (records, _) = feed.all();
        let denials = records.iter().filter(|record| record.part() == Part::Denials).count();
        assert_eq!(denials, 2);
        assert!(records.iter().map(Record::size).sum::<usize>() <= CAPACITY.iter().sum());
    }

    #[test]
    fn what_a_slow_reader_takes_and_misses_is_all_there_was() {
        let feed = Feed::new(SharedNames::default());
        let mut position = feed.end_position();
        feed.push((0..50_000).map(|time| packet(PacketVerdict::Forward, time)));
        feed.push((0..10).map(|time| packet(PacketVerdict::Drop, time)));
        let (mut seen, mut missed) = (0, 0);
        while position != feed.end_position() {
            let taken = feed.wait(&mut position, || false).unwrap();
            assert!(taken.records.len() <= BATCH * Part::ALL.len());
            (seen, missed) = (seen + taken.records.len() as u64, missed + taken.missed);
        }
        assert!(missed > 0);
        assert_eq!(seen + missed, 50_010);
        assert_eq!(feed.lost(), BTreeMap::from([(LostSource::SlowReader, missed)]));
    }
}
