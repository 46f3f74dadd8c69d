//! Decodes events of the packet path and of the proxy into the feed.

use crate::feed::Feed;
use crate::names::SharedNames;
use crate::occupancy::LatestOccupancy;
use crate::request_events::{EventReceiver, ProxyMessage, RequestMessage};
use flow::{Clock, Flow};
use loader::EventRing;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maximum number of events that are decoded before subscribers are notified.
const BATCH: usize = 256;

/// Delay before binding the socket is retried.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the threads that decode events of the packet path and of the proxy at `socket`.
pub(crate) fn start(
    ring: EventRing,
    socket: PathBuf,
    names: SharedNames,
    (feed, occupancy): (Arc<Feed>, LatestOccupancy),
) -> anyhow::Result<()> {
    let (packet_names, packet_feed) = (names.clone(), Arc::clone(&feed));
    thread::Builder::new()
        .name("packets".into())
        .spawn(move || packets(ring, &packet_names, &packet_feed))?;
    thread::Builder::new()
        .name("requests".into())
        .spawn(move || requests(bind(&socket), &names, &feed, &occupancy))?;
    Ok(())
}

fn packets(mut ring: EventRing, names: &SharedNames, feed: &Feed) {
    loop {
        let waited = poll(&mut [PollFd::from_borrowed_fd(ring.as_fd(), PollFlags::IN)], None);
        if let Err(error) = waited
            && error != rustix::io::Errno::INTR
        {
            tracing::error!(%error, "events of the packet path cannot be read any more");
            return;
        }
        let clock = clock().0;
        loop {
            let flows: Vec<Flow> = ring
                .by_ref()
                .take(BATCH)
                .filter_map(|event| match Flow::from_packet(&event, names, clock) {
                    Ok(flow) => Some(flow),
                    Err(error) => {
                        tracing::warn!(%error, "an event could not be decoded");
                        None
                    }
                })
                .collect();
            let more = flows.len() == BATCH;
            feed.push(flows);
            if !more {
                break;
            }
        }
    }
}

/// Binds the socket of the proxy's events, and retries until that succeeds.
fn bind(socket: &Path) -> EventReceiver {
    let mut is_new = true;
    loop {
        match EventReceiver::bind(socket) {
            Ok(receiver) => return receiver,
            Err(error) if std::mem::take(&mut is_new) => {
                tracing::error!(%error, socket = %socket.display(), "events of the proxy cannot be received and are lost");
            }
            Err(_) => {}
        }
        thread::sleep(RETRY);
    }
}

fn requests(mut receiver: EventReceiver, names: &SharedNames, feed: &Feed, occupancy: &LatestOccupancy) {
    loop {
        match receiver.receive() {
            Ok(ProxyMessage::Request(message)) => feed.push([request(*message, names)]),
            Ok(ProxyMessage::Occupancy(report)) => occupancy.update(report),
            Err(error) => {
                tracing::error!(%error, "events of the proxy cannot be received any more");
                return;
            }
        }
    }
}

fn request(message: RequestMessage, names: &SharedNames) -> Flow {
    let (clock, epoch) = clock();
    Flow::from_request(&message.into_request(epoch), names, clock)
}

/// The relation of the clocks, and the time of day at which the monotonic clock was zero, in nanoseconds.
fn clock() -> (Clock, u64) {
    let now = clock_gettime(ClockId::Monotonic);
    let monotonic = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    (Clock::new(wall, monotonic), wall.saturating_sub(monotonic))
}
