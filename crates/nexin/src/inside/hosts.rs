//! The entries of services in a workload's `/etc/hosts`.

use api::view;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// The names of each service address, as in lines of `/etc/hosts`.
///
/// A service has its bare name within its namespace, and the longer names of cluster DNS everywhere.
pub(super) fn names(namespace: &str, services: &[view::ServiceSummary]) -> Vec<(IpAddr, String)> {
    let of_service = |service: &view::ServiceSummary| {
        let full = format!("{}.{}", service.name, service.namespace);
        let bare = if service.namespace == namespace { format!("{} ", service.name) } else { String::new() };
        let names = format!("{bare}{full} {full}.svc {full}.svc.cluster.local");
        addresses(service).into_iter().map(move |address| (address, names.clone()))
    };
    services.iter().flat_map(of_service).collect()
}

fn addresses(service: &view::ServiceSummary) -> BTreeSet<IpAddr> {
    let address = |frontend: &str| {
        let (address, _) = frontend.rsplit_once('/')?;
        Some(address.parse::<SocketAddr>().ok()?.ip())
    };
    service.frontends.iter().filter_map(|frontend| address(&frontend.frontend)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_names_by_namespace() {
        let service = |namespace: &str, frontends: &[&str]| view::ServiceSummary {
            namespace: namespace.into(),
            name: "web".into(),
            frontends: frontends
                .iter()
                .map(|frontend| view::FrontendSummary { frontend: frontend.to_string(), backends: vec![] })
                .collect(),
        };
        let services = [
            service("default", &["10.96.0.1:80/TCP", "10.96.0.1:443/TCP", "[fd00::1]:80/TCP"]),
            service("other", &["10.96.0.2:80/TCP"]),
        ];
        let lines: Vec<_> = names("default", &services)
            .into_iter()
            .map(|(address, names)| format!("{address} {names}"))
            .collect();
        assert_eq!(
            lines,
            [
                "10.96.0.1 web web.default web.default.svc web.default.svc.cluster.local",
                "fd00::1 web web.default web.default.svc web.default.svc.cluster.local",
                "10.96.0.2 web.other web.other.svc web.other.svc.cluster.local",
            ]
        );
    }
}
