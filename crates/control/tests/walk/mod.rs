//! The packet path's walk over rows: what is said to whom.

use abi::address::AddressInfo;
use abi::endpoint::EndpointInfo;
use abi::identity::{is_workload, is_world};
use abi::policy::{
    ClassKey, ColumnKey, GROUP_OF_OTHERS, GROUP_OF_WORKLOADS, GroupKey, VerdictKey, WHOLE_INSIDE, WHOLE_WORLD,
};
use abi::row::{Row, RowKey};
use control::Rows;
use std::collections::BTreeMap;

/// What each policy in force says to whoever has an address: the classes that are asked one after the other, by endpoint
/// and address.
pub(crate) fn heard(maps: &Rows) -> BTreeMap<(RowKey, RowKey), Vec<u32>> {
    let mut heard = BTreeMap::new();
    for endpoint in maps.values() {
        let Row::Endpoint(_, info) = endpoint else { continue };
        for address in maps.values() {
            let Row::Address(_, peer) = address else { continue };
            let classes = classes(maps, info, peer);
            heard.insert((endpoint.key().unwrap(), address.key().unwrap()), classes);
        }
    }
    heard
}

/// The classes that say something to whoever has an address, as the packet path walks outwards through the blocks.
fn classes(maps: &Rows, endpoint: &EndpointInfo, peer: &AddressInfo) -> Vec<u32> {
    let number = |key: RowKey| match maps.get(&key) {
        Some(Row::Column(_, number) | Row::CidrParent(_, number) | Row::Class(_, number)) => Some(*number),
        _ => None,
    };
    let policy = endpoint.policy;
    let group = group_of(maps, endpoint.grouping.number(), peer);
    let fallback = if is_workload(peer.peer) { GROUP_OF_WORKLOADS } else { group };
    let class_of = |group, column| number(RowKey::Class(ClassKey { column, group }));
    let whole = if is_world(peer.peer) { WHOLE_WORLD } else { WHOLE_INSIDE };
    let mut classes = Vec::new();
    let mut cidr = peer.cidr;
    loop {
        let asked = if cidr == 0 { whole } else { cidr };
        let column = number(RowKey::Column(ColumnKey { policy, cidr: asked }));
        let class = column.and_then(|column| class_of(group, column).or_else(|| class_of(fallback, column)));
        classes.extend(class.filter(|class| *class != VerdictKey::SILENT));
        if cidr == 0 {
            return classes;
        }
        cidr = number(RowKey::CidrParent(cidr)).unwrap_or(0);
    }
}

/// The group of whoever has an address, as the packet path finds it.
fn group_of(maps: &Rows, grouping: u32, peer: &AddressInfo) -> u32 {
    let row = |peer| match maps.get(&RowKey::Group(GroupKey { grouping, peer })) {
        Some(Row::Group(_, group)) => Some(*group),
        _ => None,
    };
    let otherwise = if is_workload(peer.peer) { GROUP_OF_WORKLOADS } else { GROUP_OF_OTHERS };
    let by_namespace = || row(peer.namespace).filter(|_| is_workload(peer.peer) && peer.namespace != 0);
    row(peer.peer).or_else(by_namespace).unwrap_or(otherwise)
}
