//! Detects that a client that follows flows has disconnected, also while no flow matches its filter.

use crate::feed::Feed;
use crate::problems::{Problem, Problems};
use crate::threads;
use rustix::event::epoll;
use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Delay after an error before the thread waits again.
const RETRY: Duration = Duration::from_secs(1);

/// The failure, as status and log name it.
const UNWATCHED: Problem = Problem::new(
    "disconnected clients are detected only when the agent sends to them",
    "the agent tries again until that succeeds",
);
/// What is missing when the thread ends.
const UNDETECTED: &str = "clients that disconnect keep their threads until a flow is sent to them";

/// The connections of clients that follow flows.
#[derive(Debug)]
pub(crate) struct Disconnects {
    poll: OwnedFd,
    watched: Mutex<BTreeMap<u64, Arc<AtomicBool>>>,
    next: AtomicU64,
}

/// A connection that is watched until this value is dropped.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    disconnects: &'a Disconnects,
    stream: &'a UnixStream,
    number: u64,
}

impl Disconnects {
    /// Starts the thread that watches; when a client disconnects, it wakes the threads that wait for flows.
    pub(crate) fn new(feed: Arc<Feed>, problems: &Problems) -> io::Result<Arc<Self>> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let new = Arc::new(Self { poll, watched: Mutex::default(), next: AtomicU64::new(0) });
        let (disconnects, shared) = (Arc::clone(&new), problems.clone());
        threads::start("disconnects", problems.clone(), UNDETECTED, move || {
            disconnects.watch_all(&feed, &shared);
        })?;
        Ok(new)
    }

    /// Sets `left` once the client has closed its socket. A client that has only shut down its sending side has not
    /// disconnected.
    pub(crate) fn watch<'a>(
        &'a self,
        stream: &'a UnixStream,
        left: Arc<AtomicBool>,
    ) -> io::Result<Watch<'a>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.watched().insert(number, left);
        let watch = Watch { disconnects: self, stream, number };
        // epoll always reports a hang-up.
        epoll::add(&self.poll, stream, epoll::EventData::new_u64(number), epoll::EventFlags::ONESHOT)?;
        Ok(watch)
    }

    fn watch_all(&self, feed: &Feed, problems: &Problems) {
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
                    if problems.has(UNWATCHED) {
                        problems.note(UNWATCHED, Ok::<(), String>(()));
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    problems.note(UNWATCHED, Err(error));
                    thread::sleep(RETRY);
                }
            }
        }
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<AtomicBool>>> {
        // Each change of the map is a single call, so a panic cannot leave it inconsistent.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // Fails if the connection could not be added.
        let _ = epoll::delete(&self.disconnects.poll, self.stream);
        self.disconnects.watched().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::SharedNames;
    use crate::subscription::Subscription;
    use std::net::Shutdown;
    use std::time::{Duration, Instant};

    #[test]
    fn only_the_subscription_of_a_disconnected_client_ends() {
        let feed = Arc::new(Feed::new(SharedNames::default()));
        let disconnects = Disconnects::new(Arc::clone(&feed), &Problems::default()).unwrap();
        let follow = |(ours, theirs): (UnixStream, UnixStream)| {
            let (feed, disconnects) = (Arc::clone(&feed), Arc::clone(&disconnects));
            let following = thread::spawn(move || {
                let subscription = Subscription::new(&feed, 0, true, &[]).unwrap();
                let _watch = disconnects.watch(&ours, subscription.left()).unwrap();
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
        assert_eq!(disconnects.watched().len(), 0);
    }
}
