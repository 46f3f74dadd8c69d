//! Blocks of nodes: each node has its own, and no two overlap.

use operator::{BlockPool, BlockPoolError, NodeBlocks, PodBlockAssignment};
use policy::rule::Cidr;
use std::time::Duration;

fn block(text: &str) -> Cidr {
    let (address, length) = text.split_once('/').unwrap();
    Cidr::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

fn both() -> NodeBlocks {
    let pools = [("10.0.0.0/16", 24), ("fd00::/48", 64)];
    let pools = pools.map(|(text, length)| BlockPool::new(block(text), length).unwrap());
    let mut nodes = NodeBlocks::new(pools.into()).unwrap();
    nodes.nodes_listed();
    nodes.assigned_listed();
    nodes
}

fn assignment(node: &str, blocks: &[&str]) -> PodBlockAssignment {
    PodBlockAssignment { node: node.into(), blocks: blocks.iter().map(|text| block(text)).collect() }
}

#[test]
fn a_node_gets_a_block_of_each_family_and_keeps_it() {
    let mut nodes = both();
    nodes.node("a", Some(Vec::new()));
    let write = assignment("a", &["10.0.0.0/24", "fd00::/64"]);
    assert_eq!(nodes.settle(Duration::ZERO), [write]);
    assert_eq!(nodes.settle(Duration::from_secs(1)), []);
    // The answer was lost: another block of the pool.
    let again = nodes.settle(Duration::from_secs(6));
    assert_eq!(again, [assignment("a", &["10.0.1.0/24", "fd00:0:0:1::/64"])]);
    nodes.assigned("a", Some(again[0].blocks.clone()));
    nodes.node("b", Some(Vec::new()));
    let second = nodes.settle(Duration::from_secs(7));
    assert_eq!(second, [assignment("b", &["10.0.2.0/24", "fd00:0:0:2::/64"])]);
}

#[test]
fn what_others_assigned_is_left_alone() {
    let mut nodes = both();
    // The controller manager's node, and a block that is larger than ours.
    nodes.node("managed", Some(vec![block("10.0.0.0/22")]));
    nodes.node("a", Some(Vec::new()));
    nodes.assigned("a", Some(vec![block("192.0.2.0/24")]));
    assert_eq!(nodes.settle(Duration::ZERO), [assignment("a", &["192.0.2.0/24", "fd00::/64"])]);
    nodes.node("b", Some(Vec::new()));
    assert_eq!(nodes.settle(Duration::ZERO), [assignment("b", &["10.0.4.0/24", "fd00:0:0:1::/64"])]);
}

#[test]
fn a_used_up_pool_is_reported_and_goes_on_when_a_node_leaves() {
    let pool = BlockPool::new(block("10.0.0.0/23"), 24).unwrap();
    let mut nodes = NodeBlocks::new(vec![pool]).unwrap();
    nodes.nodes_listed();
    nodes.assigned_listed();
    for name in ["a", "b", "c"] {
        nodes.node(name, Some(Vec::new()));
    }
    let writes = nodes.settle(Duration::ZERO);
    assert_eq!(writes, [assignment("a", &["10.0.0.0/24"]), assignment("b", &["10.0.1.0/24"])]);
    for write in writes {
        nodes.assigned(&write.node, Some(write.blocks));
    }
    assert_eq!((nodes.settle(Duration::ZERO), nodes.without_block()), (vec![], 1));
    nodes.node("a", None);
    nodes.assigned("a", None);
    assert_eq!(nodes.settle(Duration::ZERO), [assignment("c", &["10.0.0.0/24"])]);
}

#[test]
fn no_two_nodes_share_an_address() {
    let mut nodes = both();
    let mut random = 1_u64;
    let mut blocks: Vec<(String, Cidr)> = Vec::new();
    for step in 0..2_000_u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let name = format!("node-{}", (random >> 33) % 200);
        if (random >> 20).is_multiple_of(3) {
            nodes.node(&name, None);
            nodes.assigned(&name, None);
            blocks.retain(|(node, _)| *node != name);
        } else {
            nodes.node(&name, Some(Vec::new()));
        }
        for PodBlockAssignment { node, blocks: new } in nodes.settle(Duration::from_secs(step)) {
            nodes.assigned(&node, Some(new.clone()));
            blocks.retain(|(of, _)| *of != node);
            let clash = new.iter().find(|one| blocks.iter().any(|(_, other)| other.encloses(one)));
            assert_eq!(clash, None, "{node}");
            blocks.extend(new.into_iter().map(|block| (node.clone(), block)));
        }
    }
}

#[test]
fn pools_that_cannot_be_are_refused() {
    let four = block("10.0.0.0/16");
    assert_eq!(BlockPool::new(four, 8).err(), Some(BlockPoolError::Length { block: four, length: 8 }));
    assert_eq!(BlockPool::new(four, 33).err(), Some(BlockPoolError::Length { block: four, length: 33 }));
    let pools = [four, block("10.1.0.0/16")].map(|block| BlockPool::new(block, 24).unwrap());
    assert!(matches!(NodeBlocks::new(pools.into()), Err(BlockPoolError::SameFamily(..))));
}
