//! The machine that figures are of, and its CPUs for the threads that make them.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fmt;
use std::io;

/// What to know of a machine before reading its figures.
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    cpus: Vec<usize>,
}

/// The CPU of each side of a conversation.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) client: usize,
    pub(crate) server: usize,
}

impl Machine {
    /// Asks the kernel.
    pub(crate) fn current() -> io::Result<Self> {
        let kernel = rustix::system::uname();
        let release = kernel.release().to_string_lossy().into_owned();
        let known = std::fs::read_to_string("/proc/cpuinfo")?;
        let model = known.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let processor = model.map_or("a processor without a name", |(_, name)| name).to_owned();
        let usable = sched_getaffinity(None)?;
        let cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| usable.is_set(cpu)).collect();
        Ok(Self { kernel: release, processor, cpus })
    }

    /// Client and server on one CPU.
    pub(crate) fn together(&self) -> Places {
        let cpu = *self.cpus.first().expect("this runs on a CPU");
        Places { client: cpu, server: cpu }
    }

    /// Client and server on CPUs of their own; none where there is one only.
    pub(crate) fn apart(&self) -> Option<Places> {
        match self.cpus[..] {
            [first, second, ..] => Some(Places { client: first, server: second }),
            _ => None,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux {}, {}, CPUs: {}", self.kernel, self.processor, self.cpus.len())
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.client == self.server {
            write!(f, "both on CPU {}", self.client)
        } else {
            write!(f, "client on CPU {}, server on CPU {}", self.client, self.server)
        }
    }
}

/// Keeps the calling thread on one CPU.
pub(crate) fn stay_on(cpu: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// What else the machine was doing.
#[derive(Clone, Copy)]
pub(crate) struct Strain {
    /// How many tasks were ready to run, on average over the last minute.
    pub(crate) ready: f64,
    /// Seconds of CPU time that the hypervisor gave to others, since the machine started.
    pub(crate) stolen: f64,
}

impl Strain {
    /// Asks the kernel.
    pub(crate) fn now() -> io::Result<Self> {
        /// The kernel reports times to user space in hundredths of a second.
        const TICKS: f64 = 100.0;
        let number = |path: &str, field: usize| {
            let text = std::fs::read_to_string(path)?;
            let number = text.split_whitespace().nth(field).and_then(|text| text.parse::<f64>().ok());
            number.ok_or_else(|| io::Error::other(format!("{path}: field {field} is no number")))
        };
        Ok(Self { ready: number("/proc/loadavg", 0)?, stolen: number("/proc/stat", 8)? / TICKS })
    }
}
