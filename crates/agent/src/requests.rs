//! Answers the requests of the API, except those for flows.

mod apply;

use crate::explain;
use crate::reconciler::Reconciler;
use crate::state::{Process, WorkloadRecord};
use crate::status::{self, Parts};
use crate::wiring::named_ports;
use crate::{runtime_settings, views, workloads};
use api::{ApiRequest, Cause, Failure};
use control::{Change, Endpoint, Workload, World};
use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;

type Answer = Result<Value, Failure>;

/// Maximum length of a name of a workload or namespace (RFC 1123).
const MAX_NAME: usize = 63;

/// Answers one request; its changes have taken effect when the answer is returned.
pub(crate) fn answer(reconciler: &mut Reconciler, request: ApiRequest) -> Answer {
    let world = reconciler.world();
    match request {
        ApiRequest::Endpoints => value(&views::endpoints(world, &reconciler.state)),
        ApiRequest::Identities => value(&views::identities(world)),
        ApiRequest::Services => value(&views::services(world)),
        ApiRequest::Policies => value(&views::policies(world, &reconciler.objects)),
        ApiRequest::Rules => value(&views::rules(world)),
        ApiRequest::Explain(probe) => value(&explain::explain(world, &probe)?),
        ApiRequest::Apply { file, text, results } => {
            let applied = apply::apply(reconciler, &file, &text)?;
            let names = || applied.iter().map(|one| &one.name).collect::<Vec<_>>();
            if results { value(&applied) } else { value(&names()) }
        }
        ApiRequest::Delete { names } => value(&apply::delete(reconciler, &names)?),
        ApiRequest::CreateWorkload(wanted) => create(reconciler, wanted),
        removal @ ApiRequest::RemoveWorkload { .. } => remove(reconciler, &[removal]).remove(0),
        ApiRequest::ConfigureWorkload { namespace, name, audit } => {
            configure(reconciler, &namespace, &name, audit)
        }
        ApiRequest::ChangeSettings { monitor_aggregation } => {
            value(&runtime_settings::change(reconciler, monitor_aggregation.as_deref())?)
        }
        ApiRequest::Stop => Ok(Value::Null),
        ApiRequest::Status | ApiRequest::Observe { .. } => {
            Err(Failure::new(Cause::Internal, "this request is not answered by the reconciler"))
        }
    }
}

/// Answers a request for the status.
pub(crate) fn status(reconciler: &Reconciler, parts: &Parts<'_>) -> Answer {
    value(&status::status(reconciler, parts).map_err(internal)?)
}

fn create(reconciler: &mut Reconciler, mut wanted: api::WorkloadSpec) -> Answer {
    let (namespace, name) = (wanted.namespace.clone(), wanted.name.clone());
    for (what, text) in [("namespace", &namespace), ("name", &name)] {
        check_name(what, text)?;
    }
    if find(reconciler, &namespace, &name).is_some() {
        return Err(Failure::new(
            Cause::Conflict,
            format!(
                "workload {namespace}/{name} is there already; choose another name, or remove that workload"
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
        return Err(Failure::new(Cause::Invalid, "the process that owns the workload does not run"));
    }
    workloads::check_families(reconciler).map_err(internal)?;
    reconciler.wiring.check_families(&wanted.addresses).map_err(invalid)?;
    for address in &wanted.addresses {
        reconciler.addresses.check(*address).map_err(|message| Failure::new(Cause::Invalid, message))?;
        check_free(reconciler.world(), *address)?;
    }
    wanted.addresses = reconciler
        .addresses
        .for_workload(&wanted.addresses)
        .map_err(|error| Failure::new(Cause::Conflict, error.to_string()))?;
    let addresses = wanted.addresses.clone();
    workloads::create(reconciler, wanted).map_err(|error| {
        if find(reconciler, &namespace, &name).is_none() {
            reconciler.addresses.release_workload(&addresses);
        }
        internal(error)
    })?;
    let world = reconciler.world();
    let created = world
        .endpoint(&namespace, &name)
        .and_then(|created| views::endpoint(world, &reconciler.state, created));
    value(&created.ok_or_else(|| {
        Failure::new(Cause::Internal, "the workload was removed right after it was created")
    })?)
}

fn configure(reconciler: &mut Reconciler, namespace: &str, name: &str, audit: bool) -> Answer {
    let known = reconciler.world().endpoint(namespace, name).cloned();
    let endpoint = known.ok_or_else(|| not_found(namespace, name))?;
    let id = endpoint.id;
    let before = set_audit(reconciler, id, audit);
    let change = Change::Endpoint(Box::new(Endpoint { audit, ..endpoint }));
    let applied = reconciler.save().and_then(|()| reconciler.apply(vec![change]));
    if let Err(error) = applied {
        set_audit(reconciler, id, before);
        reconciler.save_or_note();
        return Err(internal(error));
    }
    let world = reconciler.world();
    let now = world.endpoint(namespace, name).and_then(|now| views::endpoint(world, &reconciler.state, now));
    value(&now.ok_or_else(|| not_found(namespace, name))?)
}

/// Sets the audit mode of a workload in the state file; returns the mode before.
fn set_audit(reconciler: &mut Reconciler, id: u32, audit: bool) -> bool {
    let workload = reconciler.state.workloads.iter_mut().find(|workload| workload.id == id);
    workload.is_some_and(|workload| std::mem::replace(&mut workload.audit, audit))
}

fn not_found(namespace: &str, name: &str) -> Failure {
    Failure::new(Cause::NotFound, format!("there is no workload {namespace}/{name} on this node"))
}

/// The number of a workload, complete or not.
fn find(reconciler: &Reconciler, namespace: &str, name: &str) -> Option<u32> {
    let is_it =
        |known: &&WorkloadRecord| (&*known.wanted.namespace, &*known.wanted.name) == (namespace, name);
    reconciler.state.workloads.iter().find(is_it).map(|known| known.id)
}

/// Removes the workloads of all requests together; returns the answers in the order of the requests.
pub(crate) fn remove(reconciler: &mut Reconciler, requests: &[ApiRequest]) -> Vec<Answer> {
    let mut ids = Vec::new();
    let found: Vec<Result<u32, Failure>> = requests
        .iter()
        .map(|request| {
            let ApiRequest::RemoveWorkload { namespace, name } = request else {
                return Err(Failure::new(Cause::Internal, "this request does not remove a workload"));
            };
            // For the second of two requests that name a workload, the workload is gone.
            let id = find(reconciler, namespace, name).filter(|id| !ids.contains(id));
            let id = id.ok_or_else(|| not_found(namespace, name))?;
            ids.push(id);
            Ok(id)
        })
        .collect();
    let mut failed = if ids.is_empty() { Default::default() } else { workloads::remove(reconciler, &ids) };
    let mut answer = |id| failed.remove(&id).map_or(Ok(Value::Null), |error| Err(internal(error)));
    found.into_iter().map(|id| id.and_then(&mut answer)).collect()
}

/// Refuses an address that a workload, a service or this node has, in the pools or outside them.
fn check_free(world: &World, address: IpAddr) -> Result<(), Failure> {
    let node = |id| world.remote_workload_of(id).map(|remote| format!(" of node {}", remote.node));
    let workload = world.workload_at(address).and_then(|id| Some((id, world.workload(id)?)));
    let owner = if let Some((id, Workload { namespace, name, .. })) = workload {
        format!("workload {namespace}/{name}{}", node(id).unwrap_or_default())
    } else if let Some(service) = world.services().find(|service| service.addresses.contains(&address)) {
        format!("service {}/{}", service.namespace, service.name)
    } else if world.node().addresses.contains(&address) {
        "the node itself".to_string()
    } else {
        return Ok(());
    };
    Err(Failure::new(
        Cause::Conflict,
        format!("{address} is the address of {owner}; choose another address, or none"),
    ))
}

/// Names are DNS labels, as in Kubernetes.
fn check_name(what: &str, text: &str) -> Result<(), Failure> {
    let is_valid = (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_valid {
        return Ok(());
    }
    Err(Failure::new(
        Cause::Invalid,
        format!("{what} {text:?} should be 1 to {MAX_NAME} lower-case letters, digits and inner hyphens"),
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
    use control::RemoteWorkload;

    #[test]
    fn an_address_of_a_workload_of_another_node_is_not_free() {
        let address = IpAddr::from([10, 0, 9, 1]);
        let workload = Workload {
            namespace: "shop".into(),
            name: "web".into(),
            addresses: vec![address],
            ..Workload::default()
        };
        let mut world = World::new();
        world.apply([Change::RemoteWorkload(Box::new(RemoteWorkload { node: "other".into(), workload }))]);
        let failure = check_free(&world, address).unwrap_err();
        assert_eq!(failure.cause, Cause::Conflict);
        assert!(failure.messages[0].contains("workload shop/web of node other"), "{failure:?}");
        assert!(check_free(&world, IpAddr::from([10, 0, 9, 2])).is_ok());
    }

    #[test]
    fn names_are_dns_labels() {
        let long = "a".repeat(MAX_NAME + 1);
        for (name, is_valid) in [
            ("app1", true),
            ("a-b", true),
            ("", false),
            ("App", false),
            ("-a", false),
            ("a/b", false),
            (&long, false),
        ] {
            assert_eq!(check_name("name", name).is_ok(), is_valid, "{name:?}");
        }
    }
}
