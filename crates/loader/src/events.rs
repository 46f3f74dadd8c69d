//! Reads the ring buffers into which the packet path writes its events.

use crate::loaded::Loaded;
use crate::read::{Counters, LostCounts, ReadError};
use abi::event::FlowEvent;
use abi::map::MapId;
use aya::maps::{Map, MapData, RingBuf};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::iter;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use zerocopy::FromBytes;

/// The reader of the rings of forwarded and of denied packets. The kernel keeps one read position for all readers: two readers
/// get each event once.
pub struct EventRings {
    rings: [RingBuf<MapData>; 2],
    counters: Counters,
}

/// Wakes the thread that reads the rings, by the first event after all were read, and again where a ring is half full.
#[derive(Debug)]
pub struct EventSignal {
    poll: OwnedFd,
}

/// How long events are collected before they are read.
const COLLECTING: Duration = Duration::from_millis(50);

/// Events that a ring holds, of the capacity that it has by default.
const MOST: usize = MapId::Events.default_capacity() as usize / size_of::<FlowEvent>();

impl Loaded {
    /// Opens the rings. The first events are those that no reader has read yet.
    pub fn events(&self) -> io::Result<EventRings> {
        let [forwards, denials] = [MapId::Events, MapId::Denials].map(|map| {
            let data = MapData::from_fd(self.entryless[&map].try_clone()?).map_err(io::Error::other)?;
            RingBuf::try_from(Map::RingBuf(data)).map_err(io::Error::other)
        });
        Ok(EventRings { rings: [forwards?, denials?], counters: self.counters() })
    }
}

impl EventRings {
    /// The signal that tells when to read.
    pub fn signal(&self) -> io::Result<EventSignal> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for ring in &self.rings {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&poll, ring.as_fd(), epoll::EventData::new_u64(0), flags)?;
        }
        Ok(EventSignal { poll })
    }

    /// Reads the events that wait: forwarded packets, then denied ones. Of each ring at most as many as it holds, so that
    /// neither keeps the reader from the other.
    pub fn batch(&mut self) -> impl Iterator<Item = FlowEvent> {
        self.rings.iter_mut().flat_map(|ring| iter::from_fn(|| next(ring)).take(MOST))
    }

    /// How many events found no room.
    pub fn lost(&self) -> Result<LostCounts, ReadError> {
        self.counters.lost_events()
    }
}

impl fmt::Debug for EventRings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRings").finish_non_exhaustive()
    }
}

impl EventSignal {
    /// Waits until a batch of events is due: some time after the first of them, or before a ring is full; or until the time
    /// is over.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        if self.is_woken(timeout)? {
            self.is_woken(Some(COLLECTING))?;
        }
        Ok(())
    }

    /// Waits for a wake-up by the kernel: epoll reports each once, whether the rings are read or not.
    fn is_woken(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut events = [MaybeUninit::uninit(); 2];
        match epoll::wait(&self.poll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => Ok(!events.is_empty()),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

fn next(ring: &mut RingBuf<MapData>) -> Option<FlowEvent> {
    loop {
        let item = ring.next()?;
        // Every entry is a whole event. An entry of another size would be of other programs, and is skipped.
        if let Ok(event) = FlowEvent::read_from_bytes(&item) {
            return Some(event);
        }
    }
}
