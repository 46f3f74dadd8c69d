//! Reads events of the packet path and of the proxy into the feed.

use crate::feed::Feed;
use crate::occupancy::LatestOccupancy;
use crate::record::Record;
use crate::request_events::{EventReceiver, ProxyMessage};
use crate::request_record;
use flow::LostSource;
use loader::EventRing;
use rustix::event::{PollFd, PollFlags, poll};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Maximum number of events that are read before subscribers are notified.
const BATCH: usize = 256;

/// Delay before binding the socket is retried.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the threads that read events of the packet path and of the proxy at `socket`.
pub(crate) fn start(
    ring: EventRing,
    socket: PathBuf,
    (feed, occupancy): (Arc<Feed>, LatestOccupancy),
) -> anyhow::Result<()> {
    let packet_feed = Arc::clone(&feed);
    thread::Builder::new().name("packets".into()).spawn(move || packets(ring, &packet_feed))?;
    thread::Builder::new()
        .name("requests".into())
        .spawn(move || requests(bind(&socket), &feed, &occupancy))?;
    Ok(())
}

fn packets(mut ring: EventRing, feed: &Feed) {
    loop {
        let waited = poll(&mut [PollFd::from_borrowed_fd(ring.as_fd(), PollFlags::IN)], None);
        if let Err(error) = waited
            && error != rustix::io::Errno::INTR
        {
            tracing::error!(%error, "events of the packet path cannot be read any more");
            return;
        }
        loop {
            let events: Vec<Record> = ring.by_ref().take(BATCH).map(Record::Packet).collect();
            let more = events.len() == BATCH;
            feed.push(events);
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

fn requests(mut receiver: EventReceiver, feed: &Feed, occupancy: &LatestOccupancy) {
    loop {
        let message = match receiver.receive() {
            Ok(bytes) => ProxyMessage::parse(bytes),
            Err(error) => {
                tracing::error!(%error, "events of the proxy cannot be received any more");
                return;
            }
        };
        match message {
            Ok(ProxyMessage::Requests(message)) => {
                feed.report_lost(LostSource::Proxy, message.lost);
                feed.push(message.records().map(request));
            }
            Ok(ProxyMessage::Occupancy(report)) => occupancy.update(report),
            Err(error) => tracing::warn!(%error, "a message of the proxy could not be parsed"),
        }
    }
}

fn request(record: &[u8]) -> Record {
    let bytes = record.into();
    if request_record::is_forwarded(record) { Record::Request(bytes) } else { Record::RefusedRequest(bytes) }
}
