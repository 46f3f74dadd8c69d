//! The workloads, nodes, hosts and services that a probe can name, in an agent's world or in files.

use super::end::ConnectionEnd;
use api::{Cause, Failure};
use identity::key::KUBE_APISERVER;
use policy::domain::{DomainPattern, canonical_name};
use policy::set::SubmittedPolicies;
use service::{Candidate, EndpointSlice, Service};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The workloads, nodes, hosts and services that a probe can name.
pub trait Inventory {
    /// The workload, node or external host with this name.
    fn named(&self, text: &str) -> Option<ConnectionEnd>;

    /// Whether a name of both a workload and a service means the service: in a cluster, services have DNS names and
    /// pods have none.
    fn prefers_service(&self, text: &str) -> bool {
        let _ = text;
        false
    }

    /// The end with this address; an external host if it is unknown.
    fn at(&self, address: IpAddr) -> ConnectionEnd;

    /// The labels of a namespace.
    fn namespace_labels(&self, name: &str) -> Vec<(&str, &str)>;

    /// Calls `ask` with the workloads that can be backends of services.
    fn candidates(&self) -> Vec<Candidate>;

    /// The services.
    fn services(&self) -> Box<dyn Iterator<Item = &Service> + '_>;

    /// The slices that are listed for a service.
    fn listed_slices(&self, service: &Service) -> Vec<&EndpointSlice>;

    /// The addresses of the API servers.
    fn api_servers(&self) -> BTreeSet<IpAddr>;

    /// The policies, and the objects that they refer to.
    fn policies(&self) -> &SubmittedPolicies;

    /// Whether audit mode is on for all workloads.
    fn audits(&self) -> bool;

    /// The names of the workloads: `namespace/name`.
    fn workloads(&self) -> Vec<String>;

    /// Where the workloads are from, for messages: `in these files`.
    fn place(&self) -> &'static str;
}

/// Resolves a name, an address, labels of a workload that does not exist, an entity or a domain name to an end.
pub(super) fn end(inventory: &dyn Inventory, text: &str) -> Result<ConnectionEnd, Failure> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(ConnectionEnd { addresses: vec![address], ..inventory.at(address) });
    }
    let by_labels = || {
        let end = ConnectionEnd::by_labels(text, |namespace| inventory.namespace_labels(namespace))?;
        Some(ConnectionEnd { audit: inventory.audits(), ..end })
    };
    // Without a listed address the end is an API server without an address.
    let api_server = || {
        let address = inventory.api_servers().first().copied().filter(|_| text == KUBE_APISERVER)?;
        Some(ConnectionEnd { addresses: vec![address], ..inventory.at(address) })
    };
    let found = inventory
        .named(text)
        .or_else(by_labels)
        .or_else(api_server)
        .or_else(|| ConnectionEnd::reserved(text));
    found.or_else(|| domain(text)).ok_or_else(|| not_found(inventory, text))
}

/// An external host with a domain name.
pub(super) fn domain(text: &str) -> Option<ConnectionEnd> {
    let is_name = text.contains('.') && DomainPattern::name(text).is_ok();
    is_name.then(|| ConnectionEnd { names: BTreeSet::from([canonical_name(text)]), ..world(text) })
}

fn world(name: &str) -> ConnectionEnd {
    ConnectionEnd {
        name: name.to_owned(),
        ..ConnectionEnd::reserved("world").expect("the world is a reserved peer")
    }
}

/// The failure for an unknown name, with similar names.
fn not_found(inventory: &dyn Inventory, text: &str) -> Failure {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    let workloads = inventory.workloads();
    let elsewhere = |one: &&String| one.split_once('/').is_some_and(|(_, known)| known == name);
    let elsewhere: Vec<&str> = workloads.iter().filter(elsewhere).map(String::as_str).collect();
    let hint = match &elsewhere[..] {
        [] => String::new(),
        found => format!("; there is {}", found.join(" and ")),
    };
    let known = if workloads.is_empty() { "none".to_owned() } else { workloads.join(", ") };
    Failure::new(
        Cause::Invalid,
        format!(
            "no workload {namespace}/{name} {}{hint}; workloads: {known}; or give an address, `host`, `world` or \
             another entity, a domain name, or labels: {namespace}/app=web",
            inventory.place()
        ),
    )
}
