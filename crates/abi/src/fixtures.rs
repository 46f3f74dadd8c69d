//! Rows for tests that have no compiler of policies and no world of workloads.

use crate::Address;
use crate::address::{AddressInfo, AddressKey};
use crate::config::Config;
use crate::endpoint::{EndpointInfo, EndpointKey};
use crate::identity;
use crate::policy::{
    ClassKey, ColumnKey, Direction, GroupKey, VerdictInfo, VerdictKey, WHOLE_INSIDE, WHOLE_WORLD,
};
use crate::protocol;
use crate::row::Row;
use crate::service::{BackendInfo, BackendKey, ServiceInfo, ServiceKey};

/// One row of each map that user space writes, in the order of the list of maps. Each part that is a number or a port is
/// another one where the types permit it, so that a mix-up of two parts changes a row.
pub fn one_row_of_each_map() -> [Row; 11] {
    let address = Address::from_v4([10, 0, 0, 1]);
    let port = [0, 80];
    let verdict = VerdictKey {
        prefix_bits: VerdictKey::ONE_PORT,
        class: 2,
        direction: Direction::Egress as u8,
        protocol: protocol::TCP,
        port,
    };
    let service = ServiceKey { address, port, protocol: protocol::TCP, padding: 0 };
    [
        Row::Address(AddressKey::host(address), AddressInfo { identity: 256, ..AddressInfo::default() }),
        Row::Endpoint(
            EndpointKey { interface: 7 },
            EndpointInfo { id: 1, v4: address, ..EndpointInfo::default() },
        ),
        Row::Column(ColumnKey { policy: 1, cidr: 3 }, 4),
        Row::CidrParent(3, 2),
        Row::Group(GroupKey { grouping: 7, peer: 256 }, 3),
        Row::Class(ClassKey { column: 4, group: 3 }, 2),
        Row::Verdict(verdict, VerdictInfo { action: 1, rule: 9, l7: 3 }),
        Row::Service(service, ServiceInfo { backends: 1, count: 1, flags: 0 }),
        Row::Backend(BackendKey { backends: 1, index: 2 }, BackendInfo { address, port, padding: [0; 2] }),
        Row::Config(Config { epoch: 5, ..Config::default() }),
        Row::Unmasqueraded(AddressKey::host(address), 1),
    ]
}

/// What is known of an address with this identity, which is also the number of its peer.
pub fn address_info(identity: u32) -> AddressInfo {
    AddressInfo { identity, peer: identity, ..AddressInfo::default() }
}

/// The row of one address with this identity.
pub fn address(address: impl Into<Address>, identity: u32) -> Row {
    Row::Address(AddressKey::host(address.into()), address_info(identity))
}

/// The rows of all addresses of each family: they lie outside the cluster.
pub fn all_addresses() -> [Row; 2] {
    let families = [(0, Address::default()), (Address::V4_PREFIX_BITS, Address::from_v4([0; 4]))];
    families.map(|(prefix_bits, address)| {
        Row::Address(AddressKey { prefix_bits, address }, address_info(identity::WORLD))
    })
}

/// A workload behind this interface, with the interface's number as its own; no policy is enforced.
pub fn endpoint(interface: u32) -> Row {
    Row::Endpoint(EndpointKey { interface }, EndpointInfo { id: interface, ..EndpointInfo::default() })
}

/// A policy's verdict on one port of one peer, in grouping 0.
#[derive(Clone, Copy, Debug)]
pub struct OnePort {
    /// The policy's number; its one column has the same.
    pub policy: u32,
    /// The peer's number; its group has the same.
    pub peer: u32,
    /// Which way connections are opened, seen from the policy's subject.
    pub direction: Direction,
    /// IP protocol number.
    pub protocol: u8,
    /// Port of the receiving side.
    pub port: u16,
    /// The verdict.
    pub verdict: VerdictInfo,
}

impl OnePort {
    /// All rows from the peer to the verdict. Rows of several ports, peers and policies may lie beside one another.
    pub fn rows(&self) -> [Row; 5] {
        let Self { policy, peer, .. } = *self;
        let class = policy << 16 | peer & 0xffff;
        let column = |cidr| Row::Column(ColumnKey { policy, cidr }, policy);
        let key = VerdictKey {
            prefix_bits: VerdictKey::ONE_PORT,
            class,
            direction: self.direction as u8,
            protocol: self.protocol,
            port: self.port.to_be_bytes(),
        };
        [
            Row::Group(GroupKey { grouping: 0, peer }, peer),
            column(WHOLE_INSIDE),
            column(WHOLE_WORLD),
            Row::Class(ClassKey { column: policy, group: peer }, class),
            Row::Verdict(key, self.verdict),
        ]
    }
}
