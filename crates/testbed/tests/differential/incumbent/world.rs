//! A random world as a PolicyTest: workloads, nodes and hosts, random documents, and probes aimed at their rules.

use super::documents;
use super::opinions;
use crate::case::{self, Case};
use crate::document::{surroundings, written};
use manifest::test::Expect;
use policy::generate::{self, Random};
use policy::rule::EnforcementMode;
use serde_json::{Value, json};

/// Makes the two uses of one seed draw different numbers.
const DOCUMENTS: u64 = 0x0064_6f63_756d_656e;

/// The world of this seed, without probes.
pub(super) fn world(seed: u64) -> Value {
    let mut random = Random::new(seed ^ DOCUMENTS);
    let mut world = generate::world(seed);
    world.audit = false;
    world.policies.clear();
    if world.mode == EnforcementMode::Never {
        // A world that refuses nothing shows little.
        world.mode = if random.chance(20) { EnforcementMode::Never } else { EnforcementMode::Default };
    }
    let mut test = surroundings(&Case::of(world), |_| true);
    for workload in test["spec"]["workloads"].as_array_mut().into_iter().flatten() {
        if random.chance(30) {
            workload["serviceAccountName"] = "robot".into();
        }
    }
    let listed = test["spec"]["policies"].as_array_mut().expect("there is a list of manifests");
    if random.chance(70) {
        listed.extend(api_server(&mut random));
    }
    listed.extend(documents::documents(&mut random));
    test
}

/// The service of the API server, with addresses of nodes or outside the cluster.
fn api_server(random: &mut Random) -> [Value; 2] {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 443}]},
    });
    let (family, pool) = match random.chance(70) {
        true => ("IPv4", ["10.0.0.2", "10.0.0.3", "198.51.100.7", "10.1.2.3", "10.200.0.1"]),
        false => ("IPv6", ["fd00::2", "fd00::3", "2001:db8::7", "fd00:1::3", "fd00:200::1"]),
    };
    let addresses = [random.pick(&pool), random.pick(&pool)];
    let distinct = if addresses[0] == addresses[1] { &addresses[..1] } else { &addresses[..] };
    let endpoints: Vec<Value> = distinct.iter().map(|address| json!({"addresses": [address]})).collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"port": 6443, "protocol": "TCP"}],
    });
    [service, slice]
}

/// Adds so many probes; many are aimed at the rules as we read them.
pub(super) fn add_probes(test: &mut Value, seed: u64, count: usize) -> Result<(), String> {
    let read = opinions::read(test)?;
    let mut world = generate::world(seed);
    world.policies = opinions::policies(&read.state);
    let probes = case::probes(&world, seed, count);
    // No one reads the expectation here; it is for people who run the test.
    test["spec"]["probes"] = probes.iter().map(|probe| written(probe, Expect::Allow)).collect();
    Ok(())
}
