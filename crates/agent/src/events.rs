//! Reads events of the packet path and of the proxy into the feed.

use crate::feed::Feed;
use crate::occupancy::LatestOccupancy;
use crate::record::Record;
use crate::request_events::{EventReceiver, ProxyMessage};
use flow::LostSource;
use loader::EventSignal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Delay before binding the socket is retried.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the threads that read events of the packet path and of the proxy at `socket`.
pub(crate) fn start(
    signal: EventSignal,
    socket: PathBuf,
    (feed, occupancy): (Arc<Feed>, LatestOccupancy),
) -> anyhow::Result<()> {
    let packet_feed = Arc::clone(&feed);
    thread::Builder::new().name("packets".into()).spawn(move || packets(&signal, &packet_feed))?;
    thread::Builder::new()
        .name("requests".into())
        .spawn(move || requests(bind(&socket), &feed, &occupancy))?;
    Ok(())
}

fn packets(signal: &EventSignal, feed: &Feed) {
    loop {
        if let Err(error) = signal.wait(None) {
            tracing::error!(%error, "events of the packet path cannot be read any more");
            return;
        }
        feed.read_packets();
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
    let mut known = None;
    loop {
        match receiver.receive() {
            Ok(ProxyMessage::Request { bytes, forwarded, lost }) => {
                // A lower number is a new proxy's.
                let before = known.replace(lost).unwrap_or(lost);
                feed.report_lost(LostSource::Proxy, lost.checked_sub(before).unwrap_or(lost));
                feed.push([if forwarded { Record::Request(bytes) } else { Record::RefusedRequest(bytes) }]);
            }
            Ok(ProxyMessage::Occupancy(report)) => occupancy.update(report),
            Err(error) => {
                tracing::error!(%error, "events of the proxy cannot be received any more");
                return;
            }
        }
    }
}
