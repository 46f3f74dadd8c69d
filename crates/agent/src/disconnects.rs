//! Notices at once that a client who follows flows has left, also while no flow comes that it would be sent.

use crate::feed::Feed;
use rustix::event::epoll;
use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The connections of clients who follow something.
#[derive(Debug)]
pub(crate) struct Disconnects {
    poll: OwnedFd,
    watched: Mutex<BTreeMap<u64, Arc<AtomicBool>>>,
    next: AtomicU64,
}

/// A connection that is watched for as long as this value lasts.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    departures: &'a Disconnects,
    stream: &'a UnixStream,
    number: u64,
}

impl Disconnects {
    /// Watches from now on; when a client leaves, those who wait at the feed wake up.
    pub(crate) fn new(feed: Arc<Feed>) -> io::Result<Arc<Self>> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let new = Arc::new(Self { poll, watched: Mutex::default(), next: AtomicU64::new(0) });
        let departures = Arc::clone(&new);
        thread::Builder::new().name("departures".into()).spawn(move || departures.attend(&feed))?;
        Ok(new)
    }

    /// Sets `left` once the client has closed its end. One that only sends no more has not left.
    pub(crate) fn watch<'a>(
        &'a self,
        stream: &'a UnixStream,
        left: Arc<AtomicBool>,
    ) -> io::Result<Watch<'a>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.watched().insert(number, left);
        let watch = Watch { departures: self, stream, number };
        // A hang-up is reported without being asked for.
        epoll::add(&self.poll, stream, epoll::EventData::new_u64(number), epoll::EventFlags::ONESHOT)?;
        Ok(watch)
    }

    fn attend(&self, feed: &Feed) {
        let mut events = [MaybeUninit::uninit(); 64];
        loop {
            match epoll::wait(&self.poll, &mut events, None) {
                Ok((events, _)) => {
                    let watched = self.watched();
                    for number in events.iter().map(|event| event.data.u64()) {
                        watched.get(&number).inspect(|left| left.store(true, Ordering::Relaxed));
                    }
                    drop(watched);
                    feed.wake();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "clients that leave are not noticed any more until they are sent something");
                    return;
                }
            }
        }
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<AtomicBool>>> {
        // Each change of the map is one call, so a thread that panicked left it whole.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // One that could not be added is not there.
        let _ = epoll::delete(&self.departures.poll, self.stream);
        self.departures.watched().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;
    use std::time::{Duration, Instant};

    #[test]
    fn a_follower_whose_client_left_ends_and_one_that_stays_does_not() {
        let feed = Feed::new();
        let departures = Disconnects::new(Arc::clone(&feed)).unwrap();
        let follow = |(ours, theirs): (UnixStream, UnixStream)| {
            let (feed, departures) = (Arc::clone(&feed), Arc::clone(&departures));
            let following = thread::spawn(move || {
                let subscription = feed.subscribe(0, true, &[]).unwrap();
                let _watch = departures.watch(&ours, subscription.left()).unwrap();
                subscription.count()
            });
            (following, theirs)
        };
        let [gone, half, stays] = std::array::from_fn(|_| follow(UnixStream::pair().unwrap()));
        half.1.shutdown(Shutdown::Write).unwrap();
        let begun = Instant::now();
        drop(gone.1);
        assert_eq!(gone.0.join().unwrap(), 0);
        assert!(begun.elapsed() < Duration::from_millis(700), "{:?}", begun.elapsed());
        assert!(!half.0.is_finished() && !stays.0.is_finished());
        feed.end();
        assert_eq!((half.0.join().unwrap(), stays.0.join().unwrap()), (0, 0));
        assert_eq!(departures.watched().len(), 0);
    }
}
