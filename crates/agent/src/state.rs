//! The state that outlasts a restart of the agent.

use identity::{Labels, SharedMap};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// What is on disk. Map entries, conntrack entries and links are in the kernel and not repeated here. A clone shares
/// what it contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The workloads of the node, by number.
    pub workloads: SharedMap<u32, Arc<WorkloadRecord>>,
    /// The identities of workloads, by number.
    pub identities: SharedMap<u32, Arc<Labels>>,
    /// The next identity number to allocate.
    pub next_identity: Option<u32>,
    /// Addresses of services, by `namespace/name`.
    pub services: SharedMap<String, Vec<IpAddr>>,
    /// The highest workload number that was assigned.
    pub last_endpoint: u32,
    /// The highest number that was assigned to a layer-7 rule set: the proxy may still have that set in its cache.
    pub last_rule_set: u32,
    /// The latest addresses that workloads got.
    pub latest_addresses: Vec<IpAddr>,
}

/// A workload, with its interface, network namespace and process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkloadRecord {
    /// Number on this node.
    pub id: u32,
    /// Its specification, with all its addresses.
    pub wanted: api::WorkloadSpec,
    /// Name of the host-side interface.
    pub interface: String,
    /// Name of its network namespace; its path, if the namespace is a sandbox's.
    pub network_namespace: String,
    /// MAC address of its interface inside the network namespace.
    pub mac: [u8; 6],
    /// The process whose exit removes it, if it has an owner.
    pub owner: Option<Process>,
    /// Whether audit mode is on: traffic that policy denies is forwarded and reported.
    #[serde(default)]
    pub audit: bool,
    /// How far its creation or removal has come.
    #[serde(default)]
    pub stage: WorkloadStage,
    /// Directory of its control group, if it has one.
    #[serde(default)]
    pub group: Option<PathBuf>,
    /// The sandbox that it is attached to; none for a workload with a network namespace of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxRecord>,
}

/// The sandbox of a container runtime that a workload is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    /// The container and its interface.
    pub attachment: api::AttachmentName,
    /// Name of the network configuration that it was attached by.
    pub network: String,
    /// UID of its pod, if it is known.
    pub pod_uid: Option<String>,
    /// The boot of the machine that it was made in: a sandbox does not outlast it.
    pub boot: String,
    /// Whether another plugin made the interface, and removes it.
    #[serde(default)]
    pub is_chained: bool,
    /// Ports of the node that lead to it.
    #[serde(default)]
    pub host_ports: Vec<api::AttachmentPort>,
}

impl WorkloadRecord {
    /// Name of its interface in its network namespace.
    pub(crate) fn inside(&self) -> &str {
        self.sandbox.as_ref().map_or(workload::WORKLOAD_INTERFACE, |sandbox| &sandbox.attachment.interface)
    }

    /// Whether another plugin made its interface.
    pub(crate) fn is_chained(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|sandbox| sandbox.is_chained)
    }
}

/// How far the creation or removal of a workload has come. An incomplete workload is removed when the agent starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WorkloadStage {
    /// It may exist in part.
    Making,
    /// It is complete.
    #[default]
    Made,
    /// It may be removed in part.
    Ending,
}

/// A process, by number and start time, which distinguishes it from a later process with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Process number.
    pub process: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// The identifier of the present boot of the machine.
pub(crate) fn boot() -> io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

impl Process {
    /// Finds the running process with this number; none if there is none. An unreadable `/proc` is an error: it does
    /// not mean that the process has ended.
    pub(crate) fn find(process: u32) -> io::Result<Option<Self>> {
        // Read by one call: the file is shorter, and has no size that a reader could know.
        let mut stat = [0; 2048];
        match File::open(format!("/proc/{process}/stat")).and_then(|mut file| file.read(&mut stat)) {
            Ok(length) => Self::parse(process, &String::from_utf8_lossy(&stat[..length])),
            Err(error) if is_ended(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the process has certainly ended.
    pub(crate) fn has_ended(self) -> bool {
        Self::find(self.process).is_ok_and(|now| now != Some(self))
    }

    fn parse(process: u32, stat: &str) -> io::Result<Option<Self>> {
        // Fields are counted after the command's closing parenthesis: the 22nd field of the file is the 20th there
        // (proc(5)).
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_ascii_whitespace());
        let started = fields.clone().and_then(|mut fields| fields.nth(19)?.parse().ok());
        let started =
            started.ok_or_else(|| io::Error::other(format!("/proc/{process}/stat has an unknown format")))?;
        let is_zombie = fields.is_some_and(|mut fields| fields.next() == Some("Z"));
        Ok((!is_zombie).then_some(Self { process, started }))
    }
}

/// Whether an error of reading `/proc/PID` means that there is no such process.
fn is_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_certainly_ended_counts_as_ended() {
        let own = Process::find(std::process::id()).unwrap().unwrap();
        assert!(!own.has_ended());
        assert!(Process { started: own.started + 1, ..own }.has_ended(), "another process has its number");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = child.id();
        while Process::find(process).unwrap().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.wait().unwrap();
        assert_eq!(Process::find(process).unwrap(), None);
        assert!(
            is_ended(&io::Error::from(rustix::io::Errno::SRCH)) && is_ended(&io::ErrorKind::NotFound.into())
        );
        for unknown in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::ACCESS] {
            assert!(!is_ended(&io::Error::from(unknown)), "{unknown}");
        }
    }

    #[test]
    fn number_and_start_time_are_parsed_whatever_the_command_is_called() {
        let fields = "0 ".repeat(18);
        let parse = |stat: &str| Process::parse(7, stat).map_err(drop);
        assert_eq!(parse(&format!("7 (a) Z) S {fields}42 0")), Ok(Some(Process { process: 7, started: 42 })));
        assert_eq!(parse(&format!("7 (a) Z {fields}42 0")), Ok(None));
        assert_eq!(parse("7 (a) S 1"), Err(()));
        assert_eq!(parse(""), Err(()));
    }

    #[test]
    fn a_workload_of_an_earlier_release_is_complete() {
        let written = r#"{"id": 1, "wanted": {"namespace": "default", "name": "a"}, "interface": "nx1",
            "network_namespace": "nexin-node-1", "mac": [0, 0, 0, 0, 0, 0], "owner": null}"#;
        let workload: WorkloadRecord = serde_json::from_str(written).unwrap();
        assert_eq!((workload.stage, workload.group), (WorkloadStage::Made, None));
    }
}
