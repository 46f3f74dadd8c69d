//! Random worlds, policies and questions, for tests that compare two implementations.
//!
//! The same seed gives the same world everywhere. Everything is drawn from small pools, so that rules meet, nest and
//! contradict each other often.

mod describe;
mod peers;
mod policies;
mod probe;
mod random;
mod scenarios;
mod shrink;
mod traffic;

pub use peers::{BLOCKS, cidr};
pub use probe::probes;
pub use random::Random;
pub use shrink::shrink;

use crate::catalog::{Backends, Catalog, CidrGroupEntry, ServiceEntry};
use crate::endpoint_view::{EndpointView, NamedPorts};
use crate::rule::{EnforcementMode, Policy, Protocol};
use abi::identity::{FIRST_NODE, HOST, REMOTE_NODE, WORLD, reserved_name};
use identity::{Labels, Source};
use l7::rule::{Field, RequestView};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Everything a question can be about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratedWorld {
    /// Namespaces by name, with their labels.
    pub namespaces: BTreeMap<String, Vec<(String, String)>>,
    /// Workloads; namespace and name together are unique.
    pub workloads: Vec<GeneratedWorkload>,
    /// Addresses outside the cluster, and the nodes'.
    pub others: Vec<GeneratedPeer>,
    /// The groups of blocks that policies refer to, by name.
    pub groups: BTreeMap<String, CidrGroupEntry>,
    /// The services that policies refer to, by namespace and name.
    pub services: BTreeMap<(String, String), ServiceEntry>,
    /// Whom policies are enforced for.
    pub mode: EnforcementMode,
    /// Whether what policy refuses is let through and reported.
    pub audit: bool,
    /// The policies in force, sorted by name.
    pub policies: Vec<Policy>,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedWorkload {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its own labels.
    pub own: Vec<(String, String)>,
    /// All its labels, those of its namespace included.
    pub labels: Labels,
    /// Its named ports.
    pub ports: NamedPorts,
    /// An address of each family.
    pub addresses: [IpAddr; 2],
}

/// A peer that is not a workload: of the world, or a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedPeer {
    /// Its name.
    pub name: String,
    /// Its reserved identity.
    pub identity: u32,
    /// Its own labels, of a node.
    pub own: Vec<(String, String)>,
    /// All its labels, that of its identity included.
    pub labels: Labels,
    /// The domain names that its addresses are known by, of a host outside the cluster.
    pub names: BTreeSet<String>,
    /// An address of each family.
    pub addresses: [IpAddr; 2],
}

/// One end of a probe, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratedEnd {
    /// Of [`GeneratedWorld::workloads`].
    Workload(usize),
    /// Of [`GeneratedWorld::others`].
    Other(usize),
}

/// A question: may this pass?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedProbe {
    /// Who opens the connection.
    pub from: GeneratedEnd,
    /// Who receives it. At least one end is a workload, or the node itself.
    pub to: GeneratedEnd,
    /// Index into the ends' addresses: 0 for IPv4, 1 for IPv6.
    pub family: usize,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; for ICMP the type in the upper byte and the code in the lower.
    pub port: u16,
    /// The request, on TCP.
    pub request: Option<GeneratedRequest>,
}

/// A request, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedRequest {
    /// Method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Authority.
    pub host: String,
    /// Header fields.
    pub headers: Vec<(String, String)>,
}

/// The world of this seed.
pub fn world(seed: u64) -> GeneratedWorld {
    let mut random = Random::new(seed);
    let mut namespaces: BTreeMap<String, Vec<(String, String)>> =
        [("x", "front"), ("y", "back"), ("z", "back")]
            .map(|(name, tier)| (name.into(), vec![pair("tier", tier)]))
            .into();
    if random.chance(50) {
        namespaces.insert("z".into(), Vec::new());
    }
    let mut workloads = Vec::new();
    for (third, (namespace, labels)) in (0..).zip(&namespaces) {
        for (fourth, name) in (1..).zip(["a", "b", "c"]) {
            workloads.push(workload(&mut random, namespace, labels, name, [third, fourth]));
        }
    }
    let others = vec![
        other("www", WORLD, "198.51.100.7", "2001:db8::7").known_by(&["www.example.com"]),
        other("mail", WORLD, "203.0.113.9", "2001:db8:1::9").known_by(&["mail.example.com", "example.com"]),
        other("near", WORLD, "10.1.2.3", "fd00:1::3"),
        other("host", HOST, "10.0.0.1", "fd00::1").labelled(node_labels(&mut random)),
        other("node", REMOTE_NODE, "10.0.0.2", "fd00::2"),
        other("worker", REMOTE_NODE, "10.0.0.3", "fd00::3").labelled(node_labels(&mut random)),
        other("gateway", REMOTE_NODE, "192.0.2.4", "fd00::4").labelled(node_labels(&mut random)),
    ];
    let mut world = GeneratedWorld {
        namespaces,
        workloads,
        others,
        groups: ["partners", "more"].map(|name| (name.into(), group(&mut random))).into(),
        services: services(&mut random),
        mode: if random.chance(6) {
            random.pick(&[EnforcementMode::Always, EnforcementMode::Never])
        } else {
            EnforcementMode::Default
        },
        audit: random.chance(5),
        policies: policies::policies(&mut random),
    };
    scenarios::apply_one(&mut random, &mut world);
    world
}

impl GeneratedWorld {
    /// What its policies refer to.
    pub fn catalog(&self) -> Catalog {
        let mut catalog = Catalog::new();
        self.groups.iter().for_each(|(name, group)| catalog.put_cidr_group(name, group.clone()));
        for ((namespace, name), service) in &self.services {
            catalog.put_service(namespace, name, service.clone());
        }
        catalog
    }

    /// The end of a probe as policies see it.
    pub fn view(&self, end: GeneratedEnd, family: usize) -> EndpointView<'_> {
        match end {
            GeneratedEnd::Workload(index) => {
                let GeneratedWorkload { labels, ports, addresses, .. } = &self.workloads[index];
                let number = abi::identity::FIRST_ALLOCATED + index as u32;
                EndpointView { ports, address: Some(addresses[family]), ..EndpointView::new(number, labels) }
            }
            GeneratedEnd::Other(index) => {
                let GeneratedPeer { identity, own, labels, names, addresses, .. } = &self.others[index];
                let number = match (*identity, own.is_empty()) {
                    (REMOTE_NODE, false) => FIRST_NODE + index as u32,
                    (identity, _) => identity,
                };
                EndpointView { names, address: Some(addresses[family]), ..EndpointView::new(number, labels) }
            }
        }
    }
}

impl GeneratedRequest {
    /// Lends the request to rules; the fields are those of [`Self::fields`].
    pub fn view<'a>(&'a self, headers: &'a [Field<'a>]) -> RequestView<'a> {
        RequestView { method: &self.method, path: &self.path, host: &self.host, headers }
    }

    /// The header fields, borrowed.
    pub fn fields(&self) -> Vec<Field<'_>> {
        self.headers.iter().map(|(name, value)| Field { name, value: value.as_bytes() }).collect()
    }
}

fn workload(
    random: &mut Random,
    namespace: &str,
    namespace_labels: &[(String, String)],
    name: &str,
    [third, fourth]: [u8; 2],
) -> GeneratedWorkload {
    let mut own = vec![pair("pod", name), pair("app", random.pick(&["web", "db", "cache"]))];
    if random.chance(40) {
        own.push(pair("env", random.pick(&["prod", "dev"])));
    }
    let mut ports = NamedPorts::default();
    if random.chance(70) {
        ports.insert("web", Protocol::Tcp, random.pick(&[80, 8080]));
    }
    if random.chance(40) {
        ports.insert("admin", random.pick(&[Protocol::Tcp, Protocol::Udp]), random.pick(&[443, 8080]));
    }
    let borrowed = |labels: &[(String, String)]| labels.to_vec();
    let labels = Labels::of_workload(
        namespace,
        borrowed(namespace_labels).iter().map(|(key, value)| (key.as_str(), value.as_str())),
        own.iter().map(|(key, value)| (key.as_str(), value.as_str())),
    );
    let v4 = Ipv4Addr::new(10, 244, third, fourth);
    let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x244, u16::from(third), 0, 0, 0, u16::from(fourth));
    GeneratedWorkload {
        name: name.into(),
        namespace: namespace.into(),
        own,
        labels,
        ports,
        addresses: [v4.into(), v6.into()],
    }
}

fn other(name: &str, identity: u32, v4: &str, v6: &str) -> GeneratedPeer {
    GeneratedPeer::new(name, identity, [address(v4), address(v6)])
}

impl GeneratedPeer {
    /// One of which no more is known than its reserved identity and its addresses.
    pub fn new(name: &str, identity: u32, addresses: [IpAddr; 2]) -> Self {
        let labels = Labels::reserved(reserved_name(identity).expect("others have reserved identities"));
        Self { name: name.into(), identity, own: Vec::new(), labels, names: BTreeSet::new(), addresses }
    }

    fn known_by(self, names: &[&str]) -> Self {
        Self { names: names.iter().map(|name| (*name).to_owned()).collect(), ..self }
    }

    fn labelled(mut self, own: Vec<(String, String)>) -> Self {
        own.iter().for_each(|(key, value)| self.labels.insert(Source::K8s, key.as_str(), value.as_str()));
        Self { own, ..self }
    }
}

fn node_labels(random: &mut Random) -> Vec<(String, String)> {
    let some = peers::NODE_LABELS.iter().filter_map(|(key, values)| {
        let value = random.pick(values);
        random.chance(70).then(|| pair(key, value))
    });
    some.collect()
}

fn group(random: &mut Random) -> CidrGroupEntry {
    CidrGroupEntry { labels: object_labels(random), blocks: peers::blocks(random, 20) }
}

/// A service that selects workloads and one that has addresses written down, where there are any.
fn services(random: &mut Random) -> BTreeMap<(String, String), ServiceEntry> {
    let mut services = BTreeMap::new();
    for namespace in peers::NAMESPACES {
        if random.chance(40) {
            continue;
        }
        let selected = BTreeMap::from([pair("app", random.pick(&["web", "db"]))]);
        let addresses: &[&str] = &["198.51.100.7", "203.0.113.9", "2001:db8::7", "10.244.1.2", "10.0.0.1"];
        let addresses = addresses.iter().filter(|_| random.chance(50)).map(|text| address(text)).collect();
        for (name, backends) in
            [("web", Backends::Selected(selected)), ("ledger", Backends::Addresses(addresses))]
        {
            let service = ServiceEntry { labels: object_labels(random), backends };
            services.insert(pair(namespace, name), service);
        }
    }
    services
}

fn object_labels(random: &mut Random) -> Labels {
    let mut labels = Labels::default();
    if random.chance(70) {
        labels.insert(Source::K8s, "tier", random.pick(&["front", "back"]));
    }
    labels
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("the addresses of the generator are well formed")
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.into(), value.into())
}
