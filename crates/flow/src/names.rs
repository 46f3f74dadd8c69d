//! Who knows the names behind addresses and numbers, and the names.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Whoever knows names; what is not known stays a number.
pub trait Names {
    /// The workload with this address.
    fn workload(&self, address: IpAddr) -> Option<WorkloadName>;
    /// The labels of an allocated identity, as text; empty where it is not known.
    fn labels(&self, identity: u32) -> Vec<String>;
    /// The rule with this number.
    fn rule(&self, number: u32) -> Option<RuleName>;
    /// What the policy of that rule asks flows to carry (`log.value`).
    fn log(&self, rule: u32) -> Option<String>;
    /// The service with this address, port and IP protocol.
    fn service(&self, address: IpAddr, port: u16, protocol: u8) -> Option<ServiceName>;
}

/// A workload by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A rule by the policy it stands in and its place there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleName {
    /// Kind of the policy.
    pub kind: String,
    /// Namespace of the policy; none for clusterwide kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the policy.
    pub name: String,
    /// Where the rule stands: `spec.ingress[0]`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
}

/// A service by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for RuleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "/{namespace}")?;
        }
        write!(f, "/{}", self.name)?;
        if self.place.is_empty() { Ok(()) } else { write!(f, " {}", self.place) }
    }
}
