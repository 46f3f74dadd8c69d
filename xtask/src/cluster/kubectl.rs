//! kubectl against a cluster, in the network namespace of its plane.

use super::links;
use super::plan::{Machine, Name, Plan};
use super::users;
use crate::command;
use anyhow::Result;
use std::process::Command;

/// The command without arguments.
pub(super) fn command(name: &Name) -> Command {
    let mut command = links::command_within(name, Machine::Plane, &name.program("kubectl"));
    command.env("KUBECONFIG", name.kubeconfig(users::ADMIN));
    command
}

/// Runs kubectl and returns its output.
pub(super) fn run(plan: &Plan, arguments: &[&str]) -> Result<String> {
    command::run(command(&plan.name).args(arguments))
}
