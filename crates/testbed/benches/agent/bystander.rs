//! A connection that no change concerns: how long its requests wait, and how much of that is no wait for a CPU.
//!
//! On a machine with few CPUs a request also waits because other threads run, those of this benchmark among them. The
//! kernel counts for each thread how long it was ready to run without a CPU (`schedstat`). A wait without the counts of
//! the client, of the server and of the proxy's thread between them is what the node itself took. Counts that pass at the
//! same time are all subtracted. Waits of the kernel's threads for packets and of the virtual machine remain, so the figure
//! means something only beside that of phases without a change.

use crate::node::Workload;
use crate::traffic::HttpConnection;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The requests that show which thread of the proxy serves the connection.
const FIRST: usize = 200;
/// Between two requests.
const PAUSE: Duration = Duration::from_micros(200);
/// A wait that is too long, in milliseconds.
const TOO_LONG: f64 = 2.0;

/// A connection that no change concerns.
pub(crate) struct Bystander {
    connection: HttpConnection,
    /// The threads of the server and of the proxy.
    others: [ThreadClock; 2],
}

/// The waits of requests, in milliseconds.
#[derive(Default)]
pub(crate) struct Waits {
    whole: Vec<f64>,
    /// The same without waits for a CPU.
    by_node: Vec<f64>,
}

/// The scheduler's counts of a thread.
struct ThreadClock(File);

/// How long a thread ran, and how long it waited for a CPU.
struct ThreadTimes {
    ran: Duration,
    waited: Duration,
}

impl Bystander {
    /// Connects from a workload to the server of another, which has no other client, through a proxy that serves no other
    /// request meanwhile.
    pub(crate) fn connect(from: &Workload, to: &Workload, proxy: u32) -> Result<Self> {
        let mut connection = HttpConnection::open(from, to)?;
        ensure!(connection.fetch("/public")? == 200, "the bystander's policy refuses its request");
        let server = threads(std::process::id(), &to.name)?.pop().context("the bystander's server runs")?;
        let workers = threads(proxy, "worker")?;
        let before = workers.iter().map(ThreadClock::times).collect::<Result<Vec<_>>>()?;
        for _ in 0..FIRST {
            connection.fetch("/public")?;
        }
        let mut ran = Vec::new();
        for (worker, before) in workers.into_iter().zip(before) {
            ran.push((worker.times()?.ran - before.ran, worker));
        }
        let (_, worker) = ran.into_iter().max_by_key(|(ran, _)| *ran).context("the proxy has threads")?;
        Ok(Self { connection, others: [server, worker] })
    }

    /// Sends requests until it is over: the waits between the changes, and with changes.
    pub(crate) fn watch(&mut self, is_changing: &AtomicBool, is_over: &AtomicBool) -> Result<[Waits; 2]> {
        let client = ThreadClock(File::open("/proc/thread-self/schedstat")?);
        let mut waits = [Waits::default(), Waits::default()];
        while !is_over.load(Ordering::Relaxed) {
            self.ask(&client, &mut waits[usize::from(is_changing.load(Ordering::Relaxed))])?;
            thread::sleep(PAUSE);
        }
        waits.iter_mut().try_for_each(Waits::sort)?;
        Ok(waits)
    }

    /// Sends a request, and adds its wait.
    fn ask(&mut self, client: &ThreadClock, waits: &mut Waits) -> Result<()> {
        let waited = |others: &[ThreadClock; 2]| -> Result<Duration> {
            Ok(client.times()?.waited + others[0].times()?.waited + others[1].times()?.waited)
        };
        let before = waited(&self.others)?;
        let began = Instant::now();
        let status = self.connection.fetch("/public").context("the bystander's connection ended")?;
        let whole = began.elapsed();
        ensure!(status == 200, "the bystander gets {status}");
        let by_node = whole.saturating_sub(waited(&self.others)? - before);
        waits.whole.push(whole.as_secs_f64() * 1e3);
        waits.by_node.push(by_node.as_secs_f64() * 1e3);
        Ok(())
    }
}

impl Waits {
    /// Sorts the waits, of which there must be some.
    fn sort(&mut self) -> Result<()> {
        ensure!(!self.whole.is_empty(), "the bystander sent no request");
        self.whole.sort_by(f64::total_cmp);
        self.by_node.sort_by(f64::total_cmp);
        Ok(())
    }

    /// The wait that a share of the waits does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        self.whole[((self.whole.len() - 1) as f64 * share) as usize]
    }

    /// The longest wait.
    pub(crate) fn longest(&self) -> f64 {
        self.quantile(1.0)
    }

    /// How many of 100,000 waits are too long.
    pub(crate) fn too_long(&self) -> f64 {
        let count = self.whole.iter().filter(|wait| **wait > TOO_LONG).count();
        count as f64 / self.whole.len() as f64 * 1e5
    }

    /// The longest wait without waits for a CPU.
    pub(crate) fn longest_by_node(&self) -> f64 {
        self.by_node[self.by_node.len() - 1]
    }
}

impl ThreadClock {
    fn times(&self) -> Result<ThreadTimes> {
        let mut bytes = [0; 64];
        let length = self.0.read_at(&mut bytes, 0)?;
        let mut fields = std::str::from_utf8(&bytes[..length])?.split_whitespace().map(str::parse);
        let mut next =
            || anyhow::Ok(Duration::from_nanos(fields.next().context("schedstat has three fields")??));
        Ok(ThreadTimes { ran: next()?, waited: next()? })
    }
}

/// The threads of a process whose name begins like this.
fn threads(process: u32, name: &str) -> Result<Vec<ThreadClock>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let thread: PathBuf = entry?.path();
        // A thread can end meanwhile.
        if fs::read_to_string(thread.join("comm")).is_ok_and(|own| own.starts_with(name)) {
            found.push(ThreadClock(File::open(thread.join("schedstat"))?));
        }
    }
    Ok(found)
}
