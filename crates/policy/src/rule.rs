//! The one internal form of every kind of policy.

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

/// Names one submitted policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// What it was submitted as.
    pub kind: PolicyKind,
    /// Its namespace; none for clusterwide kinds.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// The kinds of policy documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// `networking.k8s.io/v1`.
    NetworkPolicy,
    /// `cilium.io/v2`, also in the form of 2017.
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

/// One submitted policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub id: PolicyId,
    /// One for each `spec` or entry of `specs`.
    pub specs: Vec<Spec>,
}

/// A subject and what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Whom it is about.
    pub subject: Subject,
    /// When its rules are asked.
    pub tier: Tier,
    /// Whether, for a subject, what no rule allows is refused on the way in.
    pub default_deny_ingress: bool,
    /// The same on the way out.
    pub default_deny_egress: bool,
    /// What flow events carry that its rules decided on.
    pub log: Option<Arc<str>>,
    /// The rules, in the order of the document.
    pub rules: Vec<Rule>,
}

/// Whom a spec is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Workloads; the policy's namespace has been written into the selector.
    Workloads(Selector),
    /// Nodes: their own processes, not the workloads on them.
    Nodes(Selector),
}

/// Whom policies are enforced for; host policies are enforced in every mode but the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EnforcementMode {
    /// In each direction, those for whom some policy asks for it.
    #[default]
    Default,
    /// Every workload, in both directions, also where no policy is about it.
    Always,
    /// Nobody.
    Never,
}

/// One rule: peers AND traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands, as a field path for people: `spec.ingress[0]`.
    pub place: Arc<str>,
    /// Which way the traffic goes, seen from the subject.
    pub direction: Direction,
    /// Order within the tier; the lower is asked first.
    pub priority: u32,
    /// What it does.
    pub action: Action,
    /// Who must be at the other end.
    pub peers: Peers,
    /// What must be sent.
    pub traffic: Traffic,
}

/// Groups of rules, asked in this order; the first tier that decides wins.
///
/// Default deny decides at the end of [`Self::Normal`], so that what a NetworkPolicy leaves out never comes to the
/// baseline; only where all specs that ask for it are of the baseline it decides after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Rules of the cluster's administrators.
    Admin,
    /// NetworkPolicy and the Cilium kinds.
    Normal,
    /// What holds where nobody said otherwise.
    Baseline,
}

/// What a rule does. At the same tier and priority a deny beats an allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Lets through.
    Allow,
    /// Refuses.
    Deny,
    /// Leaves the decision to the next tier.
    Pass,
}

/// Who may be at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Anyone at all.
    Any,
    /// Whoever one of these selects; an empty list selects nobody.
    Of(Vec<Peer>),
}

/// One way to say who.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// By labels; scoping has been written into the selector.
    Labels(Selector),
    /// By address.
    Cidr {
        /// The block.
        block: Cidr,
        /// Blocks within it that are left out.
        except: Vec<Cidr>,
        /// Whose addresses count.
        reach: CidrReach,
    },
    /// By the blocks of named groups; only addresses outside the cluster count.
    CidrGroup {
        /// Which groups.
        groups: CidrGroupRef,
        /// Blocks that are left out.
        except: Vec<Cidr>,
    },
    /// By a service: whoever stands behind it.
    Service(ServiceRef),
    /// By domain name: addresses outside the cluster that such a name was resolved to.
    Domain(DomainPattern),
    /// Nodes of the cluster, the local one included, by their labels.
    Nodes(Selector),
    /// By a name of the field for a kind of peer.
    Entity(Entity),
}

/// Which `CiliumCIDRGroup`s are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CidrGroupRef {
    /// The one with this name.
    Named(Arc<str>),
    /// All with such labels.
    Labelled(Selector),
}

/// Which services are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceRef {
    /// The one with this name.
    Named {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
    /// All with such labels.
    Labelled {
        /// Only those of this namespace.
        namespace: Option<Arc<str>>,
        /// Of the service's own labels.
        selector: Selector,
    },
}

/// Whose addresses a CIDR peer may match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CidrReach {
    /// Only those outside the cluster (CiliumNetworkPolicy): never workloads, never nodes.
    World,
    /// Whatever address a packet carries (`ipBlock` of NetworkPolicy).
    Everything,
}

/// Kinds of peers, by the names policies use.
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
    /// Every workload and node of the cluster, and its reserved peers; everything but the world.
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
    /// Nobody.
    None,
}

/// What may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Anything, of any protocol.
    Any,
    /// Whatever one of these matches; an empty list matches nothing.
    Of(Vec<TrafficMatch>),
}

/// One way to say what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficMatch {
    /// A transport protocol and its destination ports.
    Port {
        /// The protocol.
        protocol: Protocol,
        /// The ports, after service translation.
        port: Port,
        /// HTTP rules of which one must allow each request; none: the connection alone decides.
        /// `Some` with an empty list lets no request through.
        http: Option<Vec<HttpRule>>,
    },
    /// An ICMP message.
    Icmp {
        /// Which ICMP.
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
    /// Each of the three.
    Any,
}

/// Destination ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// Every port.
    Any,
    /// From the first to the last, both included.
    Range(u16, u16),
    /// The port that the receiving workload calls by this name, in lower case.
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

/// A block of addresses; the bits past the length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// The block of this length that holds the address; none where the length exceeds the family's.
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

    /// Whether the block is one address.
    pub fn is_host(&self) -> bool {
        *self == Self::host(self.address)
    }

    /// The first address of the block.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits all its addresses share.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether the address lies in the block; never across families.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address, self.length).is_some_and(|block| block == *self)
    }

    /// Whether the whole of the other block lies in this one.
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
    /// Whether some traffic matches both. A port by name is taken to be no port by number, and no other name.
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
    /// The IP protocol numbers it stands for.
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
    /// The IP protocol number of the family's ICMP.
    pub fn icmp(self) -> u8 {
        match self {
            Self::Ipv4 => protocol::ICMP,
            Self::Ipv6 => protocol::ICMP6,
        }
    }
}

impl Subject {
    /// Whether it is about whoever has this number and these labels.
    pub fn selects(&self, number: u32, labels: &Labels) -> bool {
        match self {
            Self::Workloads(selector) => number != HOST && selector.selects(labels),
            Self::Nodes(selector) => number == HOST && selector.selects(labels),
        }
    }

    /// The selector alone.
    pub fn selector(&self) -> &Selector {
        let (Self::Workloads(selector) | Self::Nodes(selector)) = self;
        selector
    }
}

impl Rule {
    /// The priority of rules whose policy gives no order.
    pub const USUAL_PRIORITY: u32 = priority(1000, 0);
}

/// The priority of a rule of a policy with this order, asked after those of a lower index.
pub const fn priority(order: u16, index: u16) -> u32 {
    (order as u32) << 16 | index as u32
}

impl PolicyKind {
    /// The name in `kind:`.
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
