//! What can be asked of an agent, and what it answers.

pub(crate) mod apply;
mod status;

use crate::agent::Agent;
use crate::explain;
use crate::state::{Process, WorkloadRecord};
use crate::views;
use crate::wiring::named_ports;
use api::{Cause, Failure, Request};
use control::{Change, Endpoint};
use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;

type Answer = Result<Value, Failure>;

/// Longest name of a workload or namespace (RFC 1123).
const LONGEST_NAME: usize = 63;

/// Answers one request; whatever it changes is in force when the answer is given.
pub(crate) fn answer(agent: &mut Agent, request: Request) -> Answer {
    let world = &agent.kernel.world;
    match request {
        Request::Status => {
            agent.look_for_interfaces();
            value(&status::status(agent).map_err(internal)?)
        }
        Request::Endpoints => value(&views::endpoints(world, &agent.state)),
        Request::Identities => value(&views::identities(world)),
        Request::Services => value(&views::services(world)),
        Request::Policies => value(&views::policies(world, &agent.objects)),
        Request::Rules => value(&views::rules(world)),
        Request::Explain(probe) => value(&explain::explain(world, &probe)?),
        Request::Apply { file, text } => value(&apply::apply(agent, &file, &text)?),
        Request::Delete { names } => value(&apply::delete(agent, &names)?),
        Request::CreateWorkload(wanted) => create(agent, wanted),
        removal @ Request::RemoveWorkload { .. } => remove(agent, &[removal]).remove(0),
        Request::ConfigureWorkload { namespace, name, audit } => configure(agent, &namespace, &name, audit),
        Request::Stop => Ok(Value::Null),
        Request::Observe { .. } => {
            Err(Failure::new(Cause::Internal, "flows are not for the agent's own thread to follow"))
        }
    }
}

fn create(agent: &mut Agent, mut wanted: api::WorkloadSpec) -> Answer {
    let (namespace, name) = (wanted.namespace.clone(), wanted.name.clone());
    for (what, text) in [("namespace", &namespace), ("name", &name)] {
        check_name(what, text)?;
    }
    if find(agent, &namespace, &name).is_some() {
        return Err(Failure::new(
            Cause::Conflict,
            format!(
                "workload {namespace}/{name} is there already; give this one another name, or end that one"
            ),
        ));
    }
    for (key, value) in &wanted.labels {
        manifest::label::check(key, value)
            .map_err(|error| Failure::new(Cause::Invalid, error.to_string()))?;
    }
    named_ports(&wanted.named_ports).map_err(invalid)?;
    if let Some(owner) = wanted.owner
        && Process::find(owner).map_err(|error| internal(error.into()))?.is_none()
    {
        return Err(Failure::new(Cause::Invalid, "the process that is to own the workload does not run"));
    }
    agent.look_for_families().map_err(internal)?;
    agent.wiring.check_families(&wanted.addresses).map_err(invalid)?;
    for address in &wanted.addresses {
        agent.addresses.check(*address).map_err(|message| Failure::new(Cause::Invalid, message))?;
        check_free(agent, *address)?;
    }
    wanted.addresses = agent
        .addresses
        .for_workload(&wanted.addresses)
        .map_err(|error| Failure::new(Cause::Conflict, error.to_string()))?;
    let addresses = wanted.addresses.clone();
    agent.make_workload(wanted).map_err(|error| {
        if find(agent, &namespace, &name).is_none() {
            agent.addresses.release_workload(&addresses);
        }
        internal(error)
    })?;
    let world = &agent.kernel.world;
    let made = world.endpoint(&namespace, &name).and_then(|made| views::endpoint(world, &agent.state, made));
    value(&made.ok_or_else(|| Failure::new(Cause::Internal, "the workload is gone as soon as it was made"))?)
}

fn configure(agent: &mut Agent, namespace: &str, name: &str, audit: bool) -> Answer {
    let known = agent.kernel.world.endpoint(namespace, name).cloned();
    let endpoint = known.ok_or_else(|| nobody(namespace, name))?;
    let id = endpoint.id;
    let before = set_audit(agent, id, audit);
    let done = agent
        .remember()
        .and_then(|()| agent.kernel.apply([Change::Endpoint(Box::new(Endpoint { audit, ..endpoint }))]));
    if let Err(error) = done {
        set_audit(agent, id, before);
        agent.remember_or_note();
        return Err(internal(error));
    }
    let world = &agent.kernel.world;
    let now = world.endpoint(namespace, name).and_then(|now| views::endpoint(world, &agent.state, now));
    value(&now.ok_or_else(|| nobody(namespace, name))?)
}

/// Sets whether a workload's refusals are let through, as the next start finds it; what it was is returned.
fn set_audit(agent: &mut Agent, id: u32, audit: bool) -> bool {
    let workload = agent.state.workloads.iter_mut().find(|workload| workload.id == id);
    workload.is_some_and(|workload| std::mem::replace(&mut workload.audit, audit))
}

fn nobody(namespace: &str, name: &str) -> Failure {
    Failure::new(Cause::NotFound, format!("there is no workload {namespace}/{name} on this node"))
}

/// The number of a workload, be it whole or not.
fn find(agent: &Agent, namespace: &str, name: &str) -> Option<u32> {
    let is_it =
        |known: &&WorkloadRecord| (&*known.wanted.namespace, &*known.wanted.name) == (namespace, name);
    agent.state.workloads.iter().find(is_it).map(|known| known.id)
}

/// Removes the workloads that requests name, together; answers them in turn.
pub(crate) fn remove(agent: &mut Agent, requests: &[Request]) -> Vec<Answer> {
    let mut ids = Vec::new();
    let found: Vec<Result<u32, Failure>> = requests
        .iter()
        .map(|request| {
            let Request::RemoveWorkload { namespace, name } = request else {
                return Err(Failure::new(Cause::Internal, "this is no request to remove a workload"));
            };
            // A workload that an earlier request of these names is gone for the later ones.
            let id = find(agent, namespace, name).filter(|id| !ids.contains(id));
            let id = id.ok_or_else(|| nobody(namespace, name))?;
            ids.push(id);
            Ok(id)
        })
        .collect();
    let mut left = if ids.is_empty() { Default::default() } else { agent.remove_workloads(&ids) };
    let mut answer = |id| left.remove(&id).map_or(Ok(Value::Null), |error| Err(internal(error)));
    found.into_iter().map(|id| id.and_then(&mut answer)).collect()
}

/// Refuses an address that something on this node has already, in the pools or outside them.
fn check_free(agent: &Agent, address: IpAddr) -> Result<(), Failure> {
    let world = &agent.kernel.world;
    let owner = if let Some(endpoint) = world.endpoint_at(address) {
        format!("workload {}/{}", endpoint.workload.namespace, endpoint.workload.name)
    } else if let Some(service) = world.services().find(|service| service.addresses.contains(&address)) {
        format!("service {}/{}", service.namespace, service.name)
    } else if world.node().addresses.contains(&address) {
        "the node itself".to_string()
    } else {
        return Ok(());
    };
    Err(Failure::new(
        Cause::Conflict,
        format!("{address} is the address of {owner}; ask for another, or for none"),
    ))
}

/// Names are DNS labels, as in Kubernetes.
fn check_name(what: &str, text: &str) -> Result<(), Failure> {
    let right = (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if right {
        return Ok(());
    }
    Err(Failure::new(
        Cause::Invalid,
        format!("{what} {text:?} should be 1 to {LONGEST_NAME} lower-case letters, digits and inner hyphens"),
    ))
}

fn value(view: &impl Serialize) -> Answer {
    serde_json::to_value(view).map_err(|error| internal(error.into()))
}

fn internal(error: anyhow::Error) -> Failure {
    Failure::new(Cause::Internal, api::sentence(error.as_ref()))
}

fn invalid(error: anyhow::Error) -> Failure {
    Failure::new(Cause::Invalid, api::sentence(error.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        let long = "a".repeat(LONGEST_NAME + 1);
        for (name, right) in [
            ("app1", true),
            ("a-b", true),
            ("", false),
            ("App", false),
            ("-a", false),
            ("a/b", false),
            (&long, false),
        ] {
            assert_eq!(check_name("name", name).is_ok(), right, "{name:?}");
        }
    }
}
