//! Figures of tests: the machine that they were taken on, and quantiles of times.

use crate::command::run;
use anyhow::Result;
use std::process::Command;
use std::time::Duration;

/// The machine, for the figures.
pub(super) fn machine() -> Result<String> {
    let model = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processors = std::thread::available_parallelism()?;
    let kernel = run(Command::new("uname").arg("-r"))?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let model = model.map_or("unknown processor", |(_, model)| model);
    Ok(format!("Linux {}, {model}, {processors} CPUs, load {load}", kernel.trim()))
}

/// The median, the 99th percentile and the longest of times.
pub(super) fn quantiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |part: f64| times.get(((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1)));
    let millis = |time: Option<&Duration>| {
        time.map_or("-".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
    };
    format!(
        "p50 {}, p99 {}, longest {} ({})",
        millis(at(0.5)),
        millis(at(0.99)),
        millis(times.last()),
        times.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_times() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(quantiles(&mut times), "p50 51.0 ms, p99 100.0 ms, longest 100.0 ms (100)");
        assert_eq!(quantiles(&mut []), "p50 -, p99 -, longest - (0)");
    }
}
