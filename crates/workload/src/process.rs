//! Commands inside a workload's namespace.

use crate::namespace::{Namespace, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;
use std::io;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// What a command sees beside its network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSettings {
    /// Names that `/etc/hosts` gives, after those of the machine's own file; with none, the file stays as it is.
    pub hosts: Vec<(IpAddr, String)>,
}

/// Why a command could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It was not started.
    #[error("{program}: {what}: {source}")]
    Start {
        /// The program.
        program: String,
        /// What was tried.
        what: &'static str,
        /// Why it was refused.
        source: io::Error,
    },
    /// The calling thread could not be moved.
    #[error("{what}: {source}")]
    Enter {
        /// What was tried.
        what: &'static str,
        /// Why it was refused.
        source: io::Error,
    },
    /// It was not stopped.
    #[error("stopping process {process}: {source}")]
    Stop {
        /// The process.
        process: u32,
        /// Why.
        source: io::Error,
    },
}

/// Starts a command inside a namespace, as the head of a process group of its own.
///
/// Its mounts are its own too, so that `/sys/class/net` and `/etc/hosts` are the workload's.
pub fn spawn(
    mut command: Command,
    namespace: &Namespace,
    settings: &ProcessSettings,
) -> Result<Child, ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.process_group(0);
    let spawned = std::thread::scope(|scope| {
        // A child is born into the namespaces of the thread that makes it.
        let start = || {
            move_in(namespace, settings)?;
            command.spawn().map_err(|error| ("starting it", error))
        };
        scope.spawn(start).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    spawned.map_err(|(what, source)| ProcessError::Start { program, what, source })
}

/// Moves the calling thread, and so whatever it starts from now on, into a namespace, as [`spawn`] does for one command.
///
/// For a command that keeps its caller's process group, and so the terminal's foreground.
pub fn enter(namespace: &Namespace, settings: &ProcessSettings) -> Result<(), ProcessError> {
    move_in(namespace, settings).map_err(|(what, source)| ProcessError::Enter { what, source })
}

/// Stops a command and the processes of its group: asks, waits up to `grace`, then kills.
pub fn stop(child: &mut Child, grace: Duration) -> Result<ExitStatus, ProcessError> {
    let process = child.id();
    let failed = |source| ProcessError::Stop { process, source };
    if let Some(status) = child.try_wait().map_err(failed)? {
        // Its number may be another's by now.
        return Ok(status);
    }
    let group = Pid::from_raw(process.cast_signed()).expect("a process that was started has a number");
    let signal = |signal| match rustix::process::kill_process_group(group, signal) {
        // Everyone in the group has ended already.
        Err(rustix::io::Errno::SRCH) => Ok(()),
        sent => sent.map_err(|error| failed(error.into())),
    };
    signal(Signal::TERM)?;
    let deadline = Instant::now() + grace;
    while Instant::now() < deadline && !has_exited(group) {
        std::thread::sleep(Duration::from_millis(2));
    }
    // Whoever is left in the group did not listen. The head is not waited for before: its number stays the group's.
    signal(Signal::KILL)?;
    child.wait().map_err(failed)
}

/// Whether the process has ended, without taking its status.
fn has_exited(process: Pid) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(process), options), Ok(Some(_)))
}

fn move_in(namespace: &Namespace, settings: &ProcessSettings) -> Result<(), (&'static str, io::Error)> {
    namespace.join().map_err(|error| ("entering its network namespace", error))?;
    set_up_mounts(settings)
}

/// Gives the calling thread mounts of its own, with the workload's `/sys` and `/etc/hosts`.
fn set_up_mounts(settings: &ProcessSettings) -> Result<(), (&'static str, io::Error)> {
    const PRIVATE: &str = "making its mounts its own";
    let failed = |what| move |error: rustix::io::Errno| (what, io::Error::from(error));
    unshare(UnshareFlags::NEWNS).map_err(|error| (PRIVATE, error))?;
    // What is mounted on the machine later is still seen; nothing goes the other way.
    let downstream = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", downstream).map_err(failed(PRIVATE))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("sysfs", "/sys", "sysfs", flags, None).map_err(failed("mounting /sys"))?;
    if settings.hosts.is_empty() {
        return Ok(());
    }
    let text = hosts_file(settings).map_err(|error| ("reading /etc/hosts", error))?;
    bind_hosts(&text).map_err(|error| ("putting its /etc/hosts in place", error))
}

/// Puts a file over `/etc/hosts` that ends with the mount.
fn bind_hosts(text: &str) -> io::Result<()> {
    // Nothing without a name can be mounted, so it has one for the moment; no other thread has this one's number.
    let path = format!("/run/nexin-hosts-{}", rustix::thread::gettid());
    std::fs::write(&path, text)?;
    let bound = rustix::mount::mount_bind(&path, "/etc/hosts");
    std::fs::remove_file(&path)?;
    Ok(bound?)
}

/// The machine's `/etc/hosts`, and the names that are given.
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
