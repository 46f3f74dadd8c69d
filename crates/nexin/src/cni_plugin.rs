//! The CNI plugin: asks the agent for what a container runtime requests.
//!
//! A runtime runs this binary as `nexin-cni` (or `nexin cni`), with the request in the environment and the configuration on
//! standard input. No option is parsed and no log is started: a pod waits for the answer.

mod answer;
mod loopback;
mod request;

use cni::{CniFailure, ErrorCode, Invocation, LOOPBACK, NetworkConfig, Operation, PLUGIN, SpecVersion};
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// What a person who runs the plugin reads.
pub(crate) const USAGE: &str = "nexin-cni is run by container runtimes, with CNI_COMMAND in its environment and a network configuration \
                     on its standard input (https://www.cni.dev/docs/spec)";

/// Runs the plugin if a runtime runs this process as one; none if it is another command.
pub(crate) fn run() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default().to_owned();
    let is_command = arguments.next().is_some_and(|first| first == "cni") && arguments.next().is_none();
    if !is_command && name != PLUGIN && name != LOOPBACK {
        return None;
    }
    match std::env::var_os("CNI_COMMAND") {
        Some(_) => Some(print(perform(&name))),
        None if is_command => None,
        None => {
            let _ = writeln!(std::io::stderr(), "{USAGE}");
            Some(ExitCode::SUCCESS)
        }
    }
}

/// What the plugin prints, and the version that it prints it in.
type Printed = (SpecVersion, Result<Option<Value>, CniFailure>);

fn perform(name: &OsStr) -> Printed {
    let mut version = SpecVersion::NEWEST;
    let result = Invocation::parse(|name| std::env::var(name).ok()).and_then(|invocation| {
        if invocation.operation == Operation::Version {
            return Ok(Some(cni::versions()));
        }
        let mut text = Vec::new();
        let read = std::io::stdin().read_to_end(&mut text);
        read.map_err(|error| CniFailure::new(ErrorCode::Io, format!("standard input: {error}")))?;
        let config = NetworkConfig::parse(&text, invocation.operation)?;
        version = config.version;
        if name == LOOPBACK || config.plugin == LOOPBACK {
            return loopback::perform(&invocation, &config);
        }
        request::perform(&invocation, &config)
    });
    (version, result)
}

fn print((version, result): Printed) -> ExitCode {
    let (text, code) = match result {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(value)) => (value, ExitCode::SUCCESS),
        Err(failure) => (failure.to_json(version), ExitCode::FAILURE),
    };
    // A runtime that does not read the answer has given up.
    let _ = writeln!(std::io::stdout(), "{text}");
    code
}
