//! Who and what is around, so far as a question can name it; an agent and files both tell.

use super::end::End;
use api::{Cause, Failure};
use identity::key::KUBE_APISERVER;
use policy::domain::{DomainPattern, canonical_name};
use policy::set::PolicySet;
use service::{Candidate, EndpointSlice, Service};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Who and what is around.
pub trait Inventory {
    /// The workload, node or host outside that has this name.
    fn named(&self, text: &str) -> Option<End>;

    /// Whether a name that a workload and a service share is the service's: in a cluster clients know services by name, and
    /// pods by none.
    fn is_rather_a_service(&self, text: &str) -> bool {
        let _ = text;
        false
    }

    /// Who has this address; something outside the cluster where nobody is known to.
    fn at(&self, address: IpAddr) -> End;

    /// The labels of a namespace.
    fn namespace_labels(&self, name: &str) -> Vec<(&str, &str)>;

    /// The workloads that may stand behind services.
    fn candidates(&self, ask: &mut dyn FnMut(&[Candidate<'_>]));

    /// The services.
    fn services(&self) -> Box<dyn Iterator<Item = &Service> + '_>;

    /// The addresses that are listed for a service.
    fn listed(&self, service: &Service) -> Vec<&EndpointSlice>;

    /// The addresses of the API servers.
    fn api_servers(&self) -> BTreeSet<IpAddr>;

    /// The policies, and what they refer to.
    fn policies(&self) -> &PolicySet;

    /// Whether what policy refuses to anybody is let through and reported.
    fn audits(&self) -> bool;

    /// The names of the workloads: `namespace/name`.
    fn workloads(&self) -> Vec<String>;

    /// Where the workloads are from, and what to do where none is found: `in these files`.
    fn place(&self) -> &'static str;
}

/// Who is called by a name, an address, the labels of a workload that is not there, an entity or a domain name.
pub(super) fn end(around: &dyn Inventory, text: &str) -> Result<End, Failure> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(End { addresses: vec![address], ..around.at(address) });
    }
    let by_labels = || {
        let end = End::by_labels(text, |namespace| around.namespace_labels(namespace))?;
        Some(End { audit: around.audits(), ..end })
    };
    // Without a listed address the end is an API server that no address belongs to.
    let api_server = || {
        let address = around.api_servers().first().copied().filter(|_| text == KUBE_APISERVER)?;
        Some(End { addresses: vec![address], ..around.at(address) })
    };
    let found = around.named(text).or_else(by_labels).or_else(api_server).or_else(|| End::reserved(text));
    found.or_else(|| domain(text)).ok_or_else(|| nobody(around, text))
}

/// A host outside the cluster that is known by a domain name.
pub(super) fn domain(text: &str) -> Option<End> {
    let is_name = text.contains('.') && DomainPattern::name(text).is_ok();
    is_name.then(|| End { names: BTreeSet::from([canonical_name(text)]), ..world(text) })
}

fn world(name: &str) -> End {
    End { name: name.to_owned(), ..End::reserved("world").expect("the world is a reserved peer") }
}

/// Says that nobody is called so, and who is called almost so.
fn nobody(around: &dyn Inventory, text: &str) -> Failure {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    let workloads = around.workloads();
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
            around.place()
        ),
    )
}
