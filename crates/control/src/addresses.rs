//! The rows of addresses and of endpoints.

use crate::change::{Endpoint, Interface};
use crate::enforcement::Assignment;
use crate::peers::Residents;
use crate::world::{Owner, World};
use abi::Address;
use abi::address::{AddressInfo, AddressKey};
use abi::endpoint::{EndpointInfo, EndpointKey, flag};
use abi::identity::{HOST, KUBE_APISERVER, REMOTE_NODE, WORLD};
use abi::row::Row;
use policy::cidr::{AddressSide, CidrClass, address_key};
use policy::rule::Cidr;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Each family, by its first address.
const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

impl World {
    /// Whatever no other row names is the world.
    pub(crate) fn world_rows(&self) -> impl Iterator<Item = Row> {
        let classes = self.enforcement.blocks.classes();
        let blocks = classes.filter_map(|class| self.class_row(&class));
        let families = FAMILIES.into_iter().filter_map(|family| self.family_row(family));
        families.chain(blocks)
    }

    /// The row of all addresses of a family; none where a class has all of them. IPv4 has its own row, so that a block
    /// of IPv6 that happens to hold the mapped addresses says nothing of them.
    pub(crate) fn family_row(&self, family: IpAddr) -> Option<Row> {
        let all = Cidr::new(family, 0)?;
        let is_classless = self.enforcement.blocks.number(&all, AddressSide::World).is_none();
        is_classless.then(|| world_row(address_key(&all), WORLD, 0))
    }

    /// The row of the addresses outside the cluster that are of a class; none where somebody inside has the address.
    pub(crate) fn class_row(&self, class: &CidrClass) -> Option<Row> {
        let is_owned = class.block.is_host() && self.owners_of(class.block.address()).next().is_some();
        let is_seen = class.side == AddressSide::World && !is_owned;
        let is_api_server = class.block.is_host() && self.api_servers.contains(&class.block.address());
        let identity = if is_api_server { KUBE_APISERVER } else { WORLD };
        is_seen.then(|| world_row(address_key(&class.block), identity, class.number))
    }

    /// The row of one address as one outside the cluster, if it has a class of its own.
    pub(crate) fn world_row_of(&self, address: IpAddr) -> Option<Row> {
        let block = Cidr::host(address);
        self.class_row(&self.enforcement.blocks.class(&block, AddressSide::World)?)
    }

    /// The rows of this node and of the others.
    pub(crate) fn nodes_rows(&self) -> impl Iterator<Item = Row> {
        let others = self.remote_nodes().flat_map(|node| &node.addresses);
        let addresses: BTreeSet<IpAddr> = self.node.addresses.iter().chain(others).copied().collect();
        let rows = addresses.into_iter().filter_map(|address| self.node_address_row(address));
        rows.chain(self.node_endpoint_row())
    }

    /// The row of an address of this node or of another; one that two claim is the last one's.
    pub(crate) fn node_address_row(&self, address: IpAddr) -> Option<Row> {
        match self.owners_of(address).last()? {
            Owner::Endpoint(_) => None,
            Owner::Node => Some(self.address_row(address, HOST, HOST)),
            Owner::RemoteNode(name) => {
                let number = self.remote_nodes.get(&**name)?.number(self.api_servers.contains(&address));
                Some(self.address_row(address, REMOTE_NODE, number))
            }
        }
    }

    /// The node's own row among the endpoints, where a policy is about it.
    pub(crate) fn node_endpoint_row(&self) -> Option<Row> {
        Some(Row::Endpoint(EndpointKey::NODE, self.node_row()?))
    }

    /// The addresses and the row of a workload; none where it is not known, or has no policy yet.
    pub(crate) fn endpoint_rows(&self, id: u32) -> impl Iterator<Item = Row> {
        let found = self.endpoint_of(id).and_then(|endpoint| {
            let (peer, residents) = self.peers.of(id)?;
            let namespace = self.peers.directory.namespace_of(peer).unwrap_or(0);
            Some((endpoint, peer, residents.identity, namespace, self.info_of(endpoint, peer, residents)?))
        });
        found.into_iter().flat_map(move |(endpoint, peer, identity, namespace, info)| {
            let Interface { index: interface, mac, .. } = endpoint.interface;
            let addresses = endpoint.addresses.iter().map(move |&address| {
                let info = AddressInfo { interface, mac, namespace, ..self.address(address, identity, peer) };
                Row::Address(AddressKey::host(address.into()), info)
            });
            addresses.chain([Row::Endpoint(EndpointKey { interface }, info)])
        })
    }

    /// What the workload's row says.
    pub(crate) fn info(&self, endpoint: &Endpoint) -> Option<EndpointInfo> {
        let (peer, residents) = self.peers.of(endpoint.id)?;
        self.info_of(endpoint, peer, residents)
    }

    fn info_of(&self, endpoint: &Endpoint, peer: u32, residents: &Residents) -> Option<EndpointInfo> {
        let assignment = self.enforcement.assignment(peer)?;
        let of_family = |v4: bool| endpoint.addresses.iter().find(|address| address.is_ipv4() == v4);
        let audit = if endpoint.audit || self.node.audit { flag::AUDIT } else { 0 };
        Some(EndpointInfo {
            id: endpoint.id,
            identity: residents.identity,
            policy: assignment.policy,
            flags: assignment.flags | audit,
            grouping: assignment.grouping,
            v4: of_family(true).map_or_else(Address::default, |address| (*address).into()),
            v6: of_family(false).map_or_else(Address::default, |address| (*address).into()),
            mac: endpoint.interface.mac,
            host_mac: endpoint.interface.host_mac,
            padding: [0; 4],
        })
    }

    /// The row of the node's own processes, where a policy is about them.
    pub fn node_row(&self) -> Option<EndpointInfo> {
        let assignment = self.enforcement.assignment(HOST)?;
        let audit = if self.node.audit { flag::AUDIT } else { 0 };
        let flags = assignment.flags | audit;
        let Assignment { policy, grouping, .. } = assignment;
        Some(EndpointInfo { identity: HOST, policy, grouping, flags, ..EndpointInfo::default() })
    }

    fn address_row(&self, address: IpAddr, identity: u32, peer: u32) -> Row {
        Row::Address(AddressKey::host(address.into()), self.address(address, identity, peer))
    }

    fn address(&self, address: IpAddr, identity: u32, peer: u32) -> AddressInfo {
        let cidr = self.enforcement.blocks.class_of(address, AddressSide::Inside);
        AddressInfo { identity, peer, cidr, ..AddressInfo::default() }
    }
}

/// The row of addresses outside the cluster.
fn world_row(key: AddressKey, identity: u32, cidr: u32) -> Row {
    Row::Address(key, AddressInfo { identity, peer: identity, cidr, ..AddressInfo::default() })
}
