//! The machine of a benchmark, and this process's memory.

use serde::Serialize;
use std::fs;
use std::thread::available_parallelism;

/// The machine and command of a benchmark.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cpus: usize,
    pub(super) kernel: String,
    /// Load average of the last minute.
    pub(super) load: String,
    /// Whether this program was built with optimisations.
    pub(super) is_optimised: bool,
    pub(super) command: String,
}

/// Resident memory of this process, in millions of bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    pub(super) resident_mb: f64,
    pub(super) peak_mb: f64,
}

impl Machine {
    /// Reads the figures from `/proc`.
    pub(super) fn current() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let known = read("/proc/cpuinfo");
        let model = known.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            processor: model.map_or("a processor without a name", |(_, name)| name).to_owned(),
            cpus: available_parallelism().map_or(1, Into::into),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            is_optimised: !cfg!(debug_assertions),
            command: std::env::args().collect::<Vec<_>>().join(" "),
        }
    }
}

impl Memory {
    /// Reads the figures from `/proc`.
    pub(super) fn now() -> anyhow::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let megabytes = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
            kilobytes.map(|kilobytes| kilobytes * 1024.0 / 1e6)
        };
        let (resident, peak) = (megabytes("VmRSS"), megabytes("VmHWM"));
        let missing = || anyhow::anyhow!("/proc/self/status has no resident memory");
        Ok(Self { resident_mb: resident.ok_or_else(missing)?, peak_mb: peak.ok_or_else(missing)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_at_most_its_peak() {
        let memory = Memory::now().unwrap();
        assert!(memory.resident_mb > 0.1 && memory.resident_mb <= memory.peak_mb, "{memory:?}");
    }
}
