//! Confines the node proxy once it has opened its files and sockets: it parses untrusted input, so it keeps as few
//! privileges as it can run with.
//!
//! The order is fixed, since each step needs privileges that a later step removes: Landlock, user and group,
//! capabilities, system calls. A step that the kernel or the container does not support is reported; the other steps
//! are taken.

mod calls;

use crate::proxy_group::{USER, share};
use crate::storage::{self, DeviceInode};
use anyhow::Context;
use landlock::{
    ABI, Access, AccessFs, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope,
};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{getgid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Needed to bind foreign addresses and to mark packets.
const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN;

/// The steps that failed, for the agent's status.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConfinementReport {
    /// Process number of the proxy.
    process: u32,
    /// The steps that failed, with the errors.
    lacks: Vec<String>,
    /// The directory of rule sets that the proxy may read.
    #[serde(default)]
    pub(crate) rule_sets: Option<DeviceInode>,
}

/// The file of the report. It is opened before the confinement, which forbids opening files for writing.
#[derive(Debug)]
pub(crate) struct ReportFile(Option<File>);

impl ReportFile {
    /// Opens the report file at this path.
    pub(crate) fn open(path: &Path) -> Self {
        let file = File::options().create(true).write(true).truncate(true).mode(0o600).open(path);
        if let Err(error) = &file {
            tracing::warn!(%error, "the failed confinement steps of the proxy cannot be reported");
        }
        Self(file.ok())
    }
}

impl ConfinementReport {
    /// Reads the report of the proxy with this process number; none if the proxy has not written it.
    pub(crate) fn read(process: u32, path: &Path) -> Option<Self> {
        let report = serde_json::from_slice::<Self>(&std::fs::read(path).ok()?).ok()?;
        (report.process == process).then_some(report)
    }

    /// The failed steps, as sentences.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> {
        self.lacks.iter().map(|lack| format!("the proxy runs without {lack}"))
    }
}

/// Gives up all privileges but these: read files in one directory, look up entries in maps that are open, accept and
/// open TCP connections, and send to one socket. No other thread may run yet: each step applies to this thread and to
/// threads that it starts.
pub(crate) fn confine(rule_sets: &Path, socket: &Path, mut reporting: ReportFile) -> anyhow::Result<()> {
    let steps: [(&str, &dyn Fn() -> anyhow::Result<()>); 6] = [
        ("no new privileges", &|| Ok(set_no_new_privs(true)?)),
        ("Landlock", &|| restrict_files(rule_sets, socket)),
        ("a bound of capabilities", &|| Ok(bound_capabilities()?)),
        ("a user of its own", &|| change_user(rule_sets)),
        ("no capability but CAP_NET_ADMIN", &|| Ok(drop_capabilities()?)),
        ("a list of system calls", &|| Ok(calls::restrict()?)),
    ];
    let identity = storage::identity(rule_sets).ok();
    let mut report =
        ConfinementReport { process: std::process::id(), lacks: Vec::new(), rule_sets: identity };
    // If the group cannot be set, neither can the user: the proxy keeps its own.
    if let Err(error) = share(rule_sets) {
        tracing::warn!(%error, "the proxy's group cannot get access to the rule sets");
    }
    for (name, step) in steps {
        if let Err(error) = step() {
            let error = api::sentence(error.as_ref());
            tracing::warn!(error, "the proxy runs without {name}");
            report.lacks.push(format!("{name}: {error}"));
        }
    }
    if let Some(file) = &mut reporting.0
        && let Err(error) = file.write_all(&serde_json::to_vec(&report)?)
    {
        // A proxy on a full disk must still serve.
        tracing::warn!(%error, "the failed confinement steps of the proxy cannot be reported");
    }
    Ok(())
}

/// Restricts file access by Landlock, as far as this kernel supports it: files of one directory may be read, and
/// sockets of another may be connected to.
///
/// Ports are not restricted: the proxy binds its upstream connections to the client's port, which may be any. The
/// system call filter keeps it from listening on further ports.
fn restrict_files(rule_sets: &Path, socket: &Path) -> anyhow::Result<()> {
    const NEWEST: ABI = ABI::V10;
    let sockets = socket.parent().unwrap_or(Path::new("/"));
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new(rule_sets)?, AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rule(PathBeneath::new(PathFd::new(sockets)?, AccessFs::ResolveUnix))?
        .restrict_self()?;
    match (status.landlock, status.ruleset) {
        (LandlockStatus::NotImplemented, _) => anyhow::bail!("the kernel was built without Landlock"),
        (LandlockStatus::NotEnabled, _) => anyhow::bail!("Landlock is not in the kernel's lsm= parameter"),
        (LandlockStatus::Available { .. }, RulesetStatus::NotEnforced) => {
            anyhow::bail!("the kernel refused the ruleset")
        }
        (LandlockStatus::Available { effective_abi, .. }, _) => {
            tracing::info!(version = effective_abi as i32, "Landlock restricts the proxy");
            Ok(())
        }
    }
}

/// Changes the user and keeps the capabilities, if that user can read the rule sets.
fn change_user(rule_sets: &Path) -> anyhow::Result<()> {
    let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
    let (was_user, was_group) = (getuid(), getgid());
    set_thread_groups(&[])?;
    // Tested first, since the change cannot be undone: symbolic links, access control lists and mounts decide, too.
    set_thread_res_gid(was_group, group, was_group)?;
    set_thread_res_uid(was_user, user, was_user)?;
    let read = std::fs::read_dir(rule_sets).map(drop);
    set_thread_res_uid(was_user, was_user, was_user)?;
    set_thread_res_gid(was_group, was_group, was_group)?;
    read.with_context(|| format!("user {USER} may not read {}", rule_sets.display()))?;
    set_thread_res_gid(group, group, group)?;
    set_keep_capabilities(true)?;
    set_thread_res_uid(user, user, user)?;
    Ok(())
}

/// Empties the bounding set, so that no executed program gets a capability.
fn bound_capabilities() -> io::Result<()> {
    clear_ambient_capability_set()?;
    for bit in 0..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // The kernel knows no further capability.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn drop_capabilities() -> io::Result<()> {
    let sets = CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy_group::open_socket;
    use rustix::fs::{Mode, chmod};
    use std::fs;
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::process::Command;
    use std::thread;

    /// Runs a confined thread, and tries what it may do and what it must not.
    #[test]
    #[ignore = "needs root"]
    fn a_confined_thread_can_do_only_what_a_proxy_needs() {
        let directory = std::env::temp_dir().join(format!("nexin-confinement-{}", std::process::id()));
        let sets = directory.join("sets");
        fs::create_dir_all(&sets).unwrap();
        fs::write(sets.join("1.json"), "[]").unwrap();
        fs::write(directory.join("other"), "secret").unwrap();
        chmod(directory.join("other"), Mode::from_raw_mode(0o666)).unwrap();
        let address = directory.join("requests.sock");
        let agent = UnixDatagram::bind(&address).unwrap();
        open_socket(&address).unwrap();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let report = directory.join("report.json");
        let of_thread = {
            let (sets, address, server) = (sets.clone(), address.clone(), server.local_addr().unwrap());
            let other = directory.join("other");
            let (events, reporting) = (UnixDatagram::unbound().unwrap(), ReportFile::open(&report));
            thread::spawn(move || {
                confine(&sets, &address, reporting).unwrap();
                let mut failures = Vec::new();
                let mut must = |what, done: io::Result<()>| {
                    done.unwrap_or_else(|error| failures.push(format!("{what}: {error}")));
                };
                must("read a rule set", fs::read(sets.join("1.json")).map(drop));
                must("report", events.send_to(b"event", &address).map(drop));
                must("connect", TcpStream::connect(server).map(drop));
                must(
                    "start a thread",
                    thread::Builder::new().spawn(|| ()).map(|started| started.join().unwrap()),
                );
                let mut must_not = |what, done: io::Result<()>| match done {
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                    other => failures.push(format!("{what}: {other:?}")),
                };
                must_not("write a rule set", fs::write(sets.join("1.json"), "[{}]"));
                must_not("make a file", fs::write(sets.join("2.json"), "[]"));
                must_not("read the system's secrets", fs::read("/etc/shadow").map(drop));
                must_not("write what all may write", fs::write(&other, ""));
                must_not("listen", TcpListener::bind("127.0.0.1:0").map(drop));
                must_not("send datagrams", UdpSocket::bind("127.0.0.1:0").map(drop));
                must_not("talk to local services", UnixStream::connect("/run/any.sock").map(drop));
                must_not("run a program", Command::new("/bin/true").status().map(drop));
                let kill =
                    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::CONT);
                must_not("send a signal", kill.map_err(io::Error::from));
                let status = fs::read_to_string("/proc/thread-self/status");
                (failures, status)
            })
        };
        let (failures, status) = of_thread.join().unwrap();
        assert_eq!(failures, Vec::<String>::new());
        check_status(&status);
        let report = ConfinementReport::read(std::process::id(), &report).unwrap();
        assert_eq!(report.rule_sets, storage::identity(&sets).ok());
        check_notes(report.notes());
        let mut received = [0; 16];
        assert_eq!(agent.recv(&mut received).unwrap(), 5);
        let mut accepted = server.accept().unwrap().0;
        assert_eq!(accepted.read(&mut received).unwrap(), 0);
        fs::remove_dir_all(&directory).unwrap();
    }

    /// Only Landlock may be unsupported.
    fn check_notes(notes: impl Iterator<Item = String>) {
        notes.for_each(|note| assert!(note.starts_with("the proxy runs without Landlock: "), "{note}"));
    }

    /// Checks the thread's status in `/proc`; with Landlock the file cannot be read.
    fn check_status(status: &io::Result<String>) {
        for line in status.iter().flat_map(|text| text.lines()) {
            match line.split_once(":\t") {
                Some(("CapEff" | "CapPrm", set)) => assert_eq!(set, "0000000000001000"),
                Some(("CapBnd" | "CapAmb" | "CapInh", set)) => assert_eq!(set, "0000000000000000", "{line}"),
                Some(("NoNewPrivs", set)) => assert_eq!(set, "1"),
                Some(("Seccomp", mode)) => assert_eq!(mode, "2"),
                Some(("Uid" | "Gid", ids)) => assert_eq!(ids, "90080\t90080\t90080\t90080"),
                _ => {}
            }
        }
    }
}
