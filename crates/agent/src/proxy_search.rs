//! Finds the proxies of an agent among all processes, in case the file that records them is lost.

use crate::limits::ProxyLimits;
use crate::paths::Paths;
use crate::state::Process;
use crate::storage;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A running proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunningProxy {
    /// Its process.
    pub process: Process,
    /// The port that it was started with.
    pub port: u16,
    /// The limits that it was started with.
    pub limits: ProxyLimits,
    /// Whether it runs the same executable file as this process.
    pub is_same_program: bool,
}

/// The arguments of a proxy.
pub(crate) fn arguments(paths: &Paths, port: u16, limits: &ProxyLimits) -> Vec<std::ffi::OsString> {
    let port = port.to_string();
    let limits = serde_json::to_string(limits).expect("limits are numbers by name");
    let instance = paths.instance();
    [
        "proxy".as_ref(),
        "--directory".as_ref(),
        paths.directory().as_os_str(),
        "--instance".as_ref(),
        instance.as_ref(),
    ]
    .into_iter()
    .chain(["--port".as_ref(), port.as_ref(), "--limits".as_ref(), limits.as_ref()])
    .map(std::ffi::OsStr::to_os_string)
    .collect()
}

/// Every process that was started as the proxy of the agent with these paths and is in this thread's network
/// namespace.
pub(crate) fn find(paths: &Paths) -> Vec<RunningProxy> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter_map(|number| found(paths, number)).collect()
}

/// Whether a process has maps open, and only these. A proxy whose maps were unpinned reads other maps than the packet
/// path. False if that cannot be determined.
pub(crate) fn reads_only(process: Process, maps: &[u32]) -> bool {
    let directory = format!("/proc/{}/fdinfo", process.process);
    let Ok(entries) = fs::read_dir(directory) else { return false };
    let mut open = Vec::new();
    for entry in entries {
        let Ok(text) = entry.and_then(|entry| fs::read_to_string(entry.path())) else { continue };
        open.extend(text.lines().filter_map(|line| line.strip_prefix("map_id:")?.trim().parse::<u32>().ok()));
    }
    !open.is_empty() && open.iter().all(|map| maps.contains(map))
}

fn found(paths: &Paths, number: u32) -> Option<RunningProxy> {
    let process = Path::new("/proc").join(number.to_string());
    let line = fs::read(process.join("cmdline")).ok()?;
    let (port, limits) = settings(&line, paths)?;
    let is_here =
        fs::read_link(process.join("ns/net")).ok()? == fs::read_link("/proc/thread-self/ns/net").ok()?;
    let program = |path: &Path| fs::metadata(path).ok().map(|status| (status.dev(), status.ino()));
    let is_same_program = program(&process.join("exe")) == program(Path::new("/proc/self/exe"));
    is_here.then_some(RunningProxy { process: Process::find(number).ok()??, port, limits, is_same_program })
}

/// Whether a process executes the bytes of this process's program, from whichever file: each container has a file of its own.
/// False if that cannot be determined.
pub(crate) fn runs_this_program(process: Process) -> bool {
    let own = File::open("/proc/self/exe");
    let other = File::open(format!("/proc/{}/exe", process.process));
    let are_equal = own.and_then(|own| storage::have_equal_bytes(&own, &other?));
    are_equal.unwrap_or(false) && !process.has_ended()
}

/// Parses port and limits from the command line of a proxy of this agent; none for any other command line.
fn settings(line: &[u8], paths: &Paths) -> Option<(u16, ProxyLimits)> {
    let words: Vec<&[u8]> = line.strip_suffix(b"\0")?.split(|byte| *byte == 0).skip(1).collect();
    let [.., port, _, limits] = words[..] else { return None };
    let port = std::str::from_utf8(port).ok()?.parse().ok()?;
    let limits = serde_json::from_slice(limits).ok()?;
    let expected = arguments(paths, port, &limits);
    let is_ours = words.iter().copied().eq(expected.iter().map(|word| word.as_bytes()));
    is_ours.then_some((port, limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_another_program_is_not_of_this_one() {
        let own = Process::find(std::process::id()).unwrap().unwrap();
        assert!(runs_this_program(own));
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        // The new process executes this program until it executes the other.
        let executes_other = || {
            let link = fs::read_link(format!("/proc/{}/exe", child.id())).unwrap();
            link != fs::read_link("/proc/self/exe").unwrap()
        };
        while !executes_other() {
            std::thread::yield_now();
        }
        let other = Process::find(child.id()).unwrap().unwrap();
        assert!(!runs_this_program(other));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!runs_this_program(other), "a process that has ended");
    }

    #[test]
    fn a_proxy_is_identified_by_its_whole_command_line() {
        let paths = Paths::new("/run/a", "b");
        let check = |line: &[u8], expected: Option<u16>| {
            assert_eq!(settings(line, &paths).map(|(port, _)| port), expected)
        };
        check(
            b"/usr/bin/nexin\0proxy\0--directory\0/run/a\0--instance\0b\0--port\x0010000\0--limits\0{}\0",
            Some(10_000),
        );
        check(
            b"/usr/bin/nexin\0proxy\0--directory\0/run/x\0--instance\0b\0--port\x0010000\0--limits\0{}\0",
            None,
        );
        check(
            b"/usr/bin/nexin\0proxy\0--directory\0/run/a\0--instance\0c\0--port\x0010000\0--limits\0{}\0",
            None,
        );
        check(b"sh\0-c\0nexin proxy --directory /run/a --instance b --port 10000\0", None);
        check(b"/usr/bin/nexin\0proxy\0--directory\0/run/a\0--instance\0b\0--port\0x\0--limits\0{}\0", None);
        check(b"", None);
    }
}
