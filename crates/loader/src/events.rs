//! The ring buffer that the packet path reports to.

use crate::loaded::Loaded;
use abi::event::FlowEvent;
use aya::maps::{Map, MapData, RingBuf};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use zerocopy::FromBytes;

/// The reader of the event ring. There is one place to read from, kept by the kernel: two readers share the events.
pub struct EventRing {
    ring: RingBuf<MapData>,
}

impl Loaded {
    /// Opens the event ring; events that nobody read yet come first.
    pub fn events(&self) -> io::Result<EventRing> {
        let data = MapData::from_fd(self.events.try_clone()?).map_err(io::Error::other)?;
        let ring = RingBuf::try_from(Map::RingBuf(data)).map_err(io::Error::other)?;
        Ok(EventRing { ring })
    }
}

impl Iterator for EventRing {
    type Item = FlowEvent;

    /// The next event, copied out; nothing where the ring is empty for now.
    fn next(&mut self) -> Option<FlowEvent> {
        loop {
            let item = self.ring.next()?;
            // Every entry is a whole event; one of another layout would be of other programs, and is passed over.
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
