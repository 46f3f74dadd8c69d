//! Names of addresses and numbers, from a running agent.

use crate::session::Session;
use abi::Address;
use api::{ApiRequest, view};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names from an agent; empty without an agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    workloads: BTreeMap<IpAddr, String>,
    endpoints: BTreeMap<u32, String>,
    identities: BTreeMap<u32, String>,
    rules: BTreeMap<u32, String>,
    services: BTreeMap<String, String>,
}

impl Names {
    /// Requests the names from the agent.
    pub(super) fn load(session: &Session) -> Self {
        // Without an agent, or with an agent of another version, numbers are printed.
        session.agent().and_then(|mut agent| Self::request(&mut agent)).unwrap_or_default()
    }

    fn request(agent: &mut api::Client) -> Result<Self, api::CallError> {
        let endpoints: Vec<view::EndpointSummary> = agent.call(ApiRequest::Endpoints)?;
        let identities: Vec<view::IdentitySummary> = agent.call(ApiRequest::Identities)?;
        let rules: Vec<view::RuleSummary> = agent.call(ApiRequest::Rules)?;
        let services: Vec<view::ServiceSummary> = agent.call(ApiRequest::Services)?;
        let of_frontends = |service: view::ServiceSummary| {
            let name = format!("{}/{}", service.namespace, service.name);
            service.frontends.into_iter().map(move |known| (known.frontend, name.clone()))
        };
        let name = |endpoint: &view::EndpointSummary| format!("{}/{}", endpoint.namespace, endpoint.name);
        let of_addresses = |endpoint: &view::EndpointSummary| {
            let name = name(endpoint);
            endpoint.addresses.clone().into_iter().map(move |address| (address, name.clone()))
        };
        Ok(Self {
            workloads: endpoints.iter().flat_map(of_addresses).collect(),
            endpoints: endpoints.iter().map(|endpoint| (endpoint.id, name(endpoint))).collect(),
            identities: identities.into_iter().map(|known| (known.id, known.labels.join(","))).collect(),
            rules: rules
                .into_iter()
                .map(|rule| (rule.id, format!("{} {}", rule.policy, rule.place)))
                .collect(),
            services: services.into_iter().flat_map(of_frontends).collect(),
        })
    }

    /// The workload with this address, else the address.
    pub(super) fn address(&self, address: IpAddr) -> String {
        self.workloads.get(&address).cloned().unwrap_or_else(|| address.to_string())
    }

    /// An address, as [`Self::address`] names it, and a port in network order.
    pub(super) fn socket(&self, address: Address, port: [u8; 2]) -> String {
        let (address, port) = (IpAddr::from(address), u16::from_be_bytes(port));
        let name = self.address(address);
        if address.is_ipv6() && name == address.to_string() {
            format!("[{name}]:{port}")
        } else {
            format!("{name}:{port}")
        }
    }

    /// The service with this frontend, `address:port/protocol`.
    pub(super) fn service(&self, frontend: &str) -> Option<&str> {
        self.services.get(frontend).map(String::as_str)
    }

    /// The workload with this number, else the number.
    pub(super) fn endpoint(&self, id: u32) -> String {
        self.endpoints.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// An identity: its reserved name, or its number and labels.
    pub(super) fn identity(&self, id: u32) -> String {
        match (abi::identity::reserved_name(id), self.identities.get(&id)) {
            (Some(reserved), _) => reserved.to_string(),
            (None, Some(labels)) => format!("{id} ({labels})"),
            (None, None) => id.to_string(),
        }
    }

    /// The rule with this number, else the number; `-` for 0, which is no rule.
    pub(super) fn rule(&self, id: u32) -> String {
        match (id, self.rules.get(&id)) {
            (0, _) => "-".into(),
            (_, Some(rule)) => rule.clone(),
            (_, None) => id.to_string(),
        }
    }
}

#[cfg(test)]
impl Names {
    /// The names of services by their frontends.
    pub(super) fn of_services<const N: usize>(services: [(&str, &str); N]) -> Self {
        let named = services.map(|(frontend, name)| (frontend.to_owned(), name.to_owned()));
        Self { services: named.into(), ..Self::default() }
    }
}
