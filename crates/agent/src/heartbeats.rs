//! Heartbeats of the proxy's threads: each writes the time into memory that it shares with the agent.
//!
//! A thread writes from its event loop. So a heartbeat is late where the process is stopped, and where one loop hangs. The
//! memory has no name in a file system: only root can write to it, and an agent that starts finds it by the proxy's process.
//!
//! Each thread also writes how many requests it has not reported to the agent yet, which are lost with a proxy that is
//! killed.

use loader::SharedWords;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals};
use rustix::time::{ClockId, clock_gettime};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

/// How often a thread writes.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);

/// The name of the memory, as `/proc` shows it.
const NAME: &str = "nexin-proxy-threads";
/// Bytes of a word.
const WORD: u64 = size_of::<u64>() as u64;
/// Bytes of one thread: a word for its time and one for its requests.
const SLOT: u64 = 2 * WORD;

/// The latest heartbeats of all threads.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    /// For each thread the time, as nanoseconds of the monotonic clock, which is zero before the first heartbeat; and the
    /// number of requests.
    memory: File,
    threads: u64,
}

/// A thread without a recent heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LateThread {
    /// Index of the thread; 0 is the main thread.
    pub(crate) thread: u64,
    /// Time since its latest heartbeat; none where it had none.
    pub(crate) since: Option<Duration>,
}

impl Heartbeats {
    /// Memory for this many threads.
    pub(crate) fn new(threads: usize) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = File::from(rustix::fs::memfd_create(NAME, flags)?);
        memory.set_len(threads as u64 * SLOT)?;
        fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::open(memory.into())
    }

    /// The memory behind a descriptor.
    pub(crate) fn open(memory: OwnedFd) -> io::Result<Self> {
        let memory = File::from(memory);
        let threads = memory.metadata()?.len() / SLOT;
        Ok(Self { memory, threads })
    }

    /// The memory of a running proxy; none where the proxy has none, as a proxy of an earlier release.
    pub(crate) fn of_process(process: u32) -> Option<Self> {
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).ok()?;
        let named = format!("/memfd:{NAME}");
        let is_memory = |path: &std::path::PathBuf| {
            fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with(&named))
        };
        let path = descriptors.filter_map(|entry| Some(entry.ok()?.path())).find(is_memory)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        Self::open(rustix::fs::open(path, flags, Mode::empty()).ok()?).ok()
    }

    /// Writes the present time for a thread.
    pub(crate) fn beat(&self, thread: usize) -> io::Result<()> {
        self.memory.write_all_at(&now().to_ne_bytes(), thread as u64 * SLOT)
    }

    /// Writes the present time for a thread, over and over, from the thread's event loop.
    pub(crate) async fn keep_beating(&self, thread: usize) -> io::Result<()> {
        loop {
            self.beat(thread)?;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// The threads whose latest heartbeat is older than `limit`, and those without any.
    pub(crate) fn late(&self, limit: Duration) -> io::Result<Vec<LateThread>> {
        let now = now();
        let mut late = Vec::new();
        for thread in 0..self.threads {
            let beat = self.read(thread * SLOT)?;
            let since = (beat > 0).then(|| Duration::from_nanos(now.saturating_sub(beat)));
            if since.is_none_or(|since| since > limit) {
                late.push(LateThread { thread, since });
            }
        }
        Ok(late)
    }

    /// The counts of unreported requests, which the threads write, by thread.
    pub(crate) fn unreported_counts(&self) -> io::Result<Vec<UnreportedCount>> {
        let words = (self.threads * SLOT / WORD) as usize;
        let words = Arc::new(SharedWords::map(self.memory.as_fd(), words)?);
        let index = |thread| ((thread * SLOT + WORD) / WORD) as usize;
        Ok((0..self.threads)
            .map(|of| UnreportedCount { words: Arc::clone(&words), index: index(of) })
            .collect())
    }

    /// How many requests all threads have not reported.
    pub(crate) fn unreported(&self) -> io::Result<u64> {
        (0..self.threads)
            .try_fold(0u64, |sum, thread| Ok(sum.saturating_add(self.read(thread * SLOT + WORD)?)))
    }

    fn read(&self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; WORD as usize];
        self.memory.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

/// How many requests a thread has not reported yet.
#[derive(Debug)]
pub(crate) struct UnreportedCount {
    words: Arc<SharedWords>,
    index: usize,
}

impl UnreportedCount {
    pub(crate) fn set(&self, count: u64) {
        self.words.store(self.index, count);
    }
}

impl AsFd for Heartbeats {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

impl std::fmt::Display for LateThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.thread {
            0 => write!(f, "its main thread")?,
            worker => write!(f, "its worker {}", worker - 1)?,
        }
        match self.since {
            Some(since) => write!(f, " for {:.1} s", since.as_secs_f64()),
            None => write!(f, " since it started"),
        }
    }
}

/// Nanoseconds of the monotonic clock, which all processes share.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_that_all_threads_have_not_reported_are_summed() {
        let heartbeats = Heartbeats::new(3).unwrap();
        let counts = heartbeats.unreported_counts().unwrap();
        assert_eq!((counts.len(), heartbeats.unreported().unwrap()), (3, 0));
        counts[1].set(7);
        counts[2].set(9);
        counts[2].set(2);
        assert_eq!(heartbeats.unreported().unwrap(), 9);
        // The words of heartbeats are others.
        assert_eq!(heartbeats.late(Duration::ZERO).unwrap().len(), 3);
        assert!(heartbeats.late(Duration::ZERO).unwrap().iter().all(|late| late.since.is_none()));
    }

    #[test]
    fn a_thread_is_late_until_it_beats_and_once_its_heartbeat_is_old() {
        let heartbeats = Heartbeats::new(2).unwrap();
        heartbeats.beat(1).unwrap();
        let never = LateThread { thread: 0, since: None };
        assert_eq!(heartbeats.late(Duration::from_secs(60)).unwrap(), [never]);
        std::thread::sleep(Duration::from_millis(2));
        let late = heartbeats.late(Duration::from_millis(1)).unwrap();
        assert_eq!(late.len(), 2);
        assert!(late[1].since.is_some_and(|since| since > Duration::from_millis(1)), "{late:?}");
        assert_eq!(never.to_string(), "its main thread since it started");
        let worker = LateThread { thread: 1, since: Some(Duration::from_millis(2_300)) };
        assert_eq!(worker.to_string(), "its worker 0 for 2.3 s");
    }

    #[test]
    fn a_thread_whose_event_loop_hangs_is_late_while_another_beats() {
        let heartbeats = std::sync::Arc::new(Heartbeats::new(2).unwrap());
        let start = |thread: usize, hang: Duration| {
            let heartbeats = std::sync::Arc::clone(&heartbeats);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            std::thread::spawn(move || {
                runtime.spawn(async move { std::thread::sleep(hang) });
                let beat =
                    async { tokio::time::timeout(6 * INTERVAL, heartbeats.keep_beating(thread)).await };
                runtime.block_on(beat).map(drop)
            })
        };
        let threads = [start(0, Duration::ZERO), start(1, 6 * INTERVAL)];
        std::thread::sleep(5 * INTERVAL);
        let late = heartbeats.late(3 * INTERVAL).unwrap();
        assert_eq!(late.iter().map(|late| late.thread).collect::<Vec<_>>(), [1]);
        threads
            .into_iter()
            .for_each(|thread| assert!(thread.join().unwrap().is_err(), "it beats until the end"));
    }

    #[test]
    fn an_agent_finds_the_memory_of_a_process() {
        let heartbeats = Heartbeats::new(1).unwrap();
        heartbeats.beat(0).unwrap();
        // Other tests of this process have such memory, too.
        assert!(Heartbeats::of_process(std::process::id()).is_some_and(|found| found.threads > 0));
    }
}
