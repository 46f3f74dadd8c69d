//! Names of workloads, rules and services, and the lookup of names by address and number.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Looks names up; what has no name stays a number.
pub trait Names {
    /// The workload with this address.
    fn workload(&self, address: IpAddr) -> Option<FlowWorkload>;
    /// The labels of an allocated identity, as text; empty if the identity is unknown.
    fn labels(&self, identity: u32) -> Vec<String>;
    /// The rule with this number.
    fn rule(&self, number: u32) -> Option<RuleName>;
    /// The `log.value` of the policy of that rule.
    fn log(&self, rule: u32) -> Option<String>;
    /// The service with this address, port and IP protocol.
    fn service(&self, address: IpAddr, port: u16, protocol: u8) -> Option<FlowService>;
}

/// A workload by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowWorkload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A rule: its policy, and its place in the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleName {
    /// Kind of the policy.
    pub kind: String,
    /// Namespace of the policy; none for cluster-wide kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the policy.
    pub name: String,
    /// Place of the rule in the policy: `spec.ingress[0]`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
}

/// A service by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowService {
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
