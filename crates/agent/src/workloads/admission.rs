//! Checks whether a workload may be created, and completes its specification.

use crate::answer::{internal, invalid};
use crate::families;
use crate::pool::PoolError;
use crate::reconciler::Reconciler;
use crate::state::{Process, WorkloadRecord};
use crate::wiring::named_ports;
use api::{Cause, Failure};
use control::{Workload, World};
use std::net::IpAddr;
use std::sync::Arc;

/// Maximum length of a name of a workload or namespace (RFC 1123).
const MAX_NAME: usize = 63;

/// Maximum length of a name of a pod: labels of a DNS name.
const MAX_POD_NAME: usize = 253;

/// Checks a specification, and assigns the addresses that it leaves open.
pub(super) fn admit(
    reconciler: &mut Reconciler,
    mut wanted: api::WorkloadSpec,
) -> Result<api::WorkloadSpec, Failure> {
    let (namespace, name) = (&wanted.namespace, &wanted.name);
    for (what, text) in [("namespace", namespace), ("name", name)] {
        check_name(what, text)?;
    }
    if find(reconciler, namespace, name).is_some() {
        return Err(Failure::new(
            Cause::Conflict,
            format!(
                "workload {namespace}/{name} is there already; choose another name, or remove that workload"
            ),
        ));
    }
    check_description(&wanted)?;
    if let Some(owner) = wanted.owner
        && Process::find(owner).map_err(|error| internal(error.into()))?.is_none()
    {
        return Err(Failure::new(Cause::Invalid, "the process that owns the workload does not run"));
    }
    assign(reconciler, &mut wanted)?;
    Ok(wanted)
}

/// Checks the specification of an attachment, and assigns the addresses that it leaves open, unless another plugin has
/// assigned them. Several attachments may be of one pod.
pub(super) fn admit_attachment(
    reconciler: &mut Reconciler,
    mut wanted: api::WorkloadSpec,
    is_chained: bool,
) -> Result<api::WorkloadSpec, Failure> {
    check_name("namespace", &wanted.namespace)?;
    check_pod_name(&wanted.name)?;
    check_description(&wanted)?;
    if is_chained {
        adopt(reconciler, &wanted)?;
    } else {
        assign(reconciler, &mut wanted)?;
    }
    Ok(wanted)
}

/// The name of a workload for a container that is no pod's.
pub(super) fn name_of_container(container: &str) -> String {
    let name = container.chars().take(MAX_NAME);
    let name: String =
        name.map(|one| if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { '-' }).collect();
    name.trim_matches('-').to_owned()
}

/// Checks labels and named ports.
fn check_description(wanted: &api::WorkloadSpec) -> Result<(), Failure> {
    for (key, value) in &wanted.labels {
        manifest::label::check(key, value)
            .map_err(|error| Failure::new(Cause::Invalid, error.to_string()))?;
    }
    named_ports(&wanted.named_ports).map(drop).map_err(invalid)
}

/// Checks the addresses that a workload requests, and assigns those that it leaves open.
fn assign(reconciler: &mut Reconciler, wanted: &mut api::WorkloadSpec) -> Result<(), Failure> {
    check_families(reconciler).map_err(internal)?;
    if reconciler.addresses.are_none() {
        return Err(Failure::new(Cause::Unavailable, reconciler.unready().join("; ")));
    }
    reconciler.wiring.check_families(&wanted.addresses).map_err(invalid)?;
    for address in &wanted.addresses {
        reconciler.addresses.check(*address).map_err(|message| Failure::new(Cause::Invalid, message))?;
        check_free(reconciler.world(), *address)?;
        check_unreserved(reconciler, *address)?;
    }
    let assigned = reconciler.addresses.for_workload(&wanted.addresses);
    wanted.addresses = assigned.map_err(|error| {
        let cause = match error {
            PoolError::KeptBack(_) => Cause::Unavailable,
            PoolError::Exhausted(_) | PoolError::Taken(_) => Cause::Conflict,
        };
        Failure::new(cause, error.to_string())
    })?;
    reconciler.state.latest_addresses = reconciler.addresses.latest().to_vec();
    Ok(())
}

/// Checks and reserves addresses that another plugin has assigned.
fn adopt(reconciler: &mut Reconciler, wanted: &api::WorkloadSpec) -> Result<(), Failure> {
    if wanted.addresses.is_empty() {
        let message = "the previous plugin (prevResult) assigned no address to the interface";
        return Err(Failure::new(Cause::Invalid, message));
    }
    for address in &wanted.addresses {
        check_free(reconciler.world(), *address)?;
        check_unreserved(reconciler, *address)?;
    }
    let reserved = reconciler.addresses.reserve_workload(&wanted.addresses);
    reserved.map_err(|error| Failure::new(Cause::Conflict, error.to_string()))
}

/// Checks whether the node still has IPv6; without IPv6, new workloads get no IPv6 address.
fn check_families(reconciler: &mut Reconciler) -> anyhow::Result<()> {
    let before = reconciler.wiring.ipv6();
    reconciler.wiring.refresh()?;
    let now = reconciler.wiring.ipv6();
    if now != before {
        let note = families::lost(now);
        tracing::warn!("{note}");
        reconciler.notes.push(note);
        reconciler.addresses.leave_out_ipv6();
    }
    let is_left = now == before || !reconciler.addresses.are_none();
    anyhow::ensure!(is_left, "workloadAddresses has an IPv6 block alone, and {now}");
    Ok(())
}

/// The number of a workload, complete or not.
pub(super) fn find(reconciler: &Reconciler, namespace: &str, name: &str) -> Option<u32> {
    let is_it =
        |known: &&Arc<WorkloadRecord>| (&*known.wanted.namespace, &*known.wanted.name) == (namespace, name);
    reconciler.state.workloads.values().find(is_it).map(|known| known.id)
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
    Err(taken(address, &owner))
}

/// Refuses an address of a workload that is being created or removed: it may have no map entries.
fn check_unreserved(reconciler: &Reconciler, address: IpAddr) -> Result<(), Failure> {
    let has_it = |known: &&Arc<WorkloadRecord>| known.wanted.addresses.contains(&address);
    match reconciler.state.workloads.values().find(has_it) {
        Some(known) => {
            let api::WorkloadSpec { namespace, name, .. } = &known.wanted;
            Err(taken(address, &format!("workload {namespace}/{name}")))
        }
        None => Ok(()),
    }
}

fn taken(address: IpAddr, owner: &str) -> Failure {
    let message = format!("{address} is the address of {owner}; choose another address, or none");
    Failure::new(Cause::Conflict, message)
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

/// Pods' names are DNS names.
fn check_pod_name(text: &str) -> Result<(), Failure> {
    if text.len() <= MAX_POD_NAME && text.split('.').all(|label| check_name("name", label).is_ok()) {
        return Ok(());
    }
    let message =
        format!("the pod's name {text:?} should be a DNS name of at most {MAX_POD_NAME} lower-case letters");
    Err(Failure::new(Cause::Invalid, message))
}

/// The failure of a request whose workload does not exist.
pub(crate) fn not_found(namespace: &str, name: &str) -> Failure {
    Failure::new(Cause::NotFound, format!("there is no workload {namespace}/{name} on this node"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::{Change, RemoteWorkload};

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
    fn names_of_pods_are_dns_names_and_those_of_containers_become_labels() {
        for (name, is_valid) in
            [("web-0", true), ("a.b-1.c", true), ("", false), ("a..b", false), ("A", false)]
        {
            assert_eq!(check_pod_name(name).is_ok(), is_valid, "{name:?}");
        }
        let container = format!("Ab_c.{}", "1".repeat(80));
        let name = name_of_container(&container);
        assert!(name.starts_with("ab-c-1") && check_name("name", &name).is_ok(), "{name}");
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
