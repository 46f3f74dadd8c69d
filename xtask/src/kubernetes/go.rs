//! Go, as far as the programs need it: its version, and builds with their progress.

use super::modules::{Build, Module};
use crate::command;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(15);
/// The lines of a failed build that are shown.
const SHOWN_LINES: usize = 20;

/// The version of the installed Go, such as `go1.26.8`, or why there is none that builds a module of this version.
pub(super) fn version(wanted: &str) -> Result<String, String> {
    let output = Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output();
    let output = output.map_err(|_| "there is no Go here".to_owned())?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match numbers(version.trim_start_matches("go")) {
        found if found.is_empty() => Err("Go does not report its version".to_owned()),
        found if found < numbers(wanted) => Err(format!("{version} is too old")),
        _ => Ok(version),
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

/// Builds the module's programs into a directory, and prints progress meanwhile.
pub(super) fn build(module: &Module, directory: &Path) -> Result<()> {
    println!(
        "kubernetes: building {} ({}), once for a version; usually {}",
        module.name,
        module.programs.join(", "),
        module.usual_time
    );
    let started = Instant::now();
    let mut child = build_command(module, directory).spawn().context("could not run go")?;
    let lines = watch(module.name, &lines_of(&mut child)?, started);
    if !child.wait()?.success() {
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        bail!("go could not build the module {}:\n{}", module.name, shown.join("\n"));
    }
    if let Build::Tools { renamed } = &module.build {
        for (from, to) in *renamed {
            std::fs::rename(directory.join(from), directory.join(to))?;
        }
    }
    println!("kubernetes: {} took {} s", module.name, started.elapsed().as_secs());
    Ok(())
}

/// The directory of a module in Go's cache; one that is missing is downloaded.
pub(super) fn download(module: &Module, path: &str) -> Result<PathBuf> {
    let mut command = Command::new("go");
    command.args(["mod", "download", "-json", path]).current_dir(module.directory());
    let answer = command::run(command.env("GOTOOLCHAIN", "local"))?;
    let answer: Value = serde_json::from_str(&answer)?;
    Ok(PathBuf::from(answer["Dir"].as_str().with_context(|| format!("Go has no directory of {path}"))?))
}

/// The build, with less of the processor than what else runs here.
fn build_command(module: &Module, directory: &Path) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "10", "go"]);
    match &module.build {
        Build::Tools { .. } => command.args(["build", "-v"]),
        Build::Test { .. } => command.args(["test", "-c", "-v", "-vet=off"]),
    };
    command.args(["-trimpath", "-mod=readonly", "-buildvcs=false", "-tags", module.tags]);
    command.arg("-ldflags").arg(module.linker_flags());
    match &module.build {
        Build::Tools { .. } => command.arg("-o").arg(format!("{}/", directory.display())).arg("tool"),
        Build::Test { package } => command.arg("-o").arg(directory.join(module.programs[0])).arg(package),
    };
    command.current_dir(module.directory());
    command.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The lines of a child's standard error, read by a thread.
fn lines_of(child: &mut Child) -> Result<Receiver<String>> {
    let reader = BufReader::new(child.stderr.take().context("the build has no standard error")?);
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in reader.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Collects the lines until the build closes its output; each line is a module downloaded, a package compiled, or an error.
fn watch(name: &str, lines: &Receiver<String>, started: Instant) -> Vec<String> {
    let mut collected = Vec::new();
    let mut next = PROGRESS;
    loop {
        match lines.recv_timeout(next.saturating_sub(started.elapsed())) {
            Ok(line) => collected.push(line),
            Err(RecvTimeoutError::Disconnected) => return collected,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if started.elapsed() >= next {
            let downloads = collected.iter().filter(|line| line.contains("downloading")).count();
            let packages = collected.len() - downloads;
            println!(
                "kubernetes: {name}: {} s, {downloads} modules downloaded, {packages} packages compiled",
                started.elapsed().as_secs()
            );
            next += PROGRESS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("1.26.8") > numbers("1.26.0"));
        assert!(numbers("1.9.0") < numbers("1.26.0"));
        assert!(numbers("1.100") > numbers("1.26.0"));
        assert!(numbers("devel").is_empty());
    }
}
