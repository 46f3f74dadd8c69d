//! The time to resolve and compile large sets of policies for one subject, and the number of rows.
//!
//! `cargo bench -p nexin-policy --bench compile`. Each figure is the median of many runs, each from the policies in
//! force to a compiled policy, with no selector known from the run before.

use abi::identity::FIRST_ALLOCATED;
use identity::{Labels, Operator, Selector, Source, key};
use policy::cidr::Blocks;
use policy::compile::CompiledPolicy;
use policy::endpoint_view::{EndpointView, NamedPorts};
use policy::fixtures;
use policy::grouping::Grouping;
use policy::registry::Registry;
use policy::rule::{Cidr, CidrReach, Direction, Peer, Policy, Rule, Traffic};
use std::hint::black_box;
use std::time::{Duration, Instant};

const NAMESPACE: &str = "default";
const RUNS: usize = 101;
const IDENTITIES: u32 = 3000;

fn main() {
    let identities =
        (0..IDENTITIES).map(|number| (FIRST_ALLOCATED + number, of_workload("name", &number.to_string())));
    let selected = (0..1000).map(|index| policy(index, "foo", "", by_labels("bar", "")));
    report("1,000 rules by labels, 3,000 identities", identities.collect(), selected.collect());
    report(
        "1,000 rules by block",
        Vec::new(),
        (0..1000).map(|index| policy(index, "foo", "", by_block(index))).collect(),
    );
    let others = (0..20_000).map(|index| policy(index, "value", &index.to_string(), by_labels("bar", "")));
    report("20,000 rules for other subjects", Vec::new(), others.collect());
}

/// Measures and prints one set of policies.
fn report(title: &str, identities: Vec<(u32, Labels)>, policies: Vec<Policy>) {
    let (mut registry, mut blocks) = (Registry::new(), Blocks::new());
    for (number, labels) in identities {
        registry.directory.insert(number, labels, NamedPorts::default());
    }
    registry.directory.insert(FIRST_ALLOCATED + IDENTITIES, of_workload("bar", ""), NamedPorts::default());
    for policy in policies {
        blocks.insert(&policy);
        registry.put(policy);
    }
    let labels = of_workload("foo", "");
    let subject = EndpointView::new(FIRST_ALLOCATED + IDENTITIES + 1, &labels);
    let mut times = Vec::new();
    let mut rows = 0;
    for _ in 0..RUNS {
        let start = Instant::now();
        let selection = registry.policies.selection(&subject);
        let demand = selection.demand(&registry.directory);
        let grouping = Grouping::new(&demand, &mut registry.directory);
        let (compiled, classes) =
            black_box(CompiledPolicy::new(selection, &demand, &grouping, None, &mut registry));
        times.push(start.elapsed());
        let of_policy =
            classes.into_iter().chain(compiled.column_rows(1, &blocks)).chain(registry.book.class_rows());
        let of_policy = of_policy.chain(grouping.rows(1)).count();
        rows = of_policy + blocks.world_rows().count() + blocks.parent_rows().count();
        compiled.release(&mut registry.book);
        grouping.release(&mut registry.directory);
    }
    times.sort();
    let median: Duration = times[RUNS / 2];
    println!("{title}: {:.3} ms, {rows} rows", median.as_secs_f64() * 1e3);
}

fn of_workload(name: &str, value: &str) -> Labels {
    Labels::of_workload(NAMESPACE, [], [(name, value)])
}

fn selector(name: &str, value: &str) -> Selector {
    Selector::default().with(None, name, Operator::equals(value)).with(
        Some(Source::K8s),
        key::NAMESPACE,
        Operator::equals(NAMESPACE),
    )
}

fn by_labels(name: &str, value: &str) -> Rule {
    rule(Direction::Ingress, Peer::Labels(selector(name, value)), Traffic::Any)
}

/// Blocks of five lengths that nest here and there, each with one port.
fn by_block(index: u32) -> Rule {
    let length = [8, 16, 24, 28, 32][index as usize % 5];
    let last = if length == 28 { (index % 16) << 4 } else { index % 255 };
    let address =
        [[10, 192, 244][index as usize % 3], index % 17, index % 121, last].map(|octet| octet as u8);
    let block = Cidr::new(address.into(), length).expect("a length of IPv4");
    let port = 80 + (index % 97) as u16;
    let peer = Peer::Cidr { block, except: Vec::new(), reach: CidrReach::World };
    rule(Direction::Egress, peer, fixtures::tcp(port).into())
}

fn rule(direction: Direction, peer: Peer, traffic: Traffic) -> Rule {
    Rule { priority: Rule::USUAL_PRIORITY, ..fixtures::allow(direction, peer, traffic) }
}

/// A policy for workloads with this label, with this one rule.
fn policy(index: u32, name: &str, value: &str, rule: Rule) -> Policy {
    fixtures::policy(&format!("policy-{index}"), [fixtures::spec(selector(name, value), [rule])])
}
