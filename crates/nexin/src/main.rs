//! The `nexin` binary: every command, from `nexin demo` to the node agent.
#![forbid(unsafe_code)]

mod arguments;
mod cluster_connection;
mod cni_plugin;
mod command;
mod duration;
mod global;
mod inside;
mod interrupt;
mod listing;
mod log;
mod outcome;
mod progress;
mod session;
mod table;
mod verdict;

use arguments::Arguments;
use clap::Parser;
use session::Session;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = cni_plugin::run() {
        return code;
    }
    let arguments = Arguments::parse();
    let session = Session::new(arguments.global);
    let result = arguments.command.run(&session);
    outcome::exit_code(result, &session)
}
