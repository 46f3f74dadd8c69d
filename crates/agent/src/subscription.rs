//! A client's subscription: the thread that serves the client decodes, filters and orders the records.

use crate::feed::{Feed, Position};
use crate::record::{Decoder, Record, time_of_day};
use flow::{Filter, LostEvents, LostSource, Observed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One client's flows and gaps, batch by batch.
#[derive(Debug)]
pub(crate) struct Subscription {
    feed: Arc<Feed>,
    filter: Filter,
    ready: Vec<Observed>,
    position: Position,
    follow: bool,
    left: Arc<AtomicBool>,
}

impl Subscription {
    /// Subscribes to the last matching flows and, with `follow`, to new ones.
    pub(crate) fn new(
        feed: &Arc<Feed>,
        last: usize,
        follow: bool,
        filters: &[String],
    ) -> Result<Self, String> {
        let filter = Filter::parse(filters.iter().map(String::as_str)).map_err(|error| error.to_string())?;
        feed.read_packets();
        let (records, position) = if last > 0 { feed.all() } else { (Vec::new(), feed.end_position()) };
        let (feed, left) = (Arc::clone(feed), Arc::default());
        let mut new = Self { feed, filter, ready: Vec::new(), position, follow, left };
        new.ready = latest(new.decode(&records), last);
        Ok(new)
    }

    /// The flag to set when the client has disconnected, before [`Feed::wake`].
    pub(crate) fn left(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.left)
    }

    /// Decodes the records that the client wants to see, in the order of time.
    fn decode(&self, records: &[Record]) -> Vec<Observed> {
        let decoder = Decoder::new(&self.feed.names);
        let decoded = records.iter().filter_map(|record| decoder.decode(record));
        let mut wanted: Vec<Observed> = decoded
            .filter(|observed| match observed {
                Observed::Flow(flow) => self.filter.matches(flow),
                Observed::Lost { .. } => true,
            })
            .collect();
        wanted.sort_by_key(Observed::time);
        wanted
    }

    /// Waits for new records; false once the subscription has ended.
    fn wait(&mut self) -> bool {
        let Self { feed, left, position, .. } = self;
        let Some(taken) = feed.wait(position, || left.load(Ordering::Relaxed)) else { return false };
        self.ready = self.decode(&taken.records);
        if taken.missed > 0 {
            let lost_events = LostEvents { source: LostSource::SlowReader, num_events_lost: taken.missed };
            let time = self.ready.first().map_or_else(time_of_day, Observed::time);
            self.ready.insert(0, Observed::Lost { lost_events, time });
        }
        true
    }
}

impl Iterator for Subscription {
    type Item = Vec<Observed>;

    /// The next batch, which is never empty.
    fn next(&mut self) -> Option<Vec<Observed>> {
        while self.ready.is_empty() {
            if !self.follow || !self.wait() {
                return None;
            }
        }
        Some(std::mem::take(&mut self.ready))
    }
}

/// The last flows, and the gaps among them.
fn latest(mut all: Vec<Observed>, count: usize) -> Vec<Observed> {
    let is_flow = |observed: &Observed| matches!(observed, Observed::Flow(_));
    let excess = all.iter().filter(|observed| is_flow(observed)).count().saturating_sub(count);
    let flows = all.iter().enumerate().filter(|(_, observed)| is_flow(observed));
    let first = if excess == 0 { None } else { flows.map(|(index, _)| index).nth(excess) };
    all.split_off(first.unwrap_or(0))
}
