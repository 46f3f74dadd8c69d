//! Records of requests that wait for the agent: a bounded buffer, from which messages of many records are taken.

use crate::request_record;
use proxy::{RequestEvent, RequestVerdict};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of records at which a message is full.
pub(crate) const MESSAGE: usize = 48 * 1024;
/// Maximum number of bytes that wait.
const LIMIT: usize = 1024 * 1024;
/// How much of it only requests that were not forwarded may take.
const RESERVE: usize = 256 * 1024;

/// What a message starts with; records follow.
#[derive(Clone, Copy, Debug, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MessageHeader {
    kind: [u8; 8],
    /// Requests whose records found no room since the message before.
    lost: u64,
}

/// Tells a message of this format from all others.
const KIND: [u8; 8] = *b"nexinrq1";
const HEADER: usize = size_of::<MessageHeader>();

/// The records of one thread of the proxy that wait.
#[derive(Debug)]
pub(crate) struct RequestBatch {
    /// Records from `start` on; before it, room for the header of the next message.
    bytes: Vec<u8>,
    start: usize,
    /// Where the message ends that was taken last.
    end: usize,
    /// How many records wait, and how many of them the message has that was taken last.
    records: u64,
    taken: u64,
    lost: u64,
}

/// A message, as the agent reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestMessage<'a> {
    /// Requests that the proxy could not report, since the message before.
    pub(crate) lost: u64,
    records: &'a [u8],
}

impl Default for RequestBatch {
    fn default() -> Self {
        Self { bytes: vec![0; HEADER], start: HEADER, end: HEADER, records: 0, taken: 0, lost: 0 }
    }
}

impl RequestBatch {
    /// Bytes of the records that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many requests no message has reported, by their records or as lost.
    pub(crate) fn unreported(&self) -> u64 {
        self.records + self.lost
    }

    /// Adds the record of an event that happened at this time of the monotonic clock, or counts it where there is no room.
    pub(crate) fn push(&mut self, event: &RequestEvent<'_>, time: u64) {
        let limit = if event.verdict == RequestVerdict::Forward { LIMIT - RESERVE } else { LIMIT };
        let length = request_record::length(event);
        if self.len() + length > limit {
            self.lost += 1;
            return;
        }
        if self.bytes.len() + length > HEADER + LIMIT {
            self.bytes.drain(HEADER..self.start);
            self.start = HEADER;
        }
        request_record::append(event, time, &mut self.bytes);
        self.records += 1;
    }

    /// The next message, with as many whole records as it has room for; none where none wait.
    pub(crate) fn message(&mut self) -> Option<&[u8]> {
        if self.is_empty() {
            return None;
        }
        (self.end, self.taken) = (self.start, 0);
        while let Some(length) = request_record::first(&self.bytes[self.end..])
            && (self.end == self.start || self.end + length <= self.start + MESSAGE)
        {
            self.end += length;
            self.taken += 1;
        }
        let header = MessageHeader { kind: KIND, lost: self.lost };
        // The records before were sent.
        self.bytes[self.start - HEADER..self.start].copy_from_slice(header.as_bytes());
        Some(self.prepared())
    }

    /// The message that [`Self::message`] returned last.
    pub(crate) fn prepared(&self) -> &[u8] {
        &self.bytes[self.start - HEADER..self.end]
    }

    /// How many requests no message has reported once the last one is sent.
    pub(crate) fn unreported_then(&self) -> u64 {
        self.records - self.taken
    }

    /// The message was sent.
    pub(crate) fn sent(&mut self) {
        self.lost = 0;
        self.remove();
    }

    /// The message cannot be sent at all: its records are counted as lost.
    pub(crate) fn lose(&mut self) {
        self.lost += self.taken;
        self.remove();
    }

    /// Removes the records of the message.
    fn remove(&mut self) {
        self.start = self.end;
        self.records -= std::mem::take(&mut self.taken);
        if self.is_empty() {
            self.bytes.truncate(HEADER);
            self.bytes.shrink_to(HEADER + 2 * MESSAGE);
            (self.start, self.end) = (HEADER, HEADER);
        }
    }
}

impl<'a> RequestMessage<'a> {
    /// Reads a message; none where it is another.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, records) = MessageHeader::read_from_prefix(bytes).ok()?;
        (header.kind == KIND).then_some(Self { lost: header.lost, records })
    }

    /// The records, in order; bytes at the end that are no record are left out.
    pub(crate) fn records(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.records;
        std::iter::from_fn(move || {
            let (record, after) = rest.split_at(request_record::first(rest)?);
            rest = after;
            Some(record)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_record::tests::event;
    use crate::request_record::{RequestRecord, is_forwarded};

    /// Takes every message; returns the records, and how many were said to be lost.
    fn drain(batch: &mut RequestBatch) -> (Vec<Vec<u8>>, u64) {
        let (mut records, mut lost) = (Vec::new(), 0);
        while let Some(message) = batch.message() {
            let length = message.len();
            let message = RequestMessage::parse(message).unwrap();
            records.extend(message.records().map(<[u8]>::to_vec));
            lost += message.lost;
            assert!(length <= HEADER + MESSAGE || message.records().count() == 1, "{length} bytes");
            batch.sent();
        }
        (records, lost)
    }

    #[test]
    fn every_request_is_in_one_message_or_counted() {
        let mut batch = RequestBatch::default();
        for round in 0..3 {
            let count = 30_000;
            (0..count).for_each(|number| batch.push(&event(RequestVerdict::Forward, "/forward"), number));
            assert_eq!(batch.unreported(), count, "round {round}");
            let (records, lost) = drain(&mut batch);
            assert!(lost > 0, "round {round}");
            assert_eq!(batch.unreported(), 0, "round {round}");
            assert_eq!(records.len() as u64 + lost, count, "round {round}");
            let times = records.iter().map(|record| RequestRecord::parse(record).unwrap().request().time);
            assert!(times.eq(0..records.len() as u64), "the first that came have room");
        }
        assert_eq!(drain(&mut batch), (Vec::new(), 0));
    }

    #[test]
    fn forwards_leave_room_for_denials() {
        let mut batch = RequestBatch::default();
        (0..30_000).for_each(|_| batch.push(&event(RequestVerdict::Forward, "/forward"), 0));
        let before = batch.lost;
        let denied = event(RequestVerdict::Deny, "/denied");
        let reserved = RESERVE / request_record::length(&denied);
        for verdict in [RequestVerdict::Deny, RequestVerdict::Refuse].iter().cycle().take(reserved) {
            batch.push(&event(*verdict, "/denied"), 0);
        }
        assert_eq!(batch.lost, before);
        batch.push(&denied, 0);
        batch.push(&denied, 0);
        assert!(batch.lost > before);
        let (records, _) = drain(&mut batch);
        assert!(records.iter().filter(|record| !is_forwarded(record)).count() >= reserved);
    }

    #[test]
    fn records_that_come_while_messages_are_refused_are_sent_in_order() {
        let mut batch = RequestBatch::default();
        let mut times = Vec::new();
        for number in 0..10_000 {
            batch.push(&event(RequestVerdict::Forward, "/forward"), number);
            // One message in two is refused.
            if number % 500 == 0 && batch.message().is_some() && number % 1000 == 0 {
                let message = RequestMessage::parse(batch.message().unwrap()).unwrap();
                times.extend(
                    message.records().map(|record| RequestRecord::parse(record).unwrap().request().time),
                );
                batch.sent();
            }
        }
        times.extend(
            drain(&mut batch).0.iter().map(|record| RequestRecord::parse(record).unwrap().request().time),
        );
        assert!(times.iter().copied().eq(0..times.len() as u64));
    }

    #[test]
    fn a_message_that_cannot_be_sent_is_counted() {
        let mut batch = RequestBatch::default();
        (0..3).for_each(|_| batch.push(&event(RequestVerdict::Forward, "/forward"), 0));
        batch.message().unwrap();
        batch.lose();
        assert!(batch.is_empty());
        assert_eq!(batch.unreported(), 3);
        batch.push(&event(RequestVerdict::Forward, "/forward"), 0);
        assert_eq!(RequestMessage::parse(batch.message().unwrap()).unwrap().lost, 3);
    }

    #[test]
    fn other_messages_are_none_of_requests() {
        assert!(RequestMessage::parse(b"").is_none());
        assert!(RequestMessage::parse(br#"{"in_use": 1, "limit": 2}"#).is_none());
        let whole = [MessageHeader { kind: KIND, lost: 2 }.as_bytes(), &[1; 30]].concat();
        assert_eq!(RequestMessage::parse(&whole).unwrap().records().count(), 0);
    }
}
