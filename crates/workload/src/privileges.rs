//! The privileges of a command: the user that it runs as, and the capabilities that it lacks.

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The names of capabilities in the order of their numbers (capabilities(7)).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(CapabilitySet);

/// A user and its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user id.
    pub user: u32,
    /// The primary group id.
    pub group: u32,
    /// The supplementary group ids.
    pub others: Vec<u32>,
}

/// The privileges of a command; by default those of its parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// The user to run as.
    pub user: Option<User>,
    /// The capabilities to drop permanently. Where there are any, executing another program gains no privileges.
    pub dropped: Option<Capabilities>,
}

impl Capabilities {
    /// The capability with a name of capabilities(7), with or without `CAP_`, in upper or lower case; `ALL` is all of them.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        if name == "ALL" {
            return Some(Self(CapabilitySet::from_bits_retain(u64::MAX)));
        }
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        let number = NAMES.iter().position(|known| *known == name)?;
        Some(Self(CapabilitySet::from_bits_retain(1 << number)))
    }

    /// The union of both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Privileges {
    /// Lets a command start with these privileges only.
    #[expect(
        unsafe_code,
        reason = "code between fork and exec is unsafe in general, and these calls are safe"
    )]
    pub fn limit(self, command: &mut Command) {
        if self == Self::default() {
            return;
        }
        let groups =
            self.user.as_ref().map(|user| user.others.iter().map(|group| Gid::from_raw(*group)).collect());
        let groups: Vec<Gid> = groups.unwrap_or_default();
        let step = move || {
            if let Some(Capabilities(dropped)) = self.dropped {
                drop_from_bounds(dropped)?;
            }
            if let Some(User { user, group, .. }) = &self.user {
                rustix::thread::set_thread_groups(&groups)?;
                let (user, group) = (Uid::from_raw(*user), Gid::from_raw(*group));
                rustix::thread::set_thread_res_gid(group, group, group)?;
                rustix::thread::set_thread_res_uid(user, user, user)?;
            }
            if let Some(Capabilities(dropped)) = self.dropped {
                drop_from_thread(dropped)?;
                rustix::thread::set_no_new_privs(true)?;
            }
            Ok(())
        };
        // SAFETY: the closure only makes system calls with values that were computed before the fork; it does not allocate.
        // The new process has one thread, so calls that concern a thread concern the process.
        unsafe { command.pre_exec(step) };
    }
}

/// Removes capabilities from the bounding set, as far as the kernel knows them.
fn drop_from_bounds(dropped: CapabilitySet) -> io::Result<()> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if !dropped.contains(one) {
            continue;
        }
        match rustix::thread::capability_is_in_bounding_set(one) {
            // The kernel knows no capability with this number or a greater one.
            Err(rustix::io::Errno::INVAL) => break,
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(one)?,
            found => drop(found?),
        }
    }
    Ok(())
}

/// Removes capabilities from the calling thread. The kernel removes them from the ambient set, too.
fn drop_from_thread(dropped: CapabilitySet) -> io::Result<()> {
    let CapabilitySets { effective, permitted, inheritable } = rustix::thread::capabilities(None)?;
    let without = |set: CapabilitySet| CapabilitySet::from_bits_retain(set.bits() & !dropped.bits());
    let sets = CapabilitySets {
        effective: without(effective),
        permitted: without(permitted),
        inheritable: without(inheritable),
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_names_of_the_manual() {
        let bits = |name: &str| Capabilities::named(name).map(|Capabilities(set)| set.bits());
        for name in ["NET_ADMIN", "CAP_NET_ADMIN", "net_admin", "cap_net_admin"] {
            assert_eq!(bits(name), Some(CapabilitySet::NET_ADMIN.bits()), "{name}");
        }
        for (name, set) in CapabilitySet::all().iter_names() {
            assert_eq!(bits(name), Some(set.bits()), "{name}");
        }
        assert_eq!(bits("ALL").map(u64::count_ones), Some(64));
        for name in ["", "CAP_", "CAP_ALL", "FLY", "NET ADMIN"] {
            assert_eq!(bits(name), None, "{name:?}");
        }
    }
}
