//! Reads the ring buffer into which the packet path writes its events.

use crate::loaded::Loaded;
use abi::event::FlowEvent;
use aya::maps::{Map, MapData, RingBuf};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use zerocopy::FromBytes;

/// The reader of the event ring. The kernel keeps one read position for all readers: two readers get each event once.
pub struct EventRing {
    ring: RingBuf<MapData>,
}

impl Loaded {
    /// Opens the event ring. The first events are those that no reader has read yet.
    pub fn events(&self) -> io::Result<EventRing> {
        let data = MapData::from_fd(self.events.try_clone()?).map_err(io::Error::other)?;
        let ring = RingBuf::try_from(Map::RingBuf(data)).map_err(io::Error::other)?;
        Ok(EventRing { ring })
    }
}

impl Iterator for EventRing {
    type Item = FlowEvent;

    /// Copies the next event; returns none while the ring is empty.
    fn next(&mut self) -> Option<FlowEvent> {
        loop {
            let item = self.ring.next()?;
            // Every entry is a whole event. An entry of another size would be of other programs, and is skipped.
            if let Ok(event) = FlowEvent::read_from_bytes(&item) {
                return Some(event);
            }
        }
    }
}

impl AsFd for EventRing {
    /// Readable when there are events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
