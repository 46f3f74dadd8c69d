//! Pods of the host network among the workloads of random worlds: policies see their node in their place.

use crate::case::{self, Case, wanted};
use abi::identity::{HOST, REMOTE_NODE};
use manifest::test::{Probe, ProbeEnd, WorkloadState};
use policy::generate;
use serde_json::{Value, json};
use testbed::{Engine, Model};

/// One of so many worlds has such workloads; pod policies decide less often there.
const WORLDS: u64 = 3;
/// About one of so many workloads shares the network of a node.
const ONE_OF: u64 = 6;

/// A workload that shares the network of a node: the named one, or the local one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sharer {
    node: Option<String>,
}

impl Sharer {
    /// The workload, sharing the node's network.
    pub(crate) fn of(&self, workload: WorkloadState) -> WorkloadState {
        WorkloadState { addresses: Vec::new(), host_network: Some(true), node: self.node.clone(), ..workload }
    }

    /// The end that policies see.
    fn party(&self) -> ProbeEnd {
        self.node.clone().map_or(ProbeEnd::Host, ProbeEnd::Node)
    }
}

/// The case; in one of [`WORLDS`] worlds some workloads share the network of a node.
pub(crate) fn some_sharers(case: Case, seed: u64) -> Case {
    if seed.is_multiple_of(WORLDS) { sharers(case, seed) } else { case }
}

/// The case with some workloads that share the network of a node.
fn sharers(mut case: Case, seed: u64) -> Case {
    let nodes = case.world.others.iter().filter(|other| [HOST, REMOTE_NODE].contains(&other.identity));
    let nodes: Vec<Option<String>> =
        nodes.map(|other| (other.identity != HOST).then(|| other.name.clone())).collect();
    for number in 0..case.world.workloads.len() {
        let chance = mixed(seed, number as u64);
        if chance.is_multiple_of(ONE_OF) && !nodes.is_empty() {
            let node = nodes[(chance / ONE_OF) as usize % nodes.len()].clone();
            case.sharers.insert(number, Sharer { node });
        }
    }
    case
}

/// A number that looks like chance (splitmix64).
fn mixed(seed: u64, number: u64) -> u64 {
    let mut value = (seed ^ number.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// How many ends of the probe share the network of a node.
pub(crate) fn ends(case: &Case, probe: &Probe) -> usize {
    [&probe.from, &probe.to].into_iter().filter(|party| sharer(case, party).is_some()).count()
}

fn sharer<'a>(case: &'a Case, party: &ProbeEnd) -> Option<&'a Sharer> {
    let ProbeEnd::Workload(name) = party else { return None };
    case.sharers
        .iter()
        .find(|(number, _)| case::name(&case.world.workloads[**number]) == *name)
        .map(|(_, one)| one)
}

/// Writes a workload's addresses, or that it has its node's.
pub(crate) fn write(workload: &WorkloadState, value: &mut Value) {
    if workload.host_network == Some(true) {
        value["hostNetwork"] = json!(true);
        if let Some(node) = &workload.node {
            value["nodeName"] = json!(node);
        }
    } else {
        value["ips"] = json!(workload.addresses);
    }
}

/// Compares the model's answers for pods of the host network with those for their nodes in a world without these pods.
/// Returns the number of compared answers.
pub(crate) fn check(seed: u64) -> usize {
    let case = sharers(Case::of(generate::world(seed)), seed);
    let mut without = case.clone();
    case.sharers.keys().for_each(|number| without.present[*number] = false);
    let (state, plain) = (case.state(), without.state());
    let (mut model, mut other) = (Model::default(), Model::default());
    model.prepare(&state).unwrap();
    other.prepare(&plain).unwrap();
    let mut asked = 0;
    for probe in case::probes(&case.world, seed, 200).into_iter().filter(|probe| ends(&case, probe) > 0) {
        let party = |party: &ProbeEnd| sharer(&case, party).map_or_else(|| party.clone(), Sharer::party);
        let of_nodes = Probe { from: party(&probe.from), to: party(&probe.to), ..probe.clone() };
        let (Ok(ones), Ok(others)) = (state.crossings(&probe), plain.crossings(&of_nodes)) else { continue };
        assert_eq!(ones.len(), others.len(), "seed {seed}: {probe:?}");
        for (one, two) in ones.iter().zip(&others) {
            let (pod, node) = (wanted(&mut model, one), wanted(&mut other, two));
            assert!(pod == node, "seed {seed}\n{one}: {pod}\n{two}, the same of the node: {node}");
            asked += 1;
        }
    }
    asked
}
