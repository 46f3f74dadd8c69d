//! Random services of random worlds: selected and listed backends, probes of service addresses, and API servers that are
//! nodes or outside.

use crate::case::{self, Case, difference, differs, wanted};
use datapath::native::Tables;
use identity::{Operator, Selector, Source, key};
use manifest::test::{Probe, ProbeEnd, ProbeTraffic, TestStep};
use manifest::{
    EndpointPort, EndpointSlice, Endpoints, Object, Service, ServicePort, TargetPort, TransportProtocol,
};
use policy::generate::{self, GeneratedWorld, Random};
use policy::rule::{Entity, Family, Peer, Peers};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use testbed::{CompiledRows, Engine, EngineError, HOST_ADDRESSES, Kernel, Model};

/// How many sets of services follow one another in one world.
const MOMENTS: usize = 4;
/// How many probes of service addresses follow each, and how many of other ends.
const PROBES: usize = 60;

/// The addresses of services that probes are sent to.
const ADDRESSES: [[&str; 2]; 4] = [
    ["10.96.0.1", "fd00:96::1"],
    ["10.96.0.2", "fd00:96::2"],
    ["10.96.0.3", "fd00:96::3"],
    ["10.96.0.4", "fd00:96::4"],
];
const PORTS: [u16; 3] = [80, 443, 8080];
/// TCP twice: most probes use it.
const PROTOCOLS: [TransportProtocol; 4] =
    [TransportProtocol::Tcp, TransportProtocol::Tcp, TransportProtocol::Udp, TransportProtocol::Sctp];
const PORT_NAMES: [&str; 3] = ["web", "admin", "other"];

/// Counts of the compared pairs: all, through a service, to a service without a backend, and with an API server.
#[derive(Debug, Default)]
struct Seen {
    asked: usize,
    translated: usize,
    void: usize,
    api_servers: usize,
}

/// Compares an engine with the model in so many worlds, through changes of their services.
fn compare(engine: &mut dyn Engine, seeds: std::ops::Range<u64>) -> Seen {
    let mut seen = Seen::default();
    for seed in seeds {
        let mut random = Random::new(seed ^ 0x73_6572_7669_6365);
        let mut case = Case::of(generate::world(seed));
        case.world.policies.iter_mut().for_each(|policy| {
            let rules = policy.specs.iter_mut().flat_map(|spec| &mut spec.rules);
            rules.for_each(|rule| name_api_servers(&mut rule.peers, &mut random));
        });
        for moment in 0..MOMENTS {
            let mut state = case.state();
            let apply_objects = objects(&case.world, &mut random);
            state
                .take(&TestStep { apply_objects, ..TestStep::default() })
                .expect("objects can always be applied");
            let mut model = Model::default();
            model.prepare(&state).unwrap();
            engine.prepare(&state).unwrap();
            let others = case::probes(&case.world, seed + moment as u64, 2 * PROBES);
            let probes = others.iter().enumerate().map(|(at, probe)| match at < PROBES {
                true => to_service(probe.clone(), &mut random),
                false => probe.clone(),
            });
            for crossing in probes.filter_map(|probe| state.crossings(&probe).ok()).flatten() {
                let said = wanted(&mut model, &crossing);
                let got = match engine.ask(&crossing) {
                    Err(EngineError::Impossible(_)) => continue,
                    got => got.unwrap_or_else(|error| panic!("seed {seed}: {crossing}: {error}")),
                };
                seen.asked += 1;
                seen.translated += usize::from(crossing.frontend.is_some());
                seen.void += usize::from(crossing.frontend.is_some_and(|frontend| frontend.is_void()));
                let is_listed = |address| state.api_servers().contains(&address);
                seen.api_servers +=
                    usize::from(is_listed(crossing.source) || is_listed(crossing.destination));
                assert!(
                    !differs(&said, &got),
                    "seed {seed}, moment {moment}: {}\n{:#?}\n{:#?}",
                    difference(&crossing, &said, (engine.name(), &got)),
                    state.objects,
                    case.world.policies,
                );
            }
        }
    }
    eprintln!("services: {seen:?}, none different");
    seen
}

/// Replaces some peers by the API servers.
fn name_api_servers(peers: &mut Peers, random: &mut Random) {
    let Peers::Of(peers) = peers else { return };
    for peer in peers {
        if random.chance(70) {
            continue;
        }
        let also = [key::KUBE_APISERVER, "remote-node", "world", "host"];
        let mut selector = Selector::default();
        for name in [key::KUBE_APISERVER, random.pick(&also)] {
            let operator = if random.chance(66) { Operator::Exists } else { Operator::DoesNotExist };
            selector = selector.with(Some(Source::Reserved), name, operator);
        }
        *peer = if random.chance(50) { Peer::Entity(Entity::KubeApiserver) } else { Peer::Labels(selector) };
    }
}

/// The service of the API servers and three more, each with or without a selector, and their lists of endpoints.
fn objects(world: &GeneratedWorld, random: &mut Random) -> Vec<Object> {
    let mut objects = Vec::new();
    for (at, addresses) in ADDRESSES.into_iter().enumerate() {
        let (namespace, name) =
            if at == 0 { ("default", "kubernetes") } else { (random.pick(&["x", "y", "z"]), "front") };
        let (namespace, name) =
            (namespace.to_owned(), format!("{name}{}", if at == 0 { "" } else { ADDRESSES[at][0] }));
        if random.chance(90) {
            objects.push(Object::Service(Service {
                namespace: namespace.clone(),
                name: name.clone(),
                labels: BTreeMap::new(),
                selector: if at == 0 { BTreeMap::new() } else { selector(random) },
                addresses: addresses
                    .iter()
                    .map(|text| text.parse().unwrap())
                    .filter(|_| random.chance(90))
                    .collect(),
                headless: false,
                external_name: None,
                keeps_clients: false,
                stays_on_node: false,
                ports: (0..2 + random.below(6)).map(|_| port(random)).collect(),
            }));
        }
        for slice_name in [None, Some(format!("{name}-1")), Some(format!("{name}-2"))] {
            if random.chance(60) {
                let slices = vec![slice(world, random)];
                let (namespace, service) = (namespace.clone(), name.clone());
                objects.push(Object::Endpoints(Endpoints { namespace, service, slice_name, slices }));
            }
        }
    }
    objects
}

fn selector(random: &mut Random) -> BTreeMap<String, String> {
    match random.below(4) {
        0 => BTreeMap::new(),
        1 => BTreeMap::from([("app".to_owned(), "none".to_owned())]),
        _ => BTreeMap::from([("app".to_owned(), random.pick(&["web", "db", "cache"]).to_owned())]),
    }
}

fn port(random: &mut Random) -> ServicePort {
    let (protocol, port) = (random.pick(&PROTOCOLS), random.pick(&PORTS));
    let target = match random.chance(60) {
        true => TargetPort::Number(random.pick(&PORTS)),
        false => TargetPort::Name(random.pick(&PORT_NAMES).to_owned()),
    };
    ServicePort { name: random.pick(&PORT_NAMES).to_owned(), protocol, port, target }
}

/// A slice with some addresses of hosts outside, nodes and workloads.
fn slice(world: &GeneratedWorld, random: &mut Random) -> EndpointSlice {
    let others = world.others.iter().filter(|other| other.identity != abi::identity::HOST);
    let known = others.flat_map(|other| other.addresses).chain(HOST_ADDRESSES);
    let known: Vec<IpAddr> = known.chain(world.workloads.iter().flat_map(|one| one.addresses)).collect();
    let addresses: BTreeSet<IpAddr> = (0..random.below(5)).map(|_| random.pick(&known)).collect();
    let port =
        |_| EndpointPort::named(random.pick(&PORT_NAMES), random.pick(&PROTOCOLS), random.pick(&PORTS));
    EndpointSlice { addresses, ports: (0..6).map(port).collect(), ..EndpointSlice::default() }
}

/// The probe, sent to a service's address.
fn to_service(probe: Probe, random: &mut Random) -> Probe {
    let family = usize::from(probe.family == Some(Family::Ipv6));
    let to = ProbeEnd::Address(random.pick(&ADDRESSES)[family].parse().expect("it is an address"));
    let traffic = match probe.traffic {
        ProbeTraffic::Connect { protocol, .. } => {
            ProbeTraffic::Connect { protocol, port: random.pick(&PORTS) }
        }
        ProbeTraffic::Http { request, .. } => ProbeTraffic::Http { request, port: random.pick(&PORTS) },
        icmp @ ProbeTraffic::Icmp { .. } => icmp,
    };
    Probe { to, traffic, ..probe }
}

#[test]
fn services_mean_to_compiled_rows_what_they_mean_to_the_model() {
    let seen = compare(&mut CompiledRows::new(Tables::new()), 0..80);
    let Seen { asked, translated, void, api_servers } = seen;
    assert!(asked > 35_000 && translated > 5_000 && void > 500 && api_servers > 4_000, "{seen:?}");
}

#[test]
#[ignore = "needs root"]
fn services_mean_to_the_kernel_what_they_mean_to_the_model() {
    let mut engine = CompiledRows::new(Kernel::open().expect("as root, the programs load"));
    let seen = compare(&mut engine, 1000..1015);
    assert!(seen.asked > 5_000 && seen.translated > 700 && seen.api_servers > 500, "{seen:?}");
}
