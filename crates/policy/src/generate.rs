//! Random worlds, policies and questions, for tests that compare two implementations.
//!
//! The same seed gives the same world everywhere. Everything is drawn from small pools, so that rules meet, nest and
//! contradict each other often.

mod policies;
mod random;
mod shrink;

pub use random::Random;
pub use shrink::shrink;

use crate::party::{NamedPorts, Party};
use crate::rule::{Policy, Protocol};
use abi::identity::{HOST, REMOTE_NODE, WORLD, reserved_name};
use identity::Labels;
use l7::rule::{Field, RequestView};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Everything a question can be about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// Namespaces by name, with their labels.
    pub namespaces: BTreeMap<String, Vec<(String, String)>>,
    /// Workloads; namespace and name together are unique.
    pub workloads: Vec<Workload>,
    /// Addresses outside the cluster, and the nodes'.
    pub others: Vec<Other>,
    /// The policies in force, sorted by name.
    pub policies: Vec<Policy>,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
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
pub struct Other {
    /// Its name.
    pub name: String,
    /// Its reserved identity.
    pub identity: u32,
    /// The labels of that identity.
    pub labels: Labels,
    /// An address of each family.
    pub addresses: [IpAddr; 2],
}

/// One end of a probe, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Of [`World::workloads`].
    Workload(usize),
    /// Of [`World::others`].
    Other(usize),
}

/// A question: may this pass?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who opens the connection.
    pub from: End,
    /// Who receives it. At least one end is a workload.
    pub to: End,
    /// Index into the ends' addresses: 0 for IPv4, 1 for IPv6.
    pub family: usize,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; for ICMP the type in the upper byte and the code in the lower.
    pub port: u16,
    /// The request, on TCP.
    pub request: Option<Request>,
}

/// A request, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
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
pub fn world(seed: u64) -> World {
    let mut random = Random::new(seed);
    let namespaces: BTreeMap<String, Vec<(String, String)>> = [("x", "front"), ("y", "back"), ("z", "back")]
        .map(|(name, tier)| (name.into(), vec![pair("tier", tier)]))
        .into();
    let mut workloads = Vec::new();
    for (third, (namespace, labels)) in (0..).zip(&namespaces) {
        for (fourth, name) in (1..).zip(["a", "b", "c"]) {
            workloads.push(workload(&mut random, namespace, labels, name, [third, fourth]));
        }
    }
    let others = vec![
        other("www", WORLD, "198.51.100.7", "2001:db8::7"),
        other("mail", WORLD, "203.0.113.9", "2001:db8:1::9"),
        other("near", WORLD, "10.1.2.3", "fd00:1::3"),
        other("host", HOST, "10.0.0.1", "fd00::1"),
        other("node", REMOTE_NODE, "10.0.0.2", "fd00::2"),
    ];
    let mut world = World { namespaces, workloads, others, policies: Vec::new() };
    world.policies = policies::policies(&mut random);
    world
}

/// So many random questions about the world.
pub fn probes(world: &World, seed: u64, count: usize) -> Vec<Probe> {
    let mut random = Random::new(seed ^ 0x70_72_6f_62_65);
    (0..count).map(|_| probe(&mut random, world)).collect()
}

impl World {
    /// The end of a probe as policies see it.
    pub fn party(&self, end: End, family: usize) -> Party<'_> {
        match end {
            End::Workload(index) => {
                let Workload { labels, ports, addresses, .. } = &self.workloads[index];
                let number = abi::identity::FIRST_ALLOCATED + index as u32;
                Party { ports, address: Some(addresses[family]), ..Party::new(number, labels) }
            }
            End::Other(index) => {
                let Other { identity, labels, addresses, .. } = &self.others[index];
                Party { address: Some(addresses[family]), ..Party::new(*identity, labels) }
            }
        }
    }
}

impl Request {
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
) -> Workload {
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
    Workload {
        name: name.into(),
        namespace: namespace.into(),
        own,
        labels,
        ports,
        addresses: [v4.into(), v6.into()],
    }
}

fn other(name: &str, identity: u32, v4: &str, v6: &str) -> Other {
    let labels = Labels::reserved(reserved_name(identity).expect("others have reserved identities"));
    let address = |text: &str| text.parse().expect("the addresses of the generator are well formed");
    Other { name: name.into(), identity, labels, addresses: [address(v4), address(v6)] }
}

fn probe(random: &mut Random, world: &World) -> Probe {
    let workload = End::Workload(random.below(world.workloads.len()));
    let peer = if random.chance(60) {
        End::Workload(random.below(world.workloads.len()))
    } else {
        End::Other(random.below(world.others.len()))
    };
    let (from, to) = if random.chance(50) { (workload, peer) } else { (peer, workload) };
    let family = random.below(2);
    let protocol = random.pick(&[6, 6, 6, 6, 6, 17, 17, 132, 47, [1, 58][family]]);
    let port = match protocol {
        1 => random.pick(&[8 << 8, 3 << 8 | 4, 0]),
        58 => random.pick(&[128 << 8, 2 << 8, 135 << 8]),
        47 => 0,
        _ => random.pick(policies::PORTS),
    };
    let request = (protocol == 6 && random.chance(50)).then(|| request(random));
    Probe { from, to, family, protocol, port, request }
}

fn request(random: &mut Random) -> Request {
    let mut headers = Vec::new();
    for _ in 0..random.below(3) {
        headers.push(pair(random.pick(&["x-token", "X-Token", "Accept"]), random.pick(&["42", "7", ""])));
    }
    Request {
        method: random.pick(&["GET", "HEAD", "POST", "PUT"]).into(),
        path: (random.pick(&["/", "/public", "/public/", "/public?x=1", "/private", "/v1/x", "/healthz"]))
            .into(),
        host: random.pick(&["app1-service", "app1-service:80", "example.org"]).into(),
        headers,
    }
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.into(), value.into())
}
