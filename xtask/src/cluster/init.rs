//! The init process of a machine: starts its programs in order, starts again what ended, and reaps orphans.

use super::plan::{Machine, Plan};
use super::program::{Lifetime, Program};
use super::{cgroups, mounts, node, plane};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The time between two looks at the programs and files.
const PERIOD: Duration = Duration::from_millis(50);
/// The time from the end of a program to its next start.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs a machine until its init process is killed, which ends everything in the machine.
pub(super) fn run(plan: &Plan, machine: Machine) -> Result<()> {
    if std::process::id() != 1 {
        bail!("only `cargo xtask cluster up` starts a machine, in namespaces of its own");
    }
    cgroups::join(&plan.name, machine)?;
    rustix::system::sethostname(machine.to_string().as_bytes())?;
    forward_packets()?;
    let programs = match machine {
        Machine::Plane => plane::programs(plan),
        Machine::Node(_) => {
            mounts::make(&plan.name, machine)?;
            node::programs(plan, machine)
        }
    };
    let mut supervisor = Supervisor::new(plan, machine, programs);
    loop {
        supervisor.step()?;
        std::thread::sleep(PERIOD);
    }
}

/// Lets the machine forward packets of both families.
fn forward_packets() -> Result<()> {
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{setting}"), "1")
            .with_context(|| format!("could not set {setting}"))?;
    }
    Ok(())
}

/// The programs of a machine with what is known about each.
struct Supervisor {
    directory: PathBuf,
    path: String,
    programs: Vec<Supervised>,
}

struct Supervised {
    program: Program,
    process: Option<Pid>,
    not_before: Instant,
}

impl Supervisor {
    fn new(plan: &Plan, machine: Machine, programs: Vec<Program>) -> Self {
        let supervised = |program| Supervised { program, process: None, not_before: Instant::now() };
        Self {
            directory: plan.name.directory(machine),
            path: format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", plan.name.state().join("bin").display()),
            programs: programs.into_iter().map(supervised).collect(),
        }
    }

    /// Reaps what ended, ends what is to be stopped, starts what is due.
    fn step(&mut self) -> Result<()> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            self.ended(pid, status.exit_status() == Some(0))?;
        }
        for index in 0..self.programs.len() {
            let Supervised { program, process, not_before } = &self.programs[index];
            let is_stopped = self.mark("stopped", program).exists();
            match process {
                // A process that ended meanwhile is reaped in the next step.
                Some(pid) if is_stopped => drop(kill_process(*pid, Signal::KILL)),
                None if !is_stopped && *not_before <= Instant::now() && self.is_due(program) => {
                    self.start(index)?
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the files exist that a program starts after, and its task is not done.
    fn is_due(&self, program: &Program) -> bool {
        let is_done = program.lifetime == Lifetime::Task && self.mark("done", program).exists();
        !is_done && program.after.iter().all(|file| file.exists())
    }

    fn start(&mut self, index: usize) -> Result<()> {
        let program = &self.programs[index].program;
        let log = log(&self.directory, &program.name)?;
        let child = Command::new(&program.command[0])
            .args(&program.command[1..])
            .env("PATH", &self.path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("could not start {:?}", program.command))?;
        std::fs::write(self.mark("running", program), child.id().to_string())?;
        self.programs[index].process = Some(Pid::from_child(&child));
        Ok(())
    }

    /// Notes the end of a process, where it was a program and not an orphan.
    fn ended(&mut self, pid: Pid, is_success: bool) -> Result<()> {
        let Some(index) = self.programs.iter().position(|one| one.process == Some(pid)) else {
            return Ok(());
        };
        let program = &self.programs[index].program;
        std::fs::remove_file(self.mark("running", program))?;
        if is_success && program.lifetime == Lifetime::Task {
            File::create(self.mark("done", program))?;
        }
        self.programs[index].process = None;
        self.programs[index].not_before = Instant::now() + PAUSE;
        Ok(())
    }

    /// The file by which other commands see, or change, the state of a program.
    fn mark(&self, state: &str, program: &Program) -> PathBuf {
        self.directory.join(state).join(&program.name)
    }
}

/// Opens the log of a program.
pub(super) fn log(directory: &Path, program: &str) -> Result<File> {
    let path = directory.join("logs").join(format!("{program}.log"));
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("could not open {}", path.display()))
}
