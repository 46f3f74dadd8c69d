//! Runs programs of the machine, whose failures are errors with their output.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs a command and returns its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("could not run {command:?}"))?;
    text(command, output)
}

/// Runs a command with this standard input and returns its standard output.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("could not run {command:?}"))?;
    // A child that ends early closes its input; its own message is the better one.
    let _ = child.stdin.take().context("the child has no standard input")?.write_all(input.as_bytes());
    text(command, child.wait_with_output()?)
}

fn text(command: &Command, output: Output) -> Result<String> {
    if !output.status.success() {
        let [out, err] =
            [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        bail!("{command:?} failed with {}:\n{out}\n{err}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
