//! Commands in the namespace of a workload.

use crate::namespace::{self, NetworkNamespace, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;
use std::io;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// The settings of a command beside its network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSettings {
    /// Names that are appended to the machine's `/etc/hosts` for the command; without any, the file is not replaced.
    pub hosts: Vec<(IpAddr, String)>,
}

/// Why a command could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The command was not started.
    #[error("{program}: {what}: {source}")]
    Start {
        /// The program of the command.
        program: String,
        /// The operation.
        what: &'static str,
        /// The error.
        source: io::Error,
    },
    /// The calling thread could not be moved.
    #[error("{what}: {source}")]
    Enter {
        /// The operation.
        what: &'static str,
        /// The error.
        source: io::Error,
    },
    /// The process was not stopped.
    #[error("stopping process {process}: {source}")]
    Stop {
        /// The process.
        process: u32,
        /// The error.
        source: io::Error,
    },
}

/// Starts a command in a namespace, as the leader of a new process group.
///
/// The command also gets a mount namespace, so that `/sys/class/net` and `/etc/hosts` are the workload's.
pub fn spawn(
    mut command: Command,
    namespace: &NetworkNamespace,
    settings: &ProcessSettings,
) -> Result<Child, ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.process_group(0);
    let spawned = std::thread::scope(|scope| {
        // A child starts in the namespaces of the thread that forks.
        let start = || {
            move_in(namespace, settings)?;
            command.spawn().map_err(|error| ("starting it", error))
        };
        scope.spawn(start).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    spawned.map_err(|(what, source)| ProcessError::Start { program, what, source })
}

/// Moves the calling thread into a namespace, as [`spawn`] does for a command; its later children start there.
///
/// For a command that must stay in its caller's process group to keep the terminal.
pub fn enter(namespace: &NetworkNamespace, settings: &ProcessSettings) -> Result<(), ProcessError> {
    move_in(namespace, settings).map_err(|(what, source)| ProcessError::Enter { what, source })
}

/// Stops a command and its process group: sends SIGTERM, waits up to `grace`, then sends SIGKILL.
pub fn stop(child: &mut Child, grace: Duration) -> Result<ExitStatus, ProcessError> {
    let process = child.id();
    let failed = |source| ProcessError::Stop { process, source };
    if let Some(status) = child.try_wait().map_err(failed)? {
        // The process was waited for, so its number may belong to another process.
        return Ok(status);
    }
    let group = Pid::from_raw(process.cast_signed()).expect("a started process has a number above zero");
    let signal = |signal| match rustix::process::kill_process_group(group, signal) {
        // All processes of the group have ended.
        Err(rustix::io::Errno::SRCH) => Ok(()),
        sent => sent.map_err(|error| failed(error.into())),
    };
    signal(Signal::TERM)?;
    let deadline = Instant::now() + grace;
    while Instant::now() < deadline && !has_exited(group) {
        std::thread::sleep(Duration::from_millis(2));
    }
    // Kills what is left of the group. The leader is waited for only afterwards, so that the number of the group is not
    // reused before.
    signal(Signal::KILL)?;
    child.wait().map_err(failed)
}

/// True where the process has ended; does not reap it.
fn has_exited(process: Pid) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(process), options), Ok(Some(_)))
}

fn move_in(
    namespace: &NetworkNamespace,
    settings: &ProcessSettings,
) -> Result<(), (&'static str, io::Error)> {
    namespace.join().map_err(|error| ("entering its network namespace", error))?;
    set_up_mounts(settings)
}

/// Moves the calling thread into a new mount namespace with the workload's `/sys` and `/etc/hosts`.
fn set_up_mounts(settings: &ProcessSettings) -> Result<(), (&'static str, io::Error)> {
    const PRIVATE: &str = "making its mounts its own";
    let failed = |what| move |error: rustix::io::Errno| (what, io::Error::from(error));
    unshare(UnshareFlags::NEWNS).map_err(|error| (PRIVATE, error))?;
    // Later mounts of the machine propagate into the namespace, but not the other way.
    let downstream = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", downstream).map_err(failed(PRIVATE))?;
    leave_names_of_namespaces().map_err(|error| (PRIVATE, error))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("sysfs", "/sys", "sysfs", flags, None).map_err(failed("mounting /sys"))?;
    if settings.hosts.is_empty() {
        return Ok(());
    }
    let text = hosts_file(settings).map_err(|error| ("reading /etc/hosts", error))?;
    bind_hosts(&text).map_err(|error| ("putting its /etc/hosts in place", error))
}

/// Unmounts the names of network namespaces here. Otherwise each name is a mount in every workload: the kernel would copy a
/// thousand mounts for each of a thousand workloads, and propagate every new and removed name to all of them.
fn leave_names_of_namespaces() -> io::Result<()> {
    match rustix::mount::unmount(namespace::DIRECTORY, UnmountFlags::DETACH) {
        // There is no such directory, or it is no mount of its own.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => Ok(()),
        unmounted => Ok(unmounted?),
    }
}

/// Mounts a file over `/etc/hosts`; the file is deleted with the mount.
fn bind_hosts(text: &str) -> io::Result<()> {
    // A bind mount needs a path. The thread's id makes it unique, and it is removed right after the mount.
    let path = format!("/run/nexin-hosts-{}", rustix::thread::gettid());
    std::fs::write(&path, text)?;
    let bound = rustix::mount::mount_bind(&path, "/etc/hosts");
    std::fs::remove_file(&path)?;
    Ok(bound?)
}

/// The machine's `/etc/hosts` with the names appended.
fn hosts_file(settings: &ProcessSettings) -> io::Result<String> {
    let mut text = match std::fs::read_to_string("/etc/hosts") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => "127.0.0.1 localhost\n".to_owned(),
        text => text?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for (address, name) in &settings.hosts {
        text.push_str(&format!("{address} {name}\n"));
    }
    Ok(text)
}
