//! The text of an `/etc/hosts` in which services have names.

use api::view::Service;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The node's own text, and a line for each address of a service.
///
/// Within its namespace a service is known by its bare name, everywhere by the longer ones that cluster DNS has.
pub(super) fn text(own: &str, namespace: &str, services: &[Service]) -> String {
    let mut text = own.to_string();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for service in services {
        let full = format!("{}.{}", service.name, service.namespace);
        let bare = if service.namespace == namespace { format!("{} ", service.name) } else { String::new() };
        for address in addresses(service) {
            text.push_str(&format!("{address}\t{bare}{full} {full}.svc {full}.svc.cluster.local\n"));
        }
    }
    text
}

fn addresses(service: &Service) -> BTreeSet<String> {
    let address = |frontend: &str| {
        let (address, _) = frontend.rsplit_once('/')?;
        Some(address.parse::<SocketAddr>().ok()?.ip().to_string())
    };
    service.frontends.iter().filter_map(|frontend| address(&frontend.frontend)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::view::Frontend;

    #[test]
    fn services_have_names_by_namespace() {
        let service = |namespace: &str, frontends: &[&str]| Service {
            namespace: namespace.into(),
            name: "web".into(),
            frontends: frontends
                .iter()
                .map(|frontend| Frontend { frontend: frontend.to_string(), backends: vec![] })
                .collect(),
        };
        let services = [
            service("default", &["10.96.0.1:80/TCP", "10.96.0.1:443/TCP", "[fd00::1]:80/TCP"]),
            service("other", &["10.96.0.2:80/TCP"]),
        ];
        assert_eq!(
            text("127.0.0.1 localhost", "default", &services),
            "127.0.0.1 localhost\n\
             10.96.0.1\tweb web.default web.default.svc web.default.svc.cluster.local\n\
             fd00::1\tweb web.default web.default.svc web.default.svc.cluster.local\n\
             10.96.0.2\tweb.other web.other.svc web.other.svc.cluster.local\n"
        );
    }
}
