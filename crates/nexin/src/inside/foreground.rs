//! Runs a command in the foreground: forwards signals to it, and returns its exit code.

use anyhow::Context;
use rustix::process::{Pid, PidfdFlags, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;

/// Signals that are held back, to be forwarded to the command. Created before the command is started, so that no
/// signal is lost.
pub(crate) struct Signals(iterator::Signals);

impl Signals {
    /// Holds signals back from now on.
    pub(crate) fn hold() -> io::Result<Self> {
        iterator::Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2]).map(Self)
    }
}

/// The error of a command that could not be started.
#[derive(Debug)]
pub(crate) struct NotStarted {
    program: String,
    cause: io::Error,
}

/// A command, from a program and its arguments.
pub(crate) fn command(words: &[OsString]) -> Command {
    let (program, arguments) = words.split_first().expect("clap asks for at least one word");
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Starts a command.
pub(crate) fn start(command: &mut Command) -> Result<Child, NotStarted> {
    command.spawn().map_err(|cause| {
        let program = command.get_program().to_string_lossy().into_owned();
        NotStarted { program, cause }
    })
}

/// Waits for the command and forwards signals to it; returns its exit code.
pub(crate) fn pass_through(mut child: Child, signals: Signals) -> anyhow::Result<u8> {
    let target = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
        .context("cannot watch the command")?;
    let Signals(mut signals) = signals;
    let closer = signals.handle();
    let forwarding = thread::spawn(move || signals.forever().for_each(|signal| forward(signal, &target)));
    let status = child.wait().context("cannot wait for the command")?;
    closer.close();
    forwarding.join().expect("forwarding signals does not panic");
    Ok(exit_code(status))
}

impl NotStarted {
    /// The exit code that `env` and shells use.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.cause.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
    }
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start `{}`: {}", self.program, self.cause)
    }
}

impl std::error::Error for NotStarted {}

fn forward(signal: i32, target: &OwnedFd) {
    // A terminal sends its signals to the whole foreground process group, so the command has received them.
    let typed = matches!(signal, SIGINT | SIGQUIT) && io::stdin().is_terminal();
    if let (false, Some(signal)) = (typed, Signal::from_named_raw(signal)) {
        // Fails if the command has just exited.
        let _ = rustix::process::pidfd_send_signal(target, signal);
    }
}

/// As in shells: 128 plus the number of the signal for a command that was killed.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_command_that_does_not_exist_is_named() {
        let error = start(&mut command(&["no-such-program".into()])).unwrap_err();
        assert_eq!(error.exit_code(), 127);
        assert!(error.to_string().starts_with("cannot start `no-such-program`: No such file"), "{error}");
    }

    #[test]
    fn the_exit_code_is_the_commands_own() {
        let check = |script: &str, expected: u8| {
            let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            assert_eq!(pass_through(child, Signals::hold().unwrap()).unwrap(), expected, "{script}");
        };
        check("exit 0", 0);
        check("exit 42", 42);
        check("kill -9 $$", 137);
    }
}
