//! The internal form that every kind of policy is parsed into.

use crate::domain::DomainPattern;
use abi::identity::HOST;
use abi::protocol;
use identity::{Labels, Selector};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use abi::policy::Direction;
pub use l7::cost::check as check_cost;
pub use l7::expression::check as check_expression;
pub use l7::rule::{HeaderRule, HttpRule};

/// Identifies one policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// The kind of its document.
    pub kind: PolicyKind,
    /// Its namespace; none for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// The kinds of policy documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// `networking.k8s.io/v1`.
    NetworkPolicy,
    /// `cilium.io/v2`, and the form of 2017 that is a bare list of rules.
    CiliumNetworkPolicy,
    /// `cilium.io/v2`.
    CiliumClusterwideNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2`.
    ClusterNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`.
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`.
    BaselineAdminNetworkPolicy,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its kind, namespace and name.
    pub id: PolicyId,
    /// One for each `spec` or entry of `specs`.
    pub specs: Vec<Spec>,
}

/// A subject and the rules that apply to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The endpoints that its rules apply to.
    pub subject: Subject,
    /// The tier of its rules.
    pub tier: Tier,
    /// Whether ingress that no rule allows is denied for its subjects.
    pub default_deny_ingress: bool,
    /// Whether egress that no rule allows is denied for its subjects.
    pub default_deny_egress: bool,
    /// The text that flow events carry if one of its rules decided.
    pub log: Option<Arc<str>>,
    /// The rules, in the order of the document.
    pub rules: Vec<Rule>,
}

/// The endpoints that a spec selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Workloads. A namespaced policy's selector requires its namespace.
    Workloads(Selector),
    /// Nodes: processes on the host network, not the workloads of the node.
    Nodes(Selector),
}

/// The endpoints that policies are enforced for. Host policies are enforced in every mode except [`Self::Never`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EnforcementMode {
    /// In each direction, the endpoints that some policy selects in that direction.
    #[default]
    Default,
    /// Every workload, in both directions, even if no policy selects it.
    Always,
    /// No endpoint.
    Never,
}

/// One rule: peers AND traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its path in the document: `spec.ingress[0]`.
    pub place: Arc<str>,
    /// The direction of the connection, as the subject sees it.
    pub direction: Direction,
    /// Its order within the tier; the lower number decides first.
    pub priority: u32,
    /// Its effect.
    pub action: Action,
    /// The peers that it matches.
    pub peers: Peers,
    /// The traffic that it matches.
    pub traffic: Traffic,
}

/// Groups of rules in the order in which they decide; the first tier with a decision wins.
///
/// Default deny decides after [`Self::Normal`], so traffic that a NetworkPolicy leaves out never reaches the baseline.
/// If only specs of the baseline require default deny, it decides after the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Rules of the cluster's administrators.
    Admin,
    /// NetworkPolicy and the Cilium kinds.
    Normal,
    /// Defaults for endpoints that no policy of another tier isolates.
    Baseline,
}

/// The effect of a rule. At the same tier and priority a deny wins over an allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Allows the traffic.
    Allow,
    /// Denies the traffic.
    Deny,
    /// Leaves the decision to the next tier.
    Pass,
}

/// The peers that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Every peer.
    Any,
    /// The peers that one of these selects; an empty list selects no peer.
    Of(Vec<Peer>),
}

/// One selection of peers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// By labels. The selector includes the scope of the policy.
    Labels(Selector),
    /// By address.
    Cidr {
        /// The block.
        block: Cidr,
        /// Blocks within it that do not match.
        except: Vec<Cidr>,
        /// Whether addresses inside the cluster match too.
        reach: CidrReach,
    },
    /// By the blocks of CIDR groups; only addresses outside the cluster match.
    CidrGroup {
        /// The groups.
        groups: CidrGroupRef,
        /// Blocks that do not match.
        except: Vec<Cidr>,
    },
    /// By a service: its backends.
    Service(ServiceRef),
    /// By domain name: addresses outside the cluster that a matching name was resolved to.
    Domain(DomainPattern),
    /// Nodes of the cluster, the local one included, by their labels.
    Nodes(Selector),
    /// By the name of an entity.
    Entity(Entity),
}

/// A reference to `CiliumCIDRGroup`s.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CidrGroupRef {
    /// The group of this name.
    Named(Arc<str>),
    /// All groups with such labels.
    Labelled(Selector),
}

/// A reference to services.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceRef {
    /// The service of this name.
    Named {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
    /// All services with such labels.
    Labelled {
        /// The namespace of the services; none: every namespace.
        namespace: Option<Arc<str>>,
        /// A selector of the services' labels.
        selector: Selector,
    },
}

/// Whether a CIDR matches addresses inside the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CidrReach {
    /// Only addresses outside the cluster (CiliumNetworkPolicy): neither workloads nor nodes.
    World,
    /// Every address (`ipBlock` of NetworkPolicy).
    Everything,
}

/// Kinds of peers that policies name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// Every peer.
    All,
    /// Everything outside the cluster.
    World,
    /// Everything outside the cluster, by IPv4.
    WorldIpv4,
    /// Everything outside the cluster, by IPv6.
    WorldIpv6,
    /// Every workload, node and reserved peer of the cluster: every peer except the world.
    Cluster,
    /// The local node.
    Host,
    /// The other nodes.
    RemoteNode,
    /// The API server.
    KubeApiserver,
    /// Ingress proxies.
    Ingress,
    /// Health endpoints.
    Health,
    /// Workloads whose labels are not known yet.
    Init,
    /// Workloads that the agent does not manage.
    Unmanaged,
    /// No peer.
    None,
}

/// The traffic that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// All traffic of all protocols.
    Any,
    /// The traffic that one of these matches; an empty list matches none.
    Of(Vec<TrafficMatch>),
}

/// One match of traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficMatch {
    /// A transport protocol and its destination ports.
    Port {
        /// The protocol.
        protocol: Protocol,
        /// The ports, after service translation.
        port: Port,
        /// HTTP rules, one of which must match each request. None: the rule decides on the connection alone. `Some`
        /// with an empty list allows no request.
        http: Option<Arc<[HttpRule]>>,
    },
    /// An ICMP message.
    Icmp {
        /// The family of the ICMP message.
        family: Family,
        /// Its type.
        kind: u8,
    },
}

/// Transport protocols that have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, 6.
    Tcp,
    /// UDP, 17.
    Udp,
    /// SCTP, 132.
    Sctp,
    /// Each of the three protocols.
    Any,
}

/// Destination ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// Every port.
    Any,
    /// From the first port to the last, both included.
    Range(u16, u16),
    /// The port that has this name at the receiving workload, in lower case.
    Named(String),
}

/// Address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4; its ICMP is protocol 1.
    Ipv4,
    /// IPv6; its ICMP is protocol 58.
    Ipv6,
}

/// A block of addresses. The bits after the prefix length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// The block of this prefix length that contains the address; none if the length exceeds the address length of the family.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) if length <= 32 => {
                IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)).into())
            }
            IpAddr::V6(v6) if length <= 128 => IpAddr::V6(
                (v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)).into(),
            ),
            _ => return None,
        };
        Some(Self { address, length })
    }

    /// The block of one address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether the block contains one address only.
    pub fn is_host(&self) -> bool {
        *self == Self::host(self.address)
    }

    /// The first address of the block.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The prefix length.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether the block contains the address; false if the families differ.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address, self.length).is_some_and(|block| block == *self)
    }

    /// Whether this block contains the other one.
    pub fn encloses(&self, other: &Self) -> bool {
        other.length >= self.length && self.contains(other.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Traffic {
    /// Whether some traffic matches both. A named port is assumed to equal no port number and no other name.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Any, Self::Of(matches)) | (Self::Of(matches), Self::Any) => !matches.is_empty(),
            (Self::Of(some), Self::Of(others)) => {
                some.iter().any(|one| others.iter().any(|other| one.overlaps(other)))
            }
        }
    }
}

impl TrafficMatch {
    fn overlaps(&self, other: &Self) -> bool {
        let (
            Self::Port { protocol: first, port: of_first, .. },
            Self::Port { protocol: second, port: of_second, .. },
        ) = (self, other)
        else {
            return self == other;
        };
        let same_protocol = first.numbers().iter().any(|number| second.numbers().contains(number));
        let same_port = match (of_first, of_second) {
            (Port::Any, _) | (_, Port::Any) => true,
            (Port::Range(from, to), Port::Range(start, end)) => from <= end && start <= to,
            (one, other) => one == other,
        };
        same_protocol && same_port
    }
}

impl Protocol {
    /// The IP protocol numbers.
    pub fn numbers(self) -> &'static [u8] {
        match self {
            Self::Tcp => &[protocol::TCP],
            Self::Udp => &[protocol::UDP],
            Self::Sctp => &[protocol::SCTP],
            Self::Any => &protocol::WITH_PORTS,
        }
    }
}

impl Family {
    /// The IP protocol number of this family's ICMP.
    pub fn icmp(self) -> u8 {
        match self {
            Self::Ipv4 => protocol::ICMP,
            Self::Ipv6 => protocol::ICMP6,
        }
    }
}

impl Subject {
    /// Whether it selects the endpoint with this number and these labels.
    pub fn selects(&self, number: u32, labels: &Labels) -> bool {
        match self {
            Self::Workloads(selector) => number != HOST && selector.selects(labels),
            Self::Nodes(selector) => number == HOST && selector.selects(labels),
        }
    }

    /// The selector of either kind.
    pub fn selector(&self) -> &Selector {
        let (Self::Workloads(selector) | Self::Nodes(selector)) = self;
        selector
    }
}

impl Rule {
    /// The priority of rules if the policy specifies no order.
    pub const USUAL_PRIORITY: u32 = priority(1000, 0);
}

/// The priority of the rule with this index in a policy of this order.
pub const fn priority(order: u16, index: u16) -> u32 {
    (order as u32) << 16 | index as u32
}

impl PolicyKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::NetworkPolicy,
        Self::CiliumNetworkPolicy,
        Self::CiliumClusterwideNetworkPolicy,
        Self::ClusterNetworkPolicy,
        Self::AdminNetworkPolicy,
        Self::BaselineAdminNetworkPolicy,
    ];

    /// The value of the `kind` field.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::CiliumNetworkPolicy => "CiliumNetworkPolicy",
            Self::CiliumClusterwideNetworkPolicy => "CiliumClusterwideNetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
        }
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.kind.name(), self.name),
            None => write!(f, "{}/{}", self.kind.name(), self.name),
        }
    }
}
