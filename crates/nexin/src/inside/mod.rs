//! Runs commands inside a workload: in its network namespace, with the names of services in `/etc/hosts`.

mod foreground;
mod hosts;

pub(crate) use foreground::{NotStarted, Signals, command, pass_through, start};

use anyhow::Context;
use api::view;
use std::process::Command;
use workload::{Group, NetworkNamespace, ProcessSettings};

/// Moves the calling thread, and processes that it starts from now on, into the workload. The command joins the
/// workload's control group, and is killed when the workload is removed.
pub(crate) fn enter(
    endpoint: &view::EndpointSummary,
    services: &[view::ServiceSummary],
    command: &mut Command,
) -> anyhow::Result<()> {
    let namespace = NetworkNamespace::open(&endpoint.network_namespace)?;
    if let Some(group) = &endpoint.group {
        // Opened before the thread enters the workload's mount namespace.
        let admission = Group::at(group).open();
        admission.with_context(|| format!("opening {}", group.display()))?.enter_on_start(command);
    }
    let settings = ProcessSettings { hosts: hosts::names(&endpoint.namespace, services) };
    Ok(workload::enter(&namespace, &settings)?)
}
