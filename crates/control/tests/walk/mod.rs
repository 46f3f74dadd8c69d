//! The classes that a packet's lookup reads, found with the packet path's own code.

use abi::address::AddressInfo;
use abi::endpoint::{EndpointInfo, flag};
use abi::policy::{ClassKey, ColumnKey, Direction, GroupKey, VerdictInfo, VerdictKey};
use abi::row::{Row, RowKey};
use control::Rows;
use datapath::policy::{FlowQuery, PolicyRows, evaluate};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The classes that a lookup reads for each pair of endpoint and address, in the order of the lookup.
pub(crate) fn classes_by_pair(maps: &Rows) -> BTreeMap<(RowKey, RowKey), Vec<u32>> {
    let mut by_pair = BTreeMap::new();
    for endpoint in maps.values() {
        let Row::Endpoint(_, info) = endpoint else { continue };
        for address in maps.values() {
            let Row::Address(_, peer) = address else { continue };
            let classes = classes(maps, info, peer);
            by_pair.insert((endpoint.key().unwrap(), address.key().unwrap()), classes);
        }
    }
    by_pair
}

/// The classes that one lookup reads up to the root part, if no class has a verdict.
fn classes(maps: &Rows, endpoint: &EndpointInfo, peer: &AddressInfo) -> Vec<u32> {
    let without_verdicts = WithoutVerdicts { maps, queried: RefCell::default() };
    let enforcing = EndpointInfo { flags: flag::ENFORCE_INGRESS, ..*endpoint };
    let query = FlowQuery { direction: Direction::Ingress, protocol: 6, port: [0, 80] };
    evaluate(&without_verdicts, &enforcing, peer, query);
    without_verdicts.queried.into_inner()
}

/// Rows without verdicts, which record the classes that are looked up.
struct WithoutVerdicts<'a> {
    maps: &'a Rows,
    queried: RefCell<Vec<u32>>,
}

impl WithoutVerdicts<'_> {
    fn number(&self, key: RowKey) -> Option<u32> {
        match self.maps.get(&key)? {
            Row::Column(_, number)
            | Row::CidrParent(_, number)
            | Row::Class(_, number)
            | Row::Group(_, number) => Some(*number),
            _ => None,
        }
    }
}

impl PolicyRows for WithoutVerdicts<'_> {
    fn column(&self, key: &ColumnKey) -> Option<u32> {
        self.number(RowKey::Column(*key))
    }

    fn cidr_parent(&self, class: u32) -> Option<u32> {
        self.number(RowKey::CidrParent(class))
    }

    fn group(&self, key: &GroupKey) -> Option<u32> {
        self.number(RowKey::Group(*key))
    }

    fn class(&self, key: &ClassKey) -> Option<u32> {
        self.number(RowKey::Class(*key))
    }

    fn verdict(&self, key: &VerdictKey) -> Option<VerdictInfo> {
        self.queried.borrow_mut().push(key.class);
        None
    }
}
