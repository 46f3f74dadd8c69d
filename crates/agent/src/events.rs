//! Reads events of the packet path and of the proxy into the feed.

use crate::feed::Feed;
use crate::occupancy::LatestOccupancy;
use crate::problems::{Problem, Problems};
use crate::record::Record;
use crate::request_events::{EventReceiver, ProxyMessage};
use crate::request_record;
use crate::threads;
use flow::LostSource;
use loader::{EventRings, EventSignal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Delay before binding the socket is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The failures, as status and log name them.
const PACKETS: Problem = Problem::new(
    "events of the packet path cannot be read and are lost; traffic is not affected",
    "the agent tries again until that succeeds",
);
const REQUESTS: Problem = Problem::new(
    "events of the proxy cannot be received and are lost; traffic is not affected",
    "the agent tries again until that succeeds",
);

/// Starts the threads that read events of the packet path and of the proxy at `socket`.
pub(crate) fn start(
    rings: EventRings,
    socket: PathBuf,
    (feed, occupancy): (Arc<Feed>, LatestOccupancy),
    problems: &Problems,
) -> anyhow::Result<()> {
    let signal = rings.signal()?;
    feed.read_from(rings);
    let (packet_feed, shared) = (Arc::clone(&feed), problems.clone());
    threads::start("packets", problems.clone(), PACKETS.what(), move || {
        packets(&signal, &packet_feed, &shared)
    })?;
    let shared = problems.clone();
    threads::start("requests", problems.clone(), REQUESTS.what(), move || {
        loop {
            requests(bind(&socket, &shared), &feed, &occupancy, &shared);
            thread::sleep(RETRY);
        }
    })?;
    Ok(())
}

fn packets(signal: &EventSignal, feed: &Feed, problems: &Problems) {
    loop {
        if let Err(error) = signal.wait(None) {
            problems.note(PACKETS, Err(error));
            thread::sleep(RETRY);
            continue;
        }
        if problems.has(PACKETS) {
            problems.note(PACKETS, Ok::<(), String>(()));
        }
        feed.read_packets();
    }
}

/// Binds the socket of the proxy's events, and retries until that succeeds.
fn bind(socket: &Path, problems: &Problems) -> EventReceiver {
    loop {
        match EventReceiver::bind(socket) {
            Ok(receiver) => {
                problems.note(REQUESTS, Ok::<(), String>(()));
                return receiver;
            }
            Err(error) => {
                let path = socket.display();
                problems.note(REQUESTS, Err(format!("cannot bind {path}: {error}; remove what is there")));
            }
        }
        thread::sleep(RETRY);
    }
}

/// Receives events until that fails.
fn requests(mut receiver: EventReceiver, feed: &Feed, occupancy: &LatestOccupancy, problems: &Problems) {
    loop {
        let message = match receiver.receive() {
            Ok(bytes) => ProxyMessage::parse(bytes),
            Err(error) => {
                return problems.note(REQUESTS, Err(error));
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
