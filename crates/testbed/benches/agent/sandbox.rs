//! A sandbox for a case: process, mount and network namespaces of its own, which end with the case, whatever it left.

use crate::case::{CASES, Case, Measured};
use crate::node::Node;
use crate::options::{Inside, Options};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;
use workload::RcuExpediter;

/// Prepares the namespaces: network namespaces and BPF objects are named in file systems of their own, so the kernel frees
/// them with the sandbox. The shell stays the first process, and reaps.
const PREPARE: &str = "mkdir -p /run/netns && mount -t tmpfs netns /run/netns && mount -t bpf bpf /sys/fs/bpf && \
                       ip link set lo up && \"$0\" \"$@\"; exit $?";

/// The name of the agent's instance, which its control groups have too.
fn instance() -> String {
    format!("bench{}", std::process::id())
}

/// Runs a case in a sandbox until it ends or its limit is reached: the values that it measured, and why others are missing.
pub(crate) fn run(case: &Case, program: &Path, options: &Options) -> Result<Vec<Measured>> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(instance());
    fs::create_dir_all(&directory)?;
    let mut child = start(case, (program, &directory), options.scale)?;
    let output = child.stdout.take().expect("the output is piped");
    let (lines, received) = channel();
    thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).all(|line| lines.send(line).is_ok())
    });
    let until = Instant::now() + case.limit;
    let mut measured: Vec<Measured> = Vec::new();
    let why = loop {
        match received.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(value) => measured.push(value),
                Err(_) => break line,
            },
            Err(RecvTimeoutError::Disconnected) => break "not measured".to_owned(),
            Err(RecvTimeoutError::Timeout) => break format!("given up after {} s", case.limit.as_secs()),
        }
    };
    // The first process of the sandbox takes all others with it.
    let _ = child.kill();
    child.wait()?;
    clean(&directory);
    for figure in case.figures {
        if measured.iter().all(|known| known.name != figure.name) {
            measured.push(Measured { name: figure.name.to_owned(), value: Err(why.clone()) });
        }
    }
    Ok(measured)
}

fn start(case: &Case, (program, directory): (&Path, &Path), scale: f64) -> Result<Child> {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private", "sh", "-c", PREPARE])
        .arg(std::env::current_exe()?)
        .args(["--case", case.name, "--scale", &scale.to_string(), "--nexin"])
        .arg(program)
        .arg("--inside")
        .arg(directory);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("unshare (util-linux) cannot be started")
}

/// Removes what is not in the sandbox: a kernel setting of the agent that was killed, the directory, and the control groups.
fn clean(directory: &Path) {
    let _ = RcuExpediter::new(directory.join("run/hurry")).recover();
    let _ = fs::remove_dir_all(directory);
    let groups = PathBuf::from("/sys/fs/cgroup/nexin").join(instance());
    for group in fs::read_dir(&groups).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(group.path());
    }
    let _ = fs::remove_dir(groups);
}

/// Runs a case; this process is in its sandbox. Prints each value as a line of JSON, and an error as plain text.
pub(crate) fn measure(inside: &Inside) -> Result<()> {
    let Some(case) = CASES.iter().find(|case| case.name == inside.case) else {
        bail!("{}: there is no such case", inside.case);
    };
    let instance = inside.directory.file_name().and_then(|name| name.to_str()).context("a directory")?;
    let mut node = Node::new(&inside.program, &inside.directory, instance)?;
    let mut out = std::io::stdout().lock();
    let mut record = |name: &str, value: f64| {
        assert!(
            case.figures.iter().any(|figure| figure.name == name),
            "{name:?} is no figure of {}",
            case.name
        );
        let line = serde_json::to_string(&Measured { name: name.to_owned(), value: Ok(value) });
        let _ = writeln!(out, "{}", line.expect("it is plain data"));
    };
    if let Err(error) = (case.measure)(&mut node, inside.scale, &mut record) {
        println!("failed: {error:#}");
        eprintln!("{}: {error:#}\n{}", case.name, node.last_words());
    }
    Ok(())
}
