//! Random worlds, policies and probes, for tests that compare two implementations.
//!
//! One seed yields the same world everywhere. All values come from small pools, so that rules often overlap, nest and
//! contradict each other.

mod describe;
mod generated;
mod peers;
mod policies;
mod probe;
mod random;
mod scenarios;
mod shrink;
mod traffic;

pub use generated::{
    GeneratedEnd, GeneratedPeer, GeneratedProbe, GeneratedRequest, GeneratedWorkload, GeneratedWorld,
};
pub use peers::{BLOCKS, DOMAINS, cidr};
pub use probe::probes;
pub use random::Random;
pub use shrink::shrink;

use crate::catalog::{Backends, CidrGroupEntry, ServiceEntry};
use crate::endpoint_view::NamedPorts;
use crate::rule::{EnforcementMode, Protocol};
use abi::identity::{HOST, REMOTE_NODE, WORLD};
use identity::{Labels, Source};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// A service with selected workloads and one with listed addresses, in some namespaces.
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
