//! What an agent shows of itself.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// How an agent fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's program version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// Process number of the agent.
    pub agent: u32,
    /// Process number of the node proxy, where it runs.
    pub proxy: Option<u32>,
    /// How the node proxy's places for connections are used; none where it has not told yet.
    #[serde(default)]
    pub proxy_connections: Option<ProxyConnections>,
    /// How programs are attached: `tcx` or `clsact`.
    pub attach: String,
    /// Directory that the maps are pinned under.
    pub pins: String,
    /// Directory of policies that is watched.
    pub policies_from: String,
    /// What is wrong: files of that directory that are not in force as they stand, workloads without an interface, and
    /// what the agent cannot do or save.
    pub problems: Vec<String>,
    /// What the agent and its proxy do without on this host, such as IPv6 or Landlock; nothing is wrong with that.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Workloads.
    pub endpoints: usize,
    /// Identities in use.
    pub identities: usize,
    /// Policies in force.
    pub policies: usize,
    /// Services.
    pub services: usize,
    /// Whom policies are enforced for: `default`, `always` or `never`; `audit` besides where refusals are let through.
    pub enforcement: String,
    /// Packets by reason: `forwarded` and the drop reasons.
    pub packets: BTreeMap<String, u64>,
    /// Events that were lost before they could be read.
    pub lost_events: u64,
}

/// Connections of the node proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyConnections {
    /// How many there are.
    pub in_use: usize,
    /// How many there may be.
    pub limit: usize,
    /// How many the client identity has that has the most.
    pub most_of_a_client: usize,
    /// How many were refused since the proxy started, by reason.
    pub refused: BTreeMap<String, u64>,
    /// How many of little use were closed since then to make room for others.
    pub made_room: u64,
}

/// A workload of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
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
    /// Its ports by name: `http` to `80/TCP`; of a name that stands for several, all.
    #[serde(default)]
    pub named_ports: Vec<(String, String)>,
    /// Host-side interface.
    pub interface: String,
    /// Name of its network namespace, as `ip netns` shows it.
    pub network_namespace: String,
    /// Directory of the control group that its processes are started in, where there is one.
    #[serde(default)]
    pub group: Option<PathBuf>,
    /// Whether policy is enforced on the way in.
    pub ingress_enforced: bool,
    /// Whether policy is enforced on the way out.
    pub egress_enforced: bool,
    /// Number of the policy in force.
    pub policy: u32,
    /// Whether what policy refuses is let through and reported.
    #[serde(default)]
    pub audit: bool,
}

/// A set of labels and its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The number.
    pub id: u32,
    /// The labels.
    pub labels: Vec<String>,
    /// How many workloads of this node have it.
    pub workloads: usize,
}

/// A service and its backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its frontends.
    pub frontends: Vec<Frontend>,
}

/// One address and port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontend {
    /// `address:port/protocol`.
    pub frontend: String,
    /// `address:port` of each backend.
    pub backends: Vec<String>,
}

/// A policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Kind.
    pub kind: String,
    /// Namespace; none for clusterwide kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// How many rules it has.
    pub rules: usize,
    /// How many workloads of this node it selects.
    pub endpoints: usize,
    /// Where it was read from.
    pub source: String,
}

/// A rule and its number, as packet path and events name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The number.
    pub id: u32,
    /// The policy: `Kind/namespace/name`.
    pub policy: String,
    /// The field path within it.
    pub place: String,
}

/// What policy says of a connection or request, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `allow`, `drop` (refused at layers 3 and 4) or `deny` (the request is refused at layer 7).
    /// Of a service whose backends differ the worst of theirs.
    pub verdict: String,
    /// The requests that may pass, where the connection alone was asked about and not all may.
    #[serde(default)]
    pub requests: Option<Vec<String>>,
    /// What is worth knowing of the ends: which service an address is of, and who stands behind it.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Each side that was asked; none where backends differ.
    pub sides: Vec<Side>,
    /// What becomes of it behind a service whose backends differ, for each of them.
    #[serde(default)]
    pub branches: Vec<Branch>,
}

/// What becomes of a connection to a service at one of the service's backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// The backend and its port: `namespace/name:port`.
    pub to: String,
    /// As of [`Explanation`].
    pub verdict: String,
    /// Each side that was asked.
    pub sides: Vec<Side>,
}

/// What one side's policy says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// `egress` or `ingress`.
    pub direction: String,
    /// Whose policy: `namespace/name`.
    pub subject: String,
    /// Verdict of this side.
    pub verdict: String,
    /// The requests that may pass, where the connection alone was asked about and not all may.
    #[serde(default)]
    pub requests: Option<Vec<String>>,
    /// The rule that decides, where one does.
    pub rule: Option<String>,
    /// One sentence: why.
    pub reason: String,
    /// Each rule that was considered, with why it did or did not apply.
    pub considered: Vec<Considered>,
}

/// A rule that was considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// `Kind/namespace/name` and field path.
    pub rule: String,
    /// Where it stands, of rules of files: `file:line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// When it is asked: `admin`, `normal` or `baseline`.
    #[serde(default)]
    pub tier: String,
    /// Whether it applies.
    pub applies: bool,
    /// Whether nothing allows it, and of all rules that would this one lacks least.
    #[serde(default)]
    pub nearest: bool,
    /// What was found of it: `other-peer`, `other-traffic`, `other-request`, `outranked`, `passes` or `decides`.
    #[serde(default)]
    pub finding: String,
    /// Why it decides, or what differs: `peer has app=db, needs app=web`.
    pub why: String,
}
