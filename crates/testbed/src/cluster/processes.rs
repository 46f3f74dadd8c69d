//! The processes of pods on this machine, found by their control groups.

use std::fs;
use workload::NetworkNamespace;

/// The processes of the pod with this UID, the oldest number first.
pub(super) fn of_pod(uid: &str) -> Vec<u32> {
    // The kubelet writes the UID as it is, or with underscores in the name of a systemd slice.
    let names = [format!("pod{uid}"), format!("pod{}", uid.replace('-', "_"))];
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_of_pod = |process: &u32| {
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
        names.iter().any(|name| groups.contains(name))
    };
    let mut found: Vec<u32> = numbers.filter(is_of_pod).collect();
    found.sort_unstable();
    found
}

/// The network namespace of the pod with this UID.
pub(super) fn namespace_of_pod(uid: &str) -> Option<NetworkNamespace> {
    of_pod(uid).into_iter().find_map(|process| NetworkNamespace::of_process(process).ok())
}
