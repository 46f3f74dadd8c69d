//! The views: what the agent's API returns.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// The state of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's program version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// Process number of the agent.
    pub agent: u32,
    /// Process number of the node proxy, if it runs.
    pub proxy: Option<u32>,
    /// The node proxy's connections; none if it has not reported yet.
    #[serde(default)]
    pub proxy_connections: Option<ProxyConnections>,
    /// How programs are attached: `tcx` or `clsact`.
    pub attach: String,
    /// Directory that the maps are pinned under.
    pub pins: String,
    /// Directory of policies that is watched.
    pub policies_from: String,
    /// What the agent requested from the API server since its start; none on a node without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<ApiServerLoad>,
    /// Whether the agents of other nodes of the cluster answer, by each address by which nodes reach one another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeReachability>,
    /// Errors: policy files that are not applied as they are, workloads without an interface, and whatever the agent
    /// cannot do or save.
    pub problems: Vec<String>,
    /// Features that the agent and its proxy run without on this host, such as IPv6 or Landlock; these are not
    /// errors.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Number of workloads.
    pub endpoints: usize,
    /// Number of identities in use.
    pub identities: usize,
    /// Number of policies.
    pub policies: usize,
    /// Number of services.
    pub services: usize,
    /// Enforcement mode: `default`, `always` or `never`; with `, audit` in audit mode.
    pub enforcement: String,
    /// Packet counts: `forwarded`, and each drop reason.
    pub packets: BTreeMap<String, u64>,
    /// Events that no observer sees, or that an observer did not see.
    pub lost_events: u64,
    /// The same, by where they were lost.
    #[serde(default)]
    pub lost_events_by_cause: BTreeMap<String, u64>,
}

/// What an agent requested from the API server since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiServerLoad {
    /// Pages of lists that it read.
    pub lists: u64,
    /// Watches that it opened.
    pub watches: u64,
    /// Writes that it sent.
    pub writes: u64,
    /// Bytes of the answers of lists and watches.
    pub received_bytes: u64,
}

/// Whether the agent of another node answers the probes of this node's agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReachability {
    /// The node.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Whether it answers.
    pub reachable: bool,
    /// The time between the last probe that was answered and its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_micros: Option<u64>,
    /// When the first probe was sent that has no answer, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<String>,
}

/// The settings that may change while the agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeSettings {
    /// The level of monitor aggregation: `none`, `low`, `medium` or `maximum`.
    pub monitor_aggregation: String,
}

/// Connections of the node proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyConnections {
    /// Open connections.
    pub in_use: usize,
    /// Maximum number of connections.
    pub limit: usize,
    /// Connections of the client identity that has the most.
    pub most_of_a_client: usize,
    /// Connections refused since the proxy started, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Idle connections closed since then to make room for new ones.
    pub made_room: u64,
}

/// A workload of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSummary {
    /// Number on this node.
    pub id: u32,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Security identity.
    pub identity: u32,
    /// Labels that the identity stands for.
    pub labels: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Its named ports: `http` and `80/TCP`; a name may occur more than once.
    #[serde(default)]
    pub named_ports: Vec<(String, String)>,
    /// Host-side interface.
    pub interface: String,
    /// Name of its network namespace, as `ip netns` shows it.
    pub network_namespace: String,
    /// Directory of the workload's control group, if it has one.
    #[serde(default)]
    pub group: Option<PathBuf>,
    /// Whether ingress policy is enforced.
    pub ingress_enforced: bool,
    /// Whether egress policy is enforced.
    pub egress_enforced: bool,
    /// Number of the policy that the maps hold for it.
    pub policy: u32,
    /// Whether audit mode is on: traffic that policy denies is forwarded and reported.
    #[serde(default)]
    pub audit: bool,
}

/// A set of labels and its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentitySummary {
    /// The number.
    pub id: u32,
    /// The labels.
    pub labels: Vec<String>,
    /// Number of workloads on this node that have the identity.
    pub workloads: usize,
}

/// A service and its backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSummary {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its frontends.
    pub frontends: Vec<FrontendSummary>,
}

/// One address and port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontendSummary {
    /// `address:port/protocol`.
    pub frontend: String,
    /// `address:port` of each backend.
    pub backends: Vec<String>,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySummary {
    /// Kind.
    pub kind: String,
    /// Namespace; none for cluster-wide kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Number of its rules.
    pub rules: usize,
    /// Number of workloads on this node that it selects.
    pub endpoints: usize,
    /// The file that contains it, or `applied:` and its name.
    pub source: String,
}

/// What applying the objects of a text did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its objects, in order.
    pub objects: Vec<AppliedObject>,
    /// The warnings about the text, each in one line.
    pub warnings: Vec<String>,
    /// The number of its objects that are not applied, because their kinds do not affect policy.
    pub skipped: usize,
}

/// An object that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedObject {
    /// `Kind/namespace/name` or `Kind/name`.
    pub name: String,
    /// What applying the object did.
    pub result: ApplyResult,
}

/// What applying an object did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyResult {
    /// The object is new.
    Created,
    /// The object replaced another one with its name.
    Configured,
    /// The object was applied before as it is.
    Unchanged,
}

/// A rule and its number in map entries and events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSummary {
    /// The number.
    pub id: u32,
    /// The policy: `Kind/namespace/name`.
    pub policy: String,
    /// The field path within it.
    pub place: String,
}

/// The verdict of policy on a connection or request, with the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `allow`, `drop` (denied at layers 3 and 4) or `deny` (the request is denied at layer 7). If the backends of a
    /// service have different verdicts, the most restrictive.
    pub verdict: String,
    /// The allowed requests, if the probe names no request and not every request is allowed.
    #[serde(default)]
    pub requests: Option<Vec<String>>,
    /// Remarks on the ends: the service of an address, and its backends.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The verdict of each side; empty if backends have different verdicts.
    pub sides: Vec<SideVerdict>,
    /// The verdict of each backend, if backends of a service have different verdicts.
    #[serde(default)]
    pub branches: Vec<Branch>,
}

/// The verdict on a connection to one backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// The backend and its port: `namespace/name:port`.
    pub to: String,
    /// `allow`, `drop` or `deny`, as in [`Explanation`].
    pub verdict: String,
    /// The verdict of each side.
    pub sides: Vec<SideVerdict>,
}

/// The verdict of one side's policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideVerdict {
    /// `egress` or `ingress`.
    pub direction: String,
    /// The end that the policies select: `namespace/name`.
    pub subject: String,
    /// Verdict of this side.
    pub verdict: String,
    /// The allowed requests, if the probe names no request and not every request is allowed.
    #[serde(default)]
    pub requests: Option<Vec<String>>,
    /// The rule that decides, if one does.
    pub rule: Option<String>,
    /// The reason, in one sentence.
    pub reason: String,
    /// Each rule that was considered, and why it applies or not.
    pub considered: Vec<Considered>,
}

/// A rule that was considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// `Kind/namespace/name` and field path.
    pub rule: String,
    /// Place of a rule that was read from a file: `file:line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Tier: `admin`, `normal` or `baseline`.
    #[serde(default)]
    pub tier: String,
    /// Whether it applies.
    pub applies: bool,
    /// Whether no rule allows the connection, and this rule is the nearest to allowing it.
    #[serde(default)]
    pub nearest: bool,
    /// How the rule relates to the probe: `other-peer`, `other-traffic`, `other-request`, `outranked`, `passes` or
    /// `decides`.
    #[serde(default)]
    pub finding: String,
    /// Why it decides, or what does not match: `peer has app=db, needs app=web`.
    pub why: String,
}

impl std::fmt::Display for ApplyResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        })
    }
}
