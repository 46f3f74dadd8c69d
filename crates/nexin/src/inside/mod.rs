//! Running commands inside a workload: in its network namespace, with the names of services in `/etc/hosts`.

mod foreground;
mod hosts;

pub(crate) use foreground::{NotStarted, Signals, command, pass_through, start};

use api::view::{Endpoint, Service};
use workload::{Namespace, Surroundings};

/// Moves the calling thread, and so whatever it starts from now on, into the workload.
pub(crate) fn enter(endpoint: &Endpoint, services: &[Service]) -> anyhow::Result<()> {
    let namespace = Namespace::open(&endpoint.network_namespace)?;
    let surroundings = Surroundings { hosts: hosts::names(&endpoint.namespace, services) };
    Ok(workload::enter(&namespace, &surroundings)?)
}
